"""A functional model as data: walking its layers, finding a layer in the graph that leads to a tensor, and what is in a
layer.

The only user of Keras' private graph names.
"""

import contextlib

import keras
from keras.src.backend.common import global_state


class _Missing:
    def __repr__(self):
        return "MISSING"


MISSING = _Missing()  # stands in a walk for a tensor that is not there


def walk(model, inputs, call_layer, training=False, call_partial=None):
    """Runs a functional model on inputs, with every layer called through a function of the caller's.

    The walk goes into nested functional and Sequential models. Nothing is rebuilt and no weight is copied: the layers
    are the model's own, and the tensors may be real or traced.

    An input may be `MISSING`. Then what does not depend on it runs as ever, and each call of a layer or an operation that
    lacks a tensor goes through `call_partial`: a model runs in two walks, one for each part of its inputs.

    Args:
        model: a functional `keras.Model` or a built `keras.Sequential`.
        inputs: a tensor, or tensors in the structure of the model's inputs.
        call_layer: function `(layer, path, args, kwargs) -> outputs` that calls the layer, with whatever other
            arguments it likes, and returns the outputs that the graph knows of. `path` is the layer's name, after the
            names of the models that it is nested in, joined by "/"; a layer that the graph calls a second time has "#2"
            appended, and so on.
        training: bool, handed to the layers that take it.
        call_partial: function `(layer or operation, path, args, kwargs, there) -> outputs`, where an input is `MISSING`.
            `MISSING` stands in its arguments too; `there` holds the tensors among them that are no constants of the
            graph, by their place (see `fill_in`). It may return `MISSING`.

    Returns:
        The model's outputs, `MISSING` among them where nothing gave them.

    Raises:
        ValueError: if the model is a subclassed one, which has no graph to walk, or the inputs have another structure.

    Example:

    ```python
    inputs = keras.Input((7, 8))
    model = keras.Model(inputs, keras_tx.layers.TransformerEncoder(16, 2, name="block")(inputs))
    seen = []

    def call_layer(layer, path, args, kwargs):
        seen.append(path)
        return layer(*args, **kwargs)

    outputs = keras_tx.graph.walk(model, keras.ops.zeros((1, 7, 8)), call_layer)  # seen == ["block"]
    ```
    """

    def call(operation, path, node, values):
        args, kwargs = node.arguments.args, node.arguments.kwargs
        if training is not None and isinstance(operation, keras.Layer) and operation._call_has_training_arg:
            kwargs = {**kwargs, "training": training}
        flat, there = [], {}
        for place, leaf in enumerate(keras.tree.flatten((args, kwargs))):
            if isinstance(leaf, keras.KerasTensor):
                leaf = values[id(leaf)]
                if leaf is not MISSING:
                    there[f"{place:03}"] = leaf
            flat.append(leaf)
        args, kwargs = keras.tree.pack_sequence_as((args, kwargs), flat)
        if any(leaf is MISSING for leaf in flat):
            return call_partial(operation, path, args, kwargs, there)
        return (
            call_layer(operation, path, args, kwargs)
            if isinstance(operation, keras.Layer)
            else operation(*args, **kwargs)
        )

    return _run(model, inputs, call, "", {})


def fill_in(args, kwargs, there):
    """Returns the arguments of a partial call with tensors in their places, which `walk` gave for it with other inputs."""
    flat = [there.get(f"{place:03}", leaf) for place, leaf in enumerate(keras.tree.flatten((args, kwargs)))]
    return keras.tree.pack_sequence_as((args, kwargs), flat)


def layer_calls(model):
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


def layers_before(model):
    """Lists for each layer call, by its path as in `layer_calls`, the frozenset of the paths that it depends on."""
    calls = _reached(model, dict.fromkeys(input_names(model), frozenset()), lambda found, path: found | {path})
    return {path: before for path, (_, before) in calls.items()}


def _reached(model, starts, passed_on):
    """Sends sets from the inputs through the graph: a dict from path to a pair of the layer and what reached it."""
    calls = {}

    def call(operation, path, node, values):
        found = frozenset().union(*(values[id(tensor)] for tensor in node.input_tensors))
        if isinstance(operation, keras.Layer):
            calls[path] = (operation, found)
            found = passed_on(found, path)
        return [found] * len(node.outputs)

    _run(model, pack_inputs(model, starts), call, "", {})
    return calls


def input_names(model):
    """Lists the names of a functional model's inputs: the keys where they are a dict, else the names of the tensors."""
    functional = _functional(model)
    if functional is None:
        raise _no_graph(model, "")
    if isinstance(functional.input, dict):
        return list(functional.input)
    return [tensor.name for tensor in functional.inputs]


def pack_inputs(model, values):
    """Returns values, a dict from `input_names`, in the structure of a functional model's inputs; `MISSING` where none is."""
    functional = _functional(model)
    if isinstance(functional.input, dict):
        return {name: values.get(name, MISSING) for name in functional.input}
    flat = [values.get(tensor.name, MISSING) for tensor in functional.inputs]
    return keras.tree.pack_sequence_as(functional.input, flat)


def _run(model, inputs, call, prefix, counts):
    """Goes through the graph, also of nested models, and has `call(operation, path, node, values)` give each node's outputs.

    `values` holds what the tensors of the graph stand for, by their ids.
    """
    functional = _functional(model)
    if functional is None:
        raise _no_graph(model, prefix)
    values = dict(zip(map(id, functional.inputs), _standardized(functional, inputs), strict=True))
    for depth in sorted(functional._nodes_by_depth, reverse=True):
        for node in functional._nodes_by_depth[depth]:
            operation, path = node.operation, prefix + node.operation.name
            if node.is_input:
                continue
            if _is_walked(node):
                args, kwargs = node.arguments.fill_in(values)
                outputs = _run(operation, args[0] if args else kwargs["inputs"], call, path + "/", counts)
            else:
                counts[path] = counts.get(path, 0) + 1
                place = path if counts[path] == 1 else f"{path}#{counts[path]}"
                outputs = call(operation, place, node, values)
            flat = [MISSING] * len(node.outputs) if outputs is MISSING else keras.tree.flatten(outputs)
            values.update(zip(map(id, node.outputs), flat, strict=False))
    outputs = keras.tree.pack_sequence_as(functional.output, [values[id(tensor)] for tensor in functional.outputs])
    return outputs[0] if isinstance(outputs, (list, tuple)) and len(outputs) == 1 else outputs


def _is_walked(node):
    """Returns whether a node calls a model with a graph and hands it no mask (or a dict of none)."""
    masks = keras.tree.flatten(node.arguments.kwargs.get("mask"))
    return _functional(node.operation) is not None and all(mask is None for mask in masks)


def _standardized(functional, inputs):
    """Returns the inputs as a list of tensors; what stands for a tensor stays."""
    flat = keras.tree.flatten(inputs)
    if not any(isinstance(each, (frozenset, _Missing)) for each in flat):
        return functional._standardize_inputs(inputs)
    return [
        each if isinstance(each, (frozenset, _Missing)) else keras.ops.convert_to_tensor(each, dtype=tensor.dtype)
        for each, tensor in zip(flat, functional.inputs, strict=True)
    ]


def _no_graph(model, prefix):
    return ValueError(
        "`model` must be a functional model or a built Sequential: a subclassed model has no graph to walk. Received: "
        f"{prefix}{getattr(model, 'name', model)} of class {type(model).__name__}."
    )


def _functional(model):
    """Returns the `Functional` behind a model, or `None` if there is none."""
    if isinstance(model, keras.Sequential):
        return model._functional
    return model if isinstance(model, keras.Model) and hasattr(model, "_nodes_by_depth") else None


def find_layer(tensor, name):
    """Finds a layer by name in the graph that leads to a symbolic tensor, also inside nested models.

    Args:
        tensor: a `KerasTensor`, or anything else, which has no graph.
        name: str, the layer's name.

    Returns:
        The layer, or `None` if there is none of that name.
    """
    seen, waiting = set(), [tensor]
    while waiting:
        history = getattr(waiting.pop(), "_keras_history", None)
        if history is None or id(history.operation) in seen:
            continue
        operation = history.operation
        seen.add(id(operation))
        for layer in operation._flatten_layers() if isinstance(operation, keras.Layer) else ():
            if layer.name == name:
                return layer
        for node in operation._inbound_nodes:
            waiting.extend(node.input_tensors)
    return None


def parts(layer, path=None):
    """Yields `(path, sublayer)` for every layer inside a layer, the path made of names joined by "/" from the layer's own on."""
    path = path or layer.name
    for part in layer._flatten_layers(recursive=False, include_self=False):
        yield f"{path}/{part.name}", part
        yield from parts(part, f"{path}/{part.name}")


@contextlib.contextmanager
def without_values():
    """Lets models be built whose weights have shapes and no values: nothing is drawn and nothing allocated.

    Such a model can be counted and its graph can be looked at; to run it, `fill` each of its variables. (Keras' own
    scope, `keras.StatelessScope(initialize_variables=False)`, keeps a list of such variables, and the next scope that
    ends gives all of them values.)

    Example:

    ```python
    with keras_tx.graph.without_values():
        model = keras_tx.applications.GPT(**keras_tx.applications.GPT_SIZES["xl"])
    model.count_params()  # 1557611200
    ```
    """
    others = list(global_state.get_global_attribute("uninitialized_variables") or ())
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        global_state.set_global_attribute("uninitialized_variables", others)


def fill(variable, value=None):
    """Gives a variable that was made in `without_values` its first value.

    Args:
        variable: `keras.Variable`.
        value: array of the variable's shape, or `None` for what its initializer draws.

    Raises:
        ValueError: if the variable has a value already, or `value` has another shape.
    """
    if value is not None:
        if tuple(value.shape) != tuple(variable.shape):
            raise ValueError(
                f"`value` must have the shape of the variable. Received: value of shape {tuple(value.shape)} for "
                f"{variable.path} of shape {tuple(variable.shape)}."
            )
        variable._initializer = lambda shape, dtype=None: keras.ops.convert_to_tensor(value, dtype)
    if value is not None and keras.backend.backend() == "jax" and variable._value is None:
        # Keras would compile the initializer of a large weight that is split, and no program may hold other hosts' parts.
        variable._initialize(variable._initializer(variable.shape, variable.dtype))
        variable._initializer = None
    else:
        variable._deferred_initialize()
