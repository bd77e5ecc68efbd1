"""A functional model as data: walking its layers, finding a layer in the graph that leads to a tensor, and what is in a
layer.

The only user of Keras' private graph names.
"""

import contextlib

import keras
from keras.src.backend.common import global_state


def walk(model, inputs, call_layer, training=False):
    """Runs a functional model on inputs, with every layer called through a function of the caller's.

    The walk goes into nested functional and Sequential models. Nothing is rebuilt and no weight is copied: the layers
    are the model's own, and the tensors may be real or traced.

    Args:
        model: a functional `keras.Model` or a built `keras.Sequential`.
        inputs: a tensor, or tensors in the structure of the model's inputs.
        call_layer: function `(layer, path, args, kwargs) -> outputs` that calls the layer, with whatever other
            arguments it likes, and returns the outputs that the graph knows of. `path` is the layer's name, after the
            names of the models that it is nested in, joined by "/"; a layer that the graph calls a second time has "#2"
            appended, and so on.
        training: bool, handed to the layers that take it.

    Returns:
        The model's outputs.

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
    return _walk(model, inputs, call_layer, training, "", {})


def _walk(model, inputs, call_layer, training, prefix, calls):
    functional = _functional(model)
    if functional is None:
        raise _no_graph(model, prefix)
    tensors = functional._standardize_inputs(inputs)

    def operation_fn(operation):
        if not isinstance(operation, keras.Layer):
            return operation
        path = prefix + operation.name

        def call(*args, **kwargs):
            if _functional(operation) is not None and isinstance(operation, keras.Model):
                nested_mask = kwargs.pop("mask", None)
                if nested_mask is None:
                    kwargs.pop("training", None)
                    return _walk(
                        operation,
                        args[0] if args else kwargs["inputs"],
                        call_layer,
                        training,
                        path + "/",
                        calls,
                    )
            calls[path] = calls.get(path, 0) + 1
            place = path if calls[path] == 1 else f"{path}#{calls[path]}"
            if training is not None and operation._call_has_training_arg:
                kwargs["training"] = training
            return call_layer(operation, place, args, kwargs)

        return call

    outputs = functional._run_through_graph(tensors, operation_fn=operation_fn)
    if isinstance(outputs, (list, tuple)) and len(outputs) == 1:
        return outputs[0]
    return outputs


def layer_calls(model, prefix=""):
    """Lists the layer calls of a functional model, in the order and under the paths of `walk`, without running it.

    Args:
        model: a functional `keras.Model` or a built `keras.Sequential`.
        prefix: str before every path.

    Returns:
        Dict from path to layer.

    Raises:
        ValueError: if the model is a subclassed one.
    """
    calls, counts = {}, {}
    _list_calls(model, prefix, calls, counts)
    return calls


def _list_calls(model, prefix, calls, counts):
    functional = _functional(model)
    if functional is None:
        raise _no_graph(model, prefix)
    for depth in sorted(functional._nodes_by_depth, reverse=True):
        for node in functional._nodes_by_depth[depth]:
            operation = node.operation
            if node.is_input or not isinstance(operation, keras.Layer):
                continue
            path = prefix + operation.name
            if isinstance(operation, keras.Model) and _functional(operation) is not None:
                _list_calls(operation, path + "/", calls, counts)
            else:
                counts[path] = counts.get(path, 0) + 1
                calls[path if counts[path] == 1 else f"{path}#{counts[path]}"] = operation


def _no_graph(model, prefix):
    return ValueError(
        "`model` must be a functional model or a built Sequential: a subclassed model has no graph to walk. Received: "
        f"{prefix}{getattr(model, 'name', model)} of class {type(model).__name__}."
    )


def _functional(model):
    """Returns the `Functional` behind a model, or `None` if there is none."""
    if isinstance(model, keras.Sequential):
        return model._functional
    return model if isinstance(model, keras.Model) and hasattr(model, "_run_through_graph") else None


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
        variable._initializer = _Given(value)
    variable._deferred_initialize()


class _Given:
    """An initializer that returns what it was given."""

    def __init__(self, value):
        self.value = value

    def __call__(self, shape, dtype=None):
        return keras.ops.convert_to_tensor(self.value, dtype)
