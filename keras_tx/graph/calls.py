"""What a walk would call: the layers of a functional model, and what each depends on, without running it."""

import keras

from .walk import Origin, input_names, pack_inputs, run


def layer_calls(model) -> dict[str, keras.Layer]:
    """Lists the layer calls of a functional model, in the order and under the paths of `walk`, without running it.

    Args:
        model: a functional `keras.Model` or a built `keras.Sequential`; a subclassed one is a `ValueError`.

    Returns:
        Dict from path to layer.
    """
    return {path: layer for path, (layer, _) in layer_inputs(model).items()}


def layer_inputs(model):
    """Lists the layer calls as `layer_calls` does, and which inputs of the model each depends on.

    Args:
        model: a functional `keras.Model` or a built `keras.Sequential`; a subclassed one is a `ValueError`.

    Returns:
        Dict from path to a pair of the layer and the frozenset of the names of inputs.
    """
    return _reached(model, {name: frozenset([name]) for name in input_names(model)}, lambda found, path: found)


def reached_calls(model, reads_nothing=lambda operation: False):
    """Lists the calls of a functional model, of layers and operations, and which inputs each argument depends on. Nothing is run.

    Args:
        model: a functional `keras.Model` or a built `keras.Sequential`; a subclassed one is a `ValueError`.
        reads_nothing: function from a layer or an operation to whether it gives the same whatever its inputs.

    Returns:
        Dict from path to a tuple: the layer or operation; the arguments of the call, positional and by name, as the graph has
        them; and a dict from the id of each `KerasTensor` in them to the frozenset of the names of inputs.
    """
    calls = {}

    def call(operation, path, args, kwargs, values, count):
        leaves = [leaf for leaf in keras.tree.flatten((args, kwargs)) if isinstance(leaf, keras.KerasTensor)]
        reach = {id(leaf): values[id(leaf)] for leaf in leaves}
        calls[path] = (operation, args, kwargs, reach)
        return [frozenset() if reads_nothing(operation) else frozenset().union(*reach.values())] * count

    run(model, pack_inputs(model, {name: frozenset([name]) for name in input_names(model)}), call)
    return calls


def layers_before(model):
    """Lists for each layer call, by its path as in `layer_calls`, the frozenset of the paths that it depends on."""
    calls = _reached(model, dict.fromkeys(input_names(model), frozenset()), lambda found, path: found | {path})
    return {path: before for path, (_, before) in calls.items()}


def call_origins(model):
    """Lists the layer calls as `layer_calls` does, and where the arguments of each come from; nothing is run.

    Args:
        model: a functional `keras.Model` or a built `keras.Sequential`; a subclassed one is a `ValueError`.

    Returns:
        Dict from path to a triple: the `Origin` of the call's outputs, and the call's positional arguments and keyword
        arguments as the graph has them, with a `KerasTensor` for each tensor.
    """
    calls = {}

    def call(operation, path, args, kwargs, values, count):
        origin = _origin(operation, path, args, kwargs, values)
        if isinstance(operation, keras.Layer):
            calls[path] = (origin, args, kwargs)
        return [origin] * count

    run(model, pack_inputs(model, {name: Origin(None, name) for name in input_names(model)}), call)
    return calls


def output_origin(model):
    """Returns the `Origin` of the output of a functional model, or of its outputs in their structure; nothing is run."""

    def call(operation, path, args, kwargs, values, count):
        return [_origin(operation, path, args, kwargs, values)] * count

    return run(model, pack_inputs(model, {name: Origin(None, name) for name in input_names(model)}), call)


def _origin(operation, path, args, kwargs, values):
    args, kwargs = keras.tree.map_structure(
        lambda leaf: values[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf, (args, kwargs)
    )
    return Origin(operation, path, args, kwargs)


def _reached(model, starts, passed_on):
    """Sends sets from the inputs through the graph: a dict from path to a pair of the layer and what reached it."""
    calls = {}

    def call(operation, path, args, kwargs, values, count):
        tensors = [leaf for leaf in keras.tree.flatten((args, kwargs)) if isinstance(leaf, keras.KerasTensor)]
        found = frozenset().union(*(values[id(tensor)] for tensor in tensors))
        if isinstance(operation, keras.Layer):
            calls[path] = (operation, found)
            found = passed_on(found, path)
        return [found] * count

    run(model, pack_inputs(model, starts), call)
    return calls
