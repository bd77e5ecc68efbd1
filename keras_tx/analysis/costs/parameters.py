"""How many numbers a layer holds, also where quantizing stores two of them in a byte, and scales beside them."""

import math

import keras

from ...graph import parts

_TABLES = ("kernel", "embeddings", "reverse_embeddings")
_OF_QUANTIZING = ("_scale", "_zero", "zero_point", "g_idx", "awq_scales", "_amax_history")


def count_parameters(layers, weights=None) -> int:
    """Returns how many numbers the weights of layers stand for; a weight that two of them share counts once.

    Args:
        layers: list of `keras.Layer`.
        weights: those of their weights that count, `None` for all.
    """
    sizes, found = {}, {}
    for layer in layers:
        for part in (layer, *(part for _, part in parts(layer))):
            if getattr(part, "quantization_mode", None) is not None:
                sizes.update(_of_quantized(part))
        found.update({id(weight): weight for weight in layer.weights})
    chosen = found.values() if weights is None else weights
    return sum(sizes.get(id(weight), math.prod(weight.shape)) for weight in chosen)


def kernel_shape(layer):
    """Returns the shape of a dense layer's kernel as its equation has it, however it is stored."""
    if isinstance(layer, keras.layers.Dense):
        return (layer.input_spec.axes[-1], layer.units)
    shape = getattr(layer, "original_kernel_shape", None)  # of an `EinsumDense` that stores another one
    return tuple(layer.kernel.shape if shape is None else shape)


def _of_quantized(layer):
    """Dict from the id of a weight to how many numbers it stands for, of those that quantizing made."""
    if isinstance(layer, keras.layers.Embedding):
        size = layer.input_dim * layer.output_dim
    elif isinstance(layer, (keras.layers.Dense, keras.layers.EinsumDense)):
        size = math.prod(kernel_shape(layer))
    else:
        return {}
    sizes, seen = {}, set()
    for weight in layer.weights:
        if weight.name.endswith(_OF_QUANTIZING):
            sizes[id(weight)] = 0
        elif weight.name in _TABLES:
            sizes[id(weight)] = 0 if weight.name in seen else size
            seen.add(weight.name)
    return sizes
