"""Keras' low-rank adapters, merged into what they adapt when a model is written; and quantized weights, which are refused.

A layout has one tensor for a kernel or a table. The model whose weights are written keeps its adapters as they are.
"""

import re

import numpy as np
from keras import ops

from ... import graph

# As `enable_lora` names the pair for a "kernel" or a table of "embeddings".
_ADAPTER = re.compile(r"lora_(\w+)_[ab]")
_SHOWN = 3  # quantized layers that an error names


def own_weights(layer):
    """Returns the weights that a layer has without adapters, its parts' among them, in the same order."""
    adapters = {id(weight) for part in _adapted(layer) for pair in _pairs(part).values() for weight in pair}
    return [weight for weight in layer.weights if id(weight) not in adapters]


def merged(model):
    """Returns a function from a weight of a model to its numbers, with those of its adapter added where it has one.

    W + (alpha / rank) A B, in float32 or wider, and rounded to the dtype of W.
    """
    adapted = {
        id(weight): (part.lora_alpha / part.lora_rank, *pair)
        for part in _adapted(model)
        for weight, pair in ((_named(part)[name], pair) for name, pair in _pairs(part).items())
    }

    def value(weight):
        array = ops.convert_to_numpy(weight)
        if id(weight) not in adapted:
            return array
        scale, a, b = adapted[id(weight)]
        wide = np.promote_types(array.dtype, "float32") if array.dtype.kind == "f" else np.dtype("float32")
        a, b = (ops.convert_to_numpy(factor).astype(wide) for factor in (a, b))
        return ops.convert_to_numpy(ops.cast(array.astype(wide) + scale * (a @ b), weight.dtype))

    return value


def check_floats(model):
    """Raises `ValueError` if a model has quantized layers, naming them."""
    found = {}
    for path, part in graph.parts(model):
        if part.quantization_mode is not None:
            found.setdefault(id(part), f"{path} ({part.quantization_mode})")
    if found:
        shown = ", ".join(list(found.values())[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ValueError(
            "`model` must hold float weights, because the layout has no place for quantized ones: save the model that was "
            "quantized, which `load_huggingface` or `keras.models.load_model` gives from the folder or file of before "
            "`quantize`; where adapters were trained since, `enable_lora` there with their rank and alpha, and assign theirs. "
            f"Received: quantized layers {shown}{more}."
        )


def _adapted(layer):
    """The layers in a layer, itself among them, that have an adapter."""
    parts = {id(part): part for part in (layer, *(part for _, part in graph.parts(layer)))}
    return [part for part in parts.values() if getattr(part, "lora_enabled", False)]


def _named(layer):
    return {weight.name: weight for weight in layer.weights}


def _pairs(layer):
    """Dict from the name of an adapted weight to the two factors that are added to it."""
    weights = _named(layer)
    names = {hit.group(1) for hit in map(_ADAPTER.fullmatch, weights) if hit and hit.group(1) in weights}
    return {name: (weights[f"lora_{name}_a"], weights[f"lora_{name}_b"]) for name in names}
