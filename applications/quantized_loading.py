"""Layers that are quantized as soon as they have their weights, so that a model is never whole in floats."""

import contextlib
import gc

import keras

from .. import graph

_MODES = {"int8": "Int8QuantizationConfig", "int4": "Int4QuantizationConfig"}
_BLOCK = 1024  # rows of a table that are rounded at once


def config_of(quantize):
    """Returns the quantization config of an argument `quantize`: weights alone for the name of a mode, or `None`.

    Raises:
        ValueError: for another mode: float8 is for training, and GPTQ and AWQ calibrate a model that is whole.
    """
    kinds = {mode: getattr(keras.quantizers, name) for mode, name in _MODES.items()}
    if quantize is None or isinstance(quantize, tuple(kinds.values())):
        return quantize
    if quantize not in tuple(kinds):
        raise ValueError(
            f"`quantize` must be one of {', '.join(map(repr, _MODES))}, a keras.quantizers.Int8QuantizationConfig or "
            f"Int4QuantizationConfig, or None. Received: quantize={quantize!r}."
        )
    return kinds[quantize](activation_quantizer=None)


class _RowsInTurn(keras.quantizers.AbsMaxQuantizer):
    """Rounds some rows of a table at a time, each by a scale of its own: what `AbsMaxQuantizer` makes of all, in less memory."""

    def __call__(self, x, axis=None, to_numpy=False):
        rounded = super().__call__
        starts = range(0, x.shape[0], _BLOCK)
        parts = [rounded(x[start : start + _BLOCK], axis=axis, to_numpy=to_numpy) for start in starts]
        return tuple(keras.ops.concatenate(each, axis=0) for each in zip(*parts, strict=True))


def _quantize(layer, config):
    """Quantizes a layer, and keeps the copies small that Keras makes of a large table."""
    by_rows = type(layer) is keras.layers.Embedding or (
        type(layer) is keras.layers.ReversibleEmbedding and layer.tie_weights
    )
    if config.mode == "int8" and config.weight_quantizer is None and by_rows:
        layer.quantize("int8", config=type(config)(_RowsInTurn(axis=-1), config.activation_quantizer))
        layer.quantization_config = config
    else:
        layer.quantize(config.mode, config=config)


@contextlib.contextmanager
def filler(model, weights, config):
    """Gives a function that gives a variable its value; a layer is quantized when all of its own have theirs.

    Args:
        model: `keras.Model` that was built without values.
        weights: dict from path to variable. It loses the variables that were quantized: nothing else holds their floats.
        config: quantization config.
    """
    paths = {id(variable): path for path, variable in weights.items()}
    leaves = [part for _, part in graph.parts(model) if not graph.direct_parts(part)]
    able = [layer for layer in leaves if type(layer).quantize is not keras.Layer.quantize]
    owners = {id(weight): layer for layer in able for weight in layer.weights}
    missing = {id(layer): {id(weight) for weight in layer.weights} for layer in able}
    waiting = []

    def quantize(layers, by):
        held = {id(weight) for layer in layers for weight in layer.weights}
        by()
        for index in held - {id(weight) for layer in layers for weight in layer.weights}:
            del weights[paths[index]]

    def fill(variable, value):
        while len(waiting) > 1:  # what their variables were made of has been let go by now
            layer = waiting.pop(0)
            quantize([layer], lambda: _quantize(layer, config))  # noqa: B023  (it is called at once)
        graph.fill(variable, value)
        layer = owners.get(id(variable))
        if layer is not None:
            missing[id(layer)].discard(id(variable))
            if not missing[id(layer)]:
                waiting.append(layer)

    with _quick_collections():
        yield fill
        # The last ones by way of the model, which forgets its compiled functions and, on torch, the parameters that are gone.
        last = {id(layer) for layer in waiting}
        quantize(waiting, lambda: model.quantize(config.mode, config=config, filters=lambda layer: id(layer) in last))


@contextlib.contextmanager
def _quick_collections():
    """Leaves what is there already out of the garbage collections that Keras runs for each layer that it quantizes."""
    ours = gc.get_freeze_count() == 0
    if ours:
        gc.freeze()
    try:
        yield
    finally:
        if ours:
            gc.unfreeze()
