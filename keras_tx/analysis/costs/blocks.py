"""The costs of the layers of this package but attention: blocks are the sums of their parts."""

import inspect
import math
from dataclasses import replace

import keras

from ... import layers
from ...layers.dense import Dense, EinsumDense
from ...layers.dropout import Dropout
from ...layers.normalization import LayerNormalization
from .dispatch import entry, layer_costs, settings
from .parameters import kernel_shape
from .products import activation_keeps, dense, einsum_dense, keeps, none, norm
from .record import LayerCosts, elements

entry(
    layers.AlibiBias,
    layers.ClassToken,
    layers.GatherPositions,
    layers.GridPositionEncoding,
    layers.LayerScale,
    layers.LearnedPositionEncoding,
    layers.LearnedQueries,
    layers.MapToSequence,
    layers.MaskedMeanPooling,
    layers.PixelMask,
    layers.RelativePositionBias,
    layers.RotaryEmbedding,
    layers.SegmentEmbedding,
    layers.SinusoidalGridPositions,
    layers.SinusoidalPositionEncoding,
    layers.TokenAndPositionEmbedding,
    layers.WindowPositionBias,
)(none)
entry(layers.RMSNormalization, layers.FrozenBatchNormalization, LayerNormalization)(norm)
entry(Dense)(dense)
entry(EinsumDense)(einsum_dense)


@entry(Dropout, layers.DropPath)
def _dropout(layer, inputs, **given):
    """A byte an element says what was kept; a path is kept or dropped as a whole."""
    whole = isinstance(layer, Dropout) and layer.rate and settings().mode == "train"
    return LayerCosts(kept=elements(inputs) if whole else 0)


@entry(layers.FeedForward)
def _feed_forward(layer, inputs, **given):
    hidden = keras.KerasTensor((*inputs.shape[:-1], layer.intermediate_dim), inputs.dtype)
    costs = layer_costs(layer.intermediate, inputs) + layer_costs(layer.output_dense, hidden)
    costs += LayerCosts(kept=activation_keeps(layer.activation, layer, hidden))
    if layer.gate is not None:  # both factors of the product; the inputs are kept once
        gate = layer_costs(layer.gate, inputs)
        costs += LayerCosts(gate.macs, kept=keeps(layer, hidden, hidden))
    return (costs + layer_costs(layer.intermediate_dropout, hidden)).of_kind("feed_forward")


@entry(layers.TransformerEncoder, layers.TransformerDecoder)
def _block(layer, inputs, context=None, return_attention_scores=False, **given):
    """Each branch: its norms, what it computes, its dropout."""
    asked = {"return_attention_scores": True} if return_attention_scores else {}
    decoder = isinstance(layer, layers.TransformerDecoder)
    other = {} if context is None else {"context": context}
    costs = _attention(layer, "attention", inputs, **({} if decoder else other), **asked)
    if decoder and context is not None:
        costs += _attention(layer, "cross_attention", inputs, **other, **asked)
    costs += layer_costs(layer.feed_forward, inputs) + _around(layer, "feed_forward", inputs)
    if not layer.recompute or return_attention_scores or settings().mode != "train":
        return costs  # a block that hands its scores on keeps all
    kept = keeps(layer, inputs) if context is None else keeps(layer, inputs, context)
    return replace(costs, kept=kept, recomputed=costs.total_macs + costs.recomputed)


def _attention(layer, name, inputs, **given):
    attention = getattr(layer, name)
    if next(iter(inspect.signature(attention.call).parameters)) == "query":  # of Keras
        given = {"value": given.get("context", inputs)}
    return layer_costs(attention, inputs, **given) + _around(layer, name, inputs)


def _around(layer, name, inputs):
    """The norms, gain and dropouts of a branch."""
    parts = [getattr(layer, f"{name}_{part}", None) for part in ("norm", "branch_norm", "layer_scale")]
    parts += getattr(layer, f"{name}_drops", None) or []
    return sum((layer_costs(part, inputs) for part in parts if part is not None), LayerCosts())


@entry(layers.FourierMixing)
def _fourier_mixing(layer, inputs, **given):
    """5 N log2 N operations for N numbers, as is usual for a transform of complex numbers."""
    length, width = inputs.shape[-2:]
    operations = 5 * elements(inputs) * math.log2(length * width)
    return LayerCosts({"mixing": round(operations / 2)})


@entry(layers.TokenMixing)
def _token_mixing(layer, inputs, **given):
    *batch, length, width = inputs.shape
    turned = keras.KerasTensor((*batch, width, length), inputs.dtype)
    return layer_costs(layer.feed_forward, turned).of_kind("mixing")


@entry(layers.PatchEmbedding)
def _patch_embedding(layer, inputs, **given):
    grid = layer.compute_output_shape(inputs.shape)[:-1]
    pixels = keras.KerasTensor((*grid, kernel_shape(layer.projection)[0]), layer.compute_dtype)
    costs = layer_costs(layer.projection, pixels).of_kind("convolution")
    return costs if layer.stem is None else costs + layer_costs(layer.stem, inputs)


@entry(layers.ConvolutionalStem)
def _convolutional_stem(layer, inputs, **given):
    costs = LayerCosts()
    for convolution, norm_layer, stride in zip(layer.convolutions, layer.norms, layer.strides, strict=True):
        batch, rows, columns, channels = inputs.shape
        filled = keras.KerasTensor((batch, rows + 2, columns + 2, channels), layer.compute_dtype)
        grid = (batch, -(-rows // stride), -(-columns // stride))
        inputs = keras.KerasTensor((*grid, convolution.filters), layer.compute_dtype)
        costs += layer_costs(convolution, filled) + layer_costs(norm_layer, inputs)
        costs += LayerCosts(kept=activation_keeps(layer.activation, layer, inputs))
    return costs


@entry(layers.PatchMerging)
def _patch_merging(layer, inputs, **given):
    grid = layer.compute_output_shape(inputs.shape)[:-1]
    merged = keras.KerasTensor((*grid, 4 * inputs.shape[-1]), inputs.dtype)
    return layer_costs(layer.norm, merged) + layer_costs(layer.reduction, merged)


@entry(layers.RegionEmbedding)
def _region_embedding(layer, inputs, boxes, **given):
    corners_and_area = keras.KerasTensor((*boxes.shape[:-1], 5), layer.compute_dtype)
    return layer_costs(layer.features, inputs) + layer_costs(layer.location, corners_and_area)


@entry(layers.TiedLogits)
def _tied_logits(layer, inputs, **given):
    vocabulary = layer.compute_output_shape(inputs.shape)[-1]
    return LayerCosts({"logits": elements(inputs) * vocabulary}, kept=keeps(layer, inputs))


@entry(layers.CopyLogits)
def _copy_logits(layer, inputs, logits, context, context_ids, **given):
    """The two maps, and the products of each position with the source, whose places are compared with each other."""
    length, places = inputs.shape[-2], context.shape[-2]
    macs = elements(inputs.shape[:1]) * length * places * (context.shape[-1] + places)
    attended = LayerCosts({"attention": macs}, macs, macs, kept=keeps(layer, logits, context))
    return layer_costs(layer.query, inputs) + layer_costs(layer.gate, inputs) + attended


@entry(layers.SpanBoundary)
def _span_boundary(layer, inputs, left, right, offsets, **given):
    batch, places = left.shape
    widths = (3 * inputs.shape[-1], inputs.shape[-1])
    reads = [keras.KerasTensor((batch, places, width), layer.compute_dtype) for width in widths]
    norms = [keras.KerasTensor((batch, places, inputs.shape[-1]), layer.compute_dtype)] * 2
    pairs = [*zip(layer.dense_layers, reads, strict=True), *zip(layer.norms, norms, strict=True)]
    return sum((layer_costs(part, read) for part, read in pairs), LayerCosts())
