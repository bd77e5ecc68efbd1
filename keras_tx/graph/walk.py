"""A functional model run on inputs with every layer called through a function of the caller's; its inputs, by name."""

import inspect

import keras

from ..private_keras import get_keras_mask, set_keras_mask


class Missing:
    """What stands in a walk for a tensor that is not there."""

    def __repr__(self):
        return "MISSING"


class Origin:
    """What stands for a tensor where a walk asks what made it.

    Attributes:
        operation: the layer or the operation that made it, `None` for an input of the model.
        path: str, its path as in `walk`, or the input's name.
        args, kwargs: the arguments of that call, origins in place of tensors.
    """

    def __init__(self, operation, path, args=(), kwargs=None):
        self.operation, self.path, self.args, self.kwargs = operation, path, args, kwargs or {}


MISSING = Missing()
STANDS = (Missing, Origin, frozenset)


def walk(model, inputs, call_layer, training=False, call_partial=None, call_operation=None):
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
            graph, by their place (see `complete_arguments`). It may return `MISSING`.
        call_operation: function `(operation, path, args, kwargs) -> outputs` that calls an operation of `keras.ops`, or `None` to
            have it called as it is.

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

    def call(operation, path, args, kwargs, values, count):
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
        if isinstance(operation, keras.Layer):
            return call_layer(operation, path, args, kwargs)
        return call_operation(operation, path, args, kwargs) if call_operation else operation(*args, **kwargs)

    return run(model, inputs, call)


def complete_arguments(args, kwargs, there):
    """Returns the arguments of a partial call with tensors in their places, which `walk` gave for it with other inputs."""
    flat = [there.get(f"{place:03}", leaf) for place, leaf in enumerate(keras.tree.flatten((args, kwargs)))]
    return keras.tree.pack_sequence_as((args, kwargs), flat)


def run(model, inputs, call):
    """Goes through the graph, also of nested models, and has a function give each node's outputs.

    Args:
        model: functional `keras.Model` or built `keras.Sequential`.
        inputs: in the structure of the model's inputs: tensors, or what stands for them (see `STANDS`).
        call: function `(operation, path, args, kwargs, values, count) -> outputs`. The arguments are those of the graph;
            `values` holds what the `KerasTensor`s among them stand for, by their ids, and `count` is the number of outputs.

    Returns:
        The model's outputs.

    Raises:
        ValueError: if the model has no graph.
    """
    functional, counts = functional_of(model), {}
    if functional is None:
        raise no_graph(model)

    def count_and_call(operation, path, args, kwargs, values, count):
        counts[path] = counts.get(path, 0) + 1
        place = path if counts[path] == 1 else f"{path}#{counts[path]}"
        return call(operation, place, args, kwargs, values, count)

    return _run_nodes(functional, _standardized(functional, inputs), count_and_call, "")


def _run_nodes(functional, inputs, call, prefix):
    """Returns a model's outputs for a list of its inputs; `prefix` stands before the names of its layers."""
    values = dict(zip(map(id, functional.inputs), inputs, strict=True))
    for depth in sorted(functional._nodes_by_depth, reverse=True):
        for node in functional._nodes_by_depth[depth]:
            operation, path = node.operation, prefix + node.operation.name
            if node.is_input:
                continue
            args, kwargs = node.arguments.args, node.arguments.kwargs
            if functional_of(operation) is not None:
                outputs = _run_nested(operation, path, args, kwargs, values, call)
            else:
                outputs = call(operation, path, args, kwargs, values, len(node.outputs))
            flat = [MISSING] * len(node.outputs) if outputs is MISSING else keras.tree.flatten(outputs)
            values.update(zip(map(id, node.outputs), flat, strict=False))
    outputs = keras.tree.pack_sequence_as(functional.output, [values[id(tensor)] for tensor in functional.outputs])
    return outputs[0] if isinstance(outputs, (list, tuple)) and len(outputs) == 1 else outputs


def _run_nested(model, path, args, kwargs, values, call):
    """Returns the outputs of a nested model. Its inputs carry the masks that the graph hands it, as in Keras' own call.

    To carry a mask is an operation, "model/input": of a walk in two parts, one may know the input and the other the mask.
    """

    def value_of(leaf):
        return values[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf

    given = inspect.signature(model.call).bind(*args, **kwargs).arguments
    functional, mask = functional_of(model), given.get("mask")
    inputs = keras.tree.map_structure(value_of, given["inputs"])
    mask_leaves, is_carried = keras.tree.flatten(mask), False
    if all(leaf is None for leaf in mask_leaves):
        mask, is_carried = keras.tree.map_structure(_carried_mask, inputs), True
        mask_leaves = keras.tree.flatten(mask)
    flat = _standardized(functional, inputs)
    for index, (tensor, leaf) in enumerate(zip(functional.inputs, mask_leaves, strict=False)):
        if leaf is not None:
            pair = {id(tensor): flat[index], id(leaf): leaf if is_carried else value_of(leaf)}
            outputs = call(_carry_mask, f"{path}/{tensor.name}", (tensor, leaf), {}, pair, 1)
            flat[index] = outputs if outputs is MISSING else keras.tree.flatten(outputs)[0]
    outputs = _run_nodes(functional, flat, call, path + "/")
    if model.supports_masking and not any(isinstance(each, STANDS) for each in keras.tree.flatten((inputs, outputs))):
        model._set_mask_metadata(inputs, outputs, mask if is_carried else keras.tree.map_structure(value_of, mask))
    return outputs


def _carry_mask(tensor, mask):
    """Returns the tensor, which carries the mask from now on."""
    set_keras_mask(tensor, mask)
    return tensor


def _carried_mask(tensor):
    return None if isinstance(tensor, STANDS) else get_keras_mask(tensor)


def _standardized(functional, inputs):
    """Returns the inputs as a list of tensors, those of a dict by their names; what stands for a tensor stays."""
    names = input_names(functional)
    complete = not isinstance(inputs, dict) or set(names) <= set(inputs)
    flat = keras.tree.flatten(pack_inputs(functional, inputs) if isinstance(inputs, dict) and complete else inputs)
    if not complete or len(flat) != len(functional.inputs):  # of too many, Keras would take the first ones
        raise ValueError(
            f"`inputs` must hold each input of the model, {names}, an optional one as a tensor or `None`. Received: "
            f"{list(inputs) if isinstance(inputs, dict) else len(flat)} for {functional.name}."
        )
    if any(isinstance(each, keras.KerasTensor) for each in flat):
        return flat  # a conversion would become an operation of the graph
    if not any(isinstance(each, STANDS) for each in flat):
        return functional._standardize_inputs(keras.tree.pack_sequence_as(functional.input, flat))
    return [
        each if isinstance(each, STANDS) else keras.ops.convert_to_tensor(each, dtype=tensor.dtype)
        for each, tensor in zip(flat, functional.inputs, strict=True)
    ]


def input_names(model) -> list[str]:
    """Lists the names of a functional model's inputs: the keys where they are a dict, else the names of the tensors."""
    functional = functional_of(model)
    if functional is None:
        raise no_graph(model)
    if isinstance(functional.input, dict):
        return list(functional.input)
    return [tensor.name for tensor in functional.inputs]


def pack_inputs(model, values):
    """Returns values, a dict from `input_names`, in the structure of a functional model's inputs; `MISSING` where none is."""
    functional = functional_of(model)
    if isinstance(functional.input, dict):
        return {name: values.get(name, MISSING) for name in functional.input}
    flat = [values.get(tensor.name, MISSING) for tensor in functional.inputs]
    return keras.tree.pack_sequence_as(functional.input, flat)


def no_graph(model):
    """Returns the error for a model without a graph, which says what the model is."""
    if isinstance(model, keras.Sequential):
        return ValueError(
            "`model` must be built to be walked: give the Sequential a keras.Input first, or call it once. Received: "
            f"{model.name} of class {type(model).__name__}, which is not built."
        )
    return ValueError(
        "`model` must be a functional model or a built Sequential: a subclassed model has no graph to walk. Received: "
        f"{getattr(model, 'name', model)} of class {type(model).__name__}."
    )


def functional_of(model):
    """Returns the `Functional` behind a model, or `None` if there is none."""
    if isinstance(model, keras.Sequential):
        return model._functional
    return model if isinstance(model, keras.Model) and hasattr(model, "_nodes_by_depth") else None
