"""A functional model cut in two: what leads to some of its layers, and what follows from them."""

import keras

from ..private_keras import get_keras_mask, set_keras_mask
from .calls import layers_before
from .carry_mask import CarryMask
from .distinct_names import DistinctNames, name_of
from .walk import functional_of, input_names, pack_inputs, run, walk


def split(model, layers):
    """Cuts a functional model after some of its layers into two models, front and back, with `back(front(x)) == model(x)`.

    All layers are the model's own, none is built anew and no weight is copied: what trains the back trains the model. It
    serves where the first layers are frozen: `CachedOutputs` computes what they give once, and each epoch runs the back alone.

    Args:
        model: functional `keras.Model` or built `keras.Sequential`; nested models are gone into.
        layers: str, the path of a layer as `layer_calls` lists it, or a list of paths. They must be all that is handed from the
            part before to the part after, beside the model's inputs and what operations alone make of them, as a padding mask.

    Returns:
        Two functional models. The front takes what the model takes, and gives a dict of what the back takes: the outputs of the
        layers by their paths, with "." for "/" and "#", and the inputs of the model that the back still reads. A Keras mask that
        a layer's outputs carry is among them, as "<path>.mask". The back gives what the model gives. The parts have the layers
        of nested models beside one another; one whose name another has already stands in a model of it alone, named by its path.
        An optional input of the model must be given to the front; `without_optional_inputs` leaves it out before.

    Raises:
        ValueError: for a model without a graph, a path that is not in the graph, layers that nothing after them all reads, layers
            with several outputs, layers that are not all that the back reads, and an input of the model of the name that a
            layer's outputs have.

    Example:

    ```python
    encoder = keras_tx.applications.BERT(100, 16, num_layers=3, num_heads=2, hidden_dim=8, intermediate_dim=16)
    model = keras_tx.applications.bert_classifier(encoder, num_classes=2)
    front, back = keras_tx.graph.split(model, "bert/encoder_1")
    front.trainable = False
    states = front(np.array([[2, 20, 30, 3]]))  # {"bert.encoder_1": (1, 4, 8), "token_ids": (1, 4)}
    logits = back(states)  # (1, 2), by the last block and the head
    ```
    """
    paths = _paths(layers)
    names, before = _read(model, paths)
    inputs = _new_inputs(model)
    found, named = {}, DistinctNames(tensor.name for tensor in inputs.values())

    def note(layer, path, args, kwargs):
        outputs = named(layer, path, args, kwargs) if path in before else layer(*args, **kwargs)
        if path in paths:
            found[path] = _alone(path, outputs)
        return outputs

    walk(model, pack_inputs(model, inputs), note, training=None, call_operation=named)
    handed = []
    for path, tensor in found.items():
        mask = get_keras_mask(tensor)
        handed += [(name_of(path), tensor if mask is None else keras.ops.copy(tensor))]
        handed += [] if mask is None else [(_mask_key(path), mask)]
    given = dict([(name, inputs[name]) for name in names] + handed)
    if len(given) < len(names) + len(handed):
        raise ValueError(
            "What the front hands over must have names that differ. Received: inputs of the model, "
            f"{names}, and outputs of layers, {[name for name, _ in handed]}."
        )
    front = keras.Model(pack_inputs(model, inputs), given, name=f"{model.name}_front")
    return front, _back(model, paths, before, front.output)


def _paths(layers):
    """Returns the paths, each once."""
    try:
        return list(dict.fromkeys([layers] if isinstance(layers, str) else layers))
    except TypeError as error:
        raise ValueError(
            f"`layers` must be the path of a layer, or a list of paths. Received: layers={layers!r}."
        ) from error


def _back(model, paths, before, given):
    """Returns the model from what the front gives, a dict of symbolic tensors, to the outputs."""
    inputs = {
        name: keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name) for name, tensor in given.items()
    }
    starts = {path: inputs[name_of(path)] for path in paths}
    for path in paths:
        if _mask_key(path) in inputs:
            starts[path] = CarryMask(name=f"{name_of(path)}.carry_mask")(starts[path], inputs[_mask_key(path)])
            set_keras_mask(starts[path], inputs[_mask_key(path)])

    named = DistinctNames([*inputs, *(f"{name_of(path)}.carry_mask" for path in paths)])

    def start(layer, path, args, kwargs):
        if path in paths:
            return starts[path]
        return layer(*args, **kwargs) if path in before else named(layer, path, args, kwargs)

    # What leads to the cut is called here too, on inputs that the new model then has no part of.
    all_inputs = {**_new_inputs(model), **{name: inputs[name] for name in input_names(model) if name in inputs}}
    outputs = walk(model, pack_inputs(model, all_inputs), start, training=None, call_operation=named)
    return keras.Model(inputs, outputs, name=f"{model.name}_back")


def _read(model, paths):
    """Returns the names of the inputs that the part after the cut reads, and the paths of the part before, and checks the cut."""
    before = layers_before(model)
    if not paths or not set(paths) <= set(before):
        raise ValueError(
            f"`layers` must be paths of layers of the model, as graph.layer_calls lists them: {list(before)}. Received: {paths}."
        )
    front = set(paths).union(*(before[path] for path in paths))

    def call(operation, path, args, kwargs, values, count):
        if isinstance(operation, keras.Layer) and path in front:
            return [frozenset([path])] * count
        leaves = [leaf for leaf in keras.tree.flatten((args, kwargs)) if isinstance(leaf, keras.KerasTensor)]
        return [frozenset().union(*(values[id(leaf)] for leaf in leaves))] * count

    names = input_names(model)
    outputs = run(model, pack_inputs(model, {name: frozenset([name]) for name in names}), call)
    read = frozenset().union(*keras.tree.flatten(outputs))
    if not set(paths) <= read:
        unread = sorted(set(paths) - read)
        raise ValueError(
            f"`layers` must be read by what follows them all. Received: {unread}, which nothing reads there."
        )
    others = sorted(read & front - set(paths))
    if others:
        raise ValueError(
            f"`layers` must be all that the part after them reads. Received: {paths}, but {others} are read there too: name them."
        )
    return [name for name in names if name in read], front


def _alone(path, outputs):
    """Returns the one tensor that a layer gives."""
    if not isinstance(outputs, keras.KerasTensor):
        raise ValueError(
            f"`layers` must give one tensor each. Received: {path!r}, which gives a {type(outputs).__name__}."
        )
    return outputs


def _mask_key(path):
    return f"{name_of(path)}.mask"


def _new_inputs(model):
    """Returns a dict from the name of each input to a new one like it."""
    functional = functional_of(model)
    flat = functional.input.values() if isinstance(functional.input, dict) else functional.inputs
    return {
        name: keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
        for name, tensor in zip(input_names(model), flat, strict=True)
    }
