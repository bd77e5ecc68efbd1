"""The costs of the attentions: projections, products of pairs as they are computed, what the gradients need, and the caches."""

import math

import keras
import numpy as np

from ...layers import MultiHeadCrossAttention, MultiHeadSelfAttention, WindowAttention
from ...ops.attention.blockwise import BLOCK
from ...ops.attention.dot_product import LONG
from ...ops.windows import padded_size
from .dispatch import entry, layer_costs, settings
from .products import keeps
from .record import LayerCosts, elements, item_bytes, tensor_bytes


@entry(MultiHeadSelfAttention)
def _self_attention(layer, inputs, return_attention_scores=False, **given):
    *batch, length, _ = inputs.shape
    num_keys = length
    if settings().mode == "decode":
        num_keys = settings().length if layer.window is None else min(layer.window, settings().length)
    costs = _projections(layer, inputs, inputs) + _of_pairs(
        layer, math.prod(batch), length, num_keys, layer.causal, layer.window, return_attention_scores
    )
    row = 2 * layer.num_key_heads * _vector_bytes(layer)
    return costs + LayerCosts(cache=row if layer.causal and layer.window is None else 0)


@entry(MultiHeadCrossAttention)
def _cross_attention(layer, inputs, context=None, return_attention_scores=False, **given):
    *batch, length, _ = inputs.shape
    context = inputs if context is None else context
    costs = _projections(layer, inputs, context)
    costs += _of_pairs(layer, math.prod(batch), length, context.shape[-2], False, None, return_attention_scores)
    keys = elements(context.shape[:-1]) * layer.num_key_heads
    return costs + LayerCosts(context_cache=2 * keys * _vector_bytes(layer))


def _vector_bytes(layer):
    """The bytes of a cached key of one head: floats, or integers and the largest of what was rounded."""
    wide = item_bytes(layer.compute_dtype)
    return int(layer.head_dim * wide if settings().cache_dtype is None else layer.head_dim + wide)


@entry(WindowAttention)
def _window_attention(layer, inputs, mask=None, return_attention_scores=False, **given):
    rows, columns = (padded_size(size, part) for size, part in zip(inputs.shape[1:3], layer.window_size, strict=True))
    places = math.prod(layer.window_size)
    count = elements(inputs.shape[:1]) * rows * columns // places
    windows = keras.KerasTensor((count, places, inputs.shape[-1]), inputs.dtype)
    return layer_costs(layer.attention, windows, return_attention_scores=return_attention_scores)


def _projections(layer, inputs, context):
    """The four projections; beside a cache, those of a context were computed before the first step."""
    cached = settings().mode == "decode" and context is not inputs
    heads = [(*inputs.shape[:-1], layer.num_heads, layer.head_dim)]
    heads += [] if cached else 2 * [(*context.shape[:-1], layer.num_key_heads, layer.head_dim)]
    outputs, width, other = heads[0], inputs.shape[-1], context.shape[-1]
    macs = 2 * elements(outputs) * width + sum(elements(shape) * other for shape in heads[1:])
    ranks = [
        getattr(part, "lora_rank", None) or 0 for part in (layer.query, layer.key, layer.value, layer.attention_output)
    ]
    if cached:
        ranks[1:3] = []
    sides = [(inputs, outputs), *((context, shape) for shape in heads[1:]), (outputs, inputs)]
    macs += sum(rank * elements(*side) for rank, side in zip(ranks, sides, strict=True))
    read = [inputs] if context is inputs else [inputs, context]
    slots = [layer.query_norm, None if cached else layer.key_norm]
    norms = [
        layer_costs(norm, keras.KerasTensor(shape, layer.compute_dtype))
        for norm, shape in zip(slots, heads[:2], strict=False)
        if norm is not None
    ]
    # What the projections read, the three that attention reads, and its outputs, which the last projection reads.
    kept = keeps(layer, *read, *heads, heads[0])
    return LayerCosts({"projections": macs}, kept=kept) + sum(norms, LayerCosts())


def _of_pairs(layer, batch, length, num_keys, causal, window, return_scores):
    """Products of queries with keys and of weights with values."""
    step = settings().mode == "decode"
    width = 2 * batch * layer.num_heads * layer.head_dim
    every = length * num_keys
    blocks = every >= LONG and not return_scores and not step
    computed = pairs_in_blocks(length, num_keys, causal, window) if blocks else every
    allowed = every if step else allowed_pairs(length, num_keys, causal, window)
    if settings().mode != "train":
        kept = 0
    elif blocks:  # what the weights are computed again from: a maximum and a sum for each query
        kept = 2 * tensor_bytes("float32", (batch, layer.num_heads, length))
    else:
        weights = (batch, layer.num_heads, length, num_keys)
        kept = keeps(layer, weights)
        if item_bytes(layer.compute_dtype) < 4:  # the softmax runs in float32
            kept += tensor_bytes("float32", weights)
        if layer.dropout:
            kept += keeps(layer, weights) + elements(weights)
    again = width * computed if blocks and settings().mode == "train" else 0  # scores alone: half of both products
    return LayerCosts({"attention": width * computed}, width * every, width * allowed, kept=kept, recomputed=again // 2)


def allowed_pairs(length, num_keys, causal, window) -> int:
    """Returns how many pairs of a query and a key a causal order and a window of that many positions allow."""
    if not causal and window is None:
        return length * num_keys
    behind = num_keys if window is None else window
    ahead = 1 if causal else behind
    place = np.arange(length)
    allowed = np.minimum(num_keys, place + ahead) - np.maximum(0, place - behind + 1)
    return int(np.maximum(allowed, 0).sum())


def pairs_in_blocks(length, num_keys, causal, window, block=BLOCK) -> int:
    """Returns how many pairs the blocks hold that attention of long sequences computes, padding of the last ones included."""
    rows, columns = min(block, length), min(block, num_keys)
    count = 0
    for first in range(0, length, rows):
        last = min(first + rows, length) - 1
        begin = 0 if window is None else max(0, first - window + 1) // columns
        far = last if causal else num_keys - 1 if window is None else last + window - 1
        count += min(far, num_keys - 1) // columns + 1 - begin
    return count * rows * columns
