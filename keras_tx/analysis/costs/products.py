"""The costs of Keras' layers and operations: dense layers, convolutions, embeddings, norms, and what has no products."""

import keras
from keras import layers

from ...graph.carry_mask import CarryMask
from .dispatch import entry, settings
from .parameters import kernel_shape
from .record import LayerCosts, elements, tensor_bytes

# What moves, chooses, adds or compares.
_WITHOUT_PRODUCTS = (
    CarryMask,
    layers.Activation,
    layers.Add,
    layers.AlphaDropout,
    layers.Average,
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
    layers.CenterCrop,
    layers.Concatenate,
    layers.Cropping1D,
    layers.Cropping2D,
    layers.Cropping3D,
    layers.Dropout,
    layers.ELU,
    layers.Embedding,
    layers.Flatten,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
    layers.Identity,
    layers.InputLayer,
    layers.LeakyReLU,
    layers.Masking,
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
    layers.Maximum,
    layers.Minimum,
    layers.Multiply,
    layers.Normalization,
    layers.PReLU,
    layers.Permute,
    layers.ReLU,
    layers.RepeatVector,
    layers.Rescaling,
    layers.Reshape,
    layers.Resizing,
    layers.Softmax,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.Subtract,
    layers.UpSampling1D,
    layers.UpSampling2D,
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
    layers.ZeroPadding3D,
)
_NORMS = (
    layers.BatchNormalization,
    layers.GroupNormalization,
    layers.LayerNormalization,
    layers.RMSNormalization,
    layers.UnitNormalization,
)
_DROPS = (layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D)


def keeps(layer, *tensors) -> int:
    """Returns the bytes that tensors, or shapes, kept for the gradients take in the dtype that a layer computes in."""
    return tensor_bytes(layer.compute_dtype, *tensors) if settings().mode == "train" else 0


def activation_keeps(activation, layer, *tensors) -> int:
    """Returns the bytes that the gradient of an activation needs beside its outputs, which the next product keeps."""
    name = getattr(activation, "__name__", "")
    return 0 if name in ("linear", "relu", "relu6", "leaky_relu") else keeps(layer, *tensors)


@entry(*_WITHOUT_PRODUCTS)
def none(layer, *args, **kwargs):
    """Returns the costs of a layer without products."""
    first = next(iter([*args, *kwargs.values()]), None)
    kept = 0
    if settings().mode == "train" and isinstance(first, keras.KerasTensor):
        if isinstance(layer, _DROPS) and layer.rate:
            kept = elements(first)  # a byte an element
        elif isinstance(layer, layers.Activation):
            kept = activation_keeps(layer.activation, layer, first)
    return LayerCosts(kept=kept)


@entry(*_NORMS)
def norm(layer, **given):
    """Returns the costs of a norm, whose `call` names its inputs first, `inputs` or, as in Keras' RMSNormalization, `x`."""
    inputs = next(iter(given.values()))
    return LayerCosts(normalized=elements(inputs), kept=keeps(layer, inputs))


@entry(layers.Dense)
def dense(layer, inputs, **kwargs):
    """Returns the costs of a dense layer, its adapters included."""
    rank = getattr(layer, "lora_rank", None) or 0
    outputs = (*inputs.shape[:-1], layer.units)
    macs = elements(outputs) * inputs.shape[-1] + rank * (elements(inputs) + elements(outputs))
    return LayerCosts({"dense": macs}, kept=keeps(layer, inputs) + activation_keeps(layer.activation, layer, outputs))


@entry(layers.EinsumDense)
def einsum_dense(layer, inputs, **kwargs):
    """Returns the costs of a product by an equation."""
    left, right = layer.equation.replace(" ", "").split("->")
    of_inputs, of_kernel = left.split(",")
    sizes = dict(zip(of_kernel.replace("...", ""), kernel_shape(layer), strict=True))
    shape = list(inputs.shape)
    if "..." in of_inputs:
        named = of_inputs.replace("...", "")
        sizes["."] = elements(shape[: len(shape) - len(named)]) if of_inputs.startswith("...") else 1
        shape = shape[len(shape) - len(named) :]
        of_inputs = named
    sizes |= dict(zip(of_inputs, shape, strict=True))
    macs = elements(sizes.values())
    outputs = [sizes["." if each == "" else each] for each in right.replace("...", "")]
    if "..." in right:
        outputs.append(sizes["."])
    return LayerCosts({"dense": macs}, kept=keeps(layer, inputs) + activation_keeps(layer.activation, layer, outputs))


@entry(layers.Conv1D, layers.Conv2D, layers.Conv3D)
def _convolution(layer, inputs, **kwargs):
    outputs = layer.compute_output_shape(inputs.shape)
    macs = elements(outputs) * elements(layer.kernel.shape[:-1])  # the kernel's channels are those of a group
    return _of_convolution(layer, macs, inputs, outputs)


@entry(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
def _depthwise_convolution(layer, inputs, **kwargs):
    outputs = layer.compute_output_shape(inputs.shape)
    return _of_convolution(layer, elements(outputs) * elements(layer.kernel_size), inputs, outputs)


def _of_convolution(layer, macs, inputs, outputs):
    kept = keeps(layer, inputs) + activation_keeps(layer.activation, layer, outputs)
    return LayerCosts({"convolution": macs}, kept=kept)


@entry(layers.ReversibleEmbedding)
def _reversible_embedding(layer, inputs, reverse=False, **kwargs):
    if not reverse:
        return LayerCosts()
    return LayerCosts({"logits": elements(inputs) * layer.input_dim}, kept=keeps(layer, inputs))


@entry(layers.MultiHeadAttention, layers.GroupQueryAttention)
def _keras_attention(layer, query, value, key=None, **kwargs):
    groups = isinstance(layer, layers.GroupQueryAttention)
    heads = layer.num_query_heads if groups else layer.num_heads
    key_heads = layer.num_key_value_heads if groups else heads
    key_dim = layer.head_dim if groups else layer.key_dim
    value_dim = layer.head_dim if groups else layer.value_dim
    key = value if key is None else key
    queries, keys = elements(query.shape[:-1]), elements(key.shape[:-1])
    width = key_dim + value_dim
    projections = queries * heads * (query.shape[-1] * key_dim + value_dim * query.shape[-1])
    projections += keys * key_heads * (key.shape[-1] * key_dim + value.shape[-1] * value_dim)
    pairs = queries * key.shape[1] * heads * width
    shapes = [query, key, (queries, heads, key_dim), (keys, key_heads, width), (queries, heads, value_dim)]
    weights = (queries, heads, key.shape[1])
    kept = keeps(layer, *shapes, weights) + (keeps(layer, weights) if layer.get_config()["dropout"] else 0)
    return LayerCosts({"projections": projections, "attention": pairs}, pairs, pairs, kept=kept)
