"""A model without the inputs that may be left out, as the segments of packed rows where one document a row is decoded."""

import keras

from .walk import functional_of, input_names, pack_inputs, walk


def optional_inputs(model) -> list[str]:
    """Lists the names of the inputs that were made with `keras.Input(optional=True)`; none of a model without a graph."""
    functional = functional_of(model)
    if functional is None:
        return []
    optional = [
        layer.output
        for layer in functional.layers
        if isinstance(layer, keras.layers.InputLayer) and getattr(layer, "optional", False)
    ]
    return [name for name, tensor in _inputs(functional).items() if any(tensor is other for other in optional)]


def without_optional_inputs(model, given=()) -> keras.Model:
    """Returns the model of the inputs that have to be given: what it computes where `None` is given for the others.

    All layers are the model's own, none is built anew and no weight is copied, so a change of either shows in both. It serves
    where a model must have one input: a packed model's `segment_ids` are left out so.

    Args:
        model: `keras.Model`; one that has no graph is returned as it is.
        given: names of optional inputs that stay.

    Returns:
        A functional `keras.Model` of the same name, not compiled; `model` itself if there is nothing to leave out. One input
        that is left stands alone.

    Raises:
        ValueError: for a model whose inputs are all optional.

    Example:

    ```python
    model = keras_tx.applications.GPT(
        vocabulary_size=256, sequence_length=64, num_layers=1, num_heads=4, hidden_dim=32, intermediate_dim=64, packed=True
    )
    logits = keras_tx.graph.without_optional_inputs(model)(np.array([[10, 20, 30]]))  # (1, 3, 256)
    ```
    """
    left_out = set(optional_inputs(model)) - set(given)
    if not left_out:
        return model
    functional = functional_of(model)
    kept = {
        name: keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
        for name, tensor in _inputs(functional).items()
        if name not in left_out
    }
    if not kept:
        raise ValueError(
            f"`model` must have an input that is not optional. Received: {model.name} with inputs {input_names(model)}."
        )
    values = {**kept, **dict.fromkeys(left_out)}
    outputs = walk(
        model, pack_inputs(model, values), lambda layer, path, args, kwargs: layer(*args, **kwargs), training=None
    )
    alone = next(iter(kept.values())) if len(kept) == 1 else None
    inputs = kept if isinstance(functional.input, dict) else list(kept.values())
    return keras.Model(inputs if alone is None else alone, outputs, name=model.name)


def _inputs(functional):
    """Dict from the name of each input to its tensor."""
    if isinstance(functional.input, dict):
        return dict(functional.input)
    return dict(zip(input_names(functional), functional.inputs, strict=True))
