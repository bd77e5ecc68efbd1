"""Scaled dot-product attention (Vaswani et al. 2017, section 3.2.1) that keeps the mask contract."""

import math

import keras
from keras import ops

from .. import sizes
from . import fused, rounded
from .attention_mask import AttentionMask
from .blocks import LOWEST
from .blockwise import blockwise_attention
from .kv_cache import fold_heads

# From so many pairs of a query and a key on, attention is computed in parts, by the backend's own operation or in blocks.
LONG = 2048 * 2048
# On a GPU the backend's own operation is used from here on: memory's bandwidth, not its size, makes writing out all pairs slow.
LONG_ON_GPU = 128 * 128


def dot_product_attention(
    query,
    key,
    value,
    mask=None,
    bias=None,
    dropout_mask=None,
    return_scores=False,
    key_heads=None,
    scale=None,
    distance_bias=None,
):
    """softmax(scale Q K^T + bias) V, with fewer key heads than query heads where the shapes say so.

    What is masked out has weight exactly zero and may hold anything, NaN included; a query with no key left gets zeros.
    The softmax runs in float32 or wider. From `LONG` pairs on, where both lengths are known and no weights are asked for, memory
    grows with T + S and not with T S: outputs then differ from those of all pairs at once by rounding, below 1e-5. On a GPU this
    is so from `LONG_ON_GPU` pairs on where `fused` supports the case.

    Args:
        query: float tensor (B, T, N, H).
        key: float tensor (B, S, M, H); M divides N, and head n reads key head n // (N / M).
        value: float tensor (B, S, M, H).
        mask: `AttentionMask`, or boolean tensor that broadcasts to (B, N, T, S), True where attending is allowed, or `None`.
        bias: float tensor that broadcasts to (B, N, T, S), added to the scaled scores, or `None`.
        dropout_mask: `random_bits.DropoutMask`, the dropout of the weights, or `None`.
        return_scores: whether to return the weights too.
        key_heads: int M if the key and value are those of a cache: (B M, S, H), perhaps `Rounded`, and isolated already.
        scale: float, or `None` for 1 / sqrt(H).
        distance_bias: `DistanceBias`, a bias that depends on the distance alone, beside `bias` or without one; or `None`. Memory
            that grows with T + S does so with it too.

    Returns:
        The context (B, T, N, H) in the value's dtype (in the query's, where the value is rounded), and the weights (B, N, T, S)
        before dropout in float32 or wider, or `None` where they were not asked for.
    """
    mask = mask if isinstance(mask, AttentionMask) else AttentionMask(pairs=_four_axes(mask))
    if not mask.allows_all and key_heads is None:
        key, value = isolate_nonfinite(key, value)
    out_dtype = query.dtype if isinstance(value, rounded.Rounded) else value.dtype
    wide = keras.backend.result_type(query.dtype, "float32")
    query = query * ops.cast(1.0 / math.sqrt(query.shape[-1]) if scale is None else scale, query.dtype)
    if keras.backend.standardize_dtype(query.dtype) == "float16":
        # A product over H of numbers that fit float16 need not fit it.
        query, key = ops.cast(query, wide), key if isinstance(key, rounded.Rounded) else ops.cast(key, wide)

    if bias is not None:
        # Finite, and well above what the mask puts in: where a bias of -inf (-1e9 in half floats) leaves a query no key,
        # it gets no NaN, and still nothing from a key that the mask forbids.
        bias = _finite(bias, wide)
    if distance_bias is not None:
        parts = {name: getattr(distance_bias, name) for name in ("values", "slopes")}
        parts = {name: part if part is None else _finite(part, wide) for name, part in parts.items()}
        distance_bias = distance_bias._replace(**parts)
    if key_heads is None and not return_scores:
        pairs = _known_pairs(query, key)
        if pairs and mask.window is not None and mask.window >= max(query.shape[1], key.shape[1]):
            mask = mask._replace(window=None, query_positions=None, key_positions=None)  # which all keys are in
        least = min(LONG, LONG_ON_GPU) if fused.on_gpu(query) else LONG
        either = distance_bias if bias is None else bias
        if pairs >= least and fused.supports(query, value, mask, either, dropout_mask):
            return fused.fused_attention(query, key, value, mask), None
        if pairs >= LONG:
            asked = {"bias": _four_axes(bias), "dropout_mask": dropout_mask, "distance_bias": distance_bias}
            return blockwise_attention(query, key, value, mask, **asked), None

    batch, length, heads, size = ops.shape(query)
    if key_heads is None:
        key_heads = key.shape[2]
        key, value = fold_heads(key), fold_heads(value)
    num_keys = rounded.length(key)
    # The query heads that share a key head stand below each other.
    folded = (batch * key_heads, heads // key_heads * length)
    query = ops.reshape(fold_heads(query), (*folded, size))
    scores = ops.reshape(rounded.scores(query, key, wide), (batch, heads, length, num_keys))
    if bias is not None:
        scores = scores + bias
    if distance_bias is not None:
        scores = scores + distance_bias.whole(length, num_keys)
    pair_mask = mask.whole(length, num_keys)
    if pair_mask is not None:
        # Finite, so that a row without keys has finite gradients; exp() of it less any real score is exactly zero.
        scores = ops.where(pair_mask, scores, ops.cast(LOWEST, wide))
    weights = _softmax(scores)

    dropped = ops.cast(weights, out_dtype)
    dropped = dropped if dropout_mask is None else dropout_mask.apply(dropped)
    dropped = ops.reshape(dropped, (*folded, num_keys))
    context = ops.reshape(rounded.mixture(dropped, value), (batch, heads, length, value.shape[-1]))
    some_key = None if pair_mask is None else mask.some_key(length, num_keys, pair_mask)
    if some_key is not None:
        context = ops.where(some_key, context, ops.zeros((), dtype=out_dtype))
        if return_scores:
            weights = ops.where(some_key, weights, ops.zeros((), dtype=wide))
    return ops.transpose(context, (0, 2, 1, 3)), weights if return_scores else None


def isolate_nonfinite(key, value):
    """Makes values finite, and the keys of those that were not NaN.

    A weight of zero times NaN is NaN, so a value that is not finite would reach every query, also those that may not
    attend to it. Its key becomes NaN instead: then exactly the queries that do attend to it get NaN, through their
    scores.
    """
    good = ops.all(ops.isfinite(value), axis=-1, keepdims=True)
    key = ops.where(good, key, ops.cast(float("nan"), key.dtype))
    value = ops.where(good, value, ops.zeros((), dtype=value.dtype))
    return key, value


def scores_spec(inputs, num_heads, num_keys, dtype):
    """Returns the symbolic scores (..., N, T, S) of attention from inputs (..., T, D)."""
    shape = (*inputs.shape[:-2], num_heads, inputs.shape[-2], num_keys)
    return keras.KerasTensor(shape, dtype=keras.backend.result_type(dtype, "float32"))


def _known_pairs(query, key):
    """How many pairs a row of the batch has; 0 where that is not known, or there is no row."""
    length, num_keys = sizes.known(query.shape[1]), sizes.known(key.shape[1])
    return 0 if None in (length, num_keys) or sizes.known(query.shape[0]) == 0 else length * num_keys


def _finite(bias, dtype):
    return ops.clip(ops.cast(bias, dtype), -1e38, 1e38)


def _four_axes(pairs):
    return None if pairs is None else ops.reshape(pairs, (*[1] * (4 - len(pairs.shape)), *ops.shape(pairs)))


def _softmax(scores):
    # Keras warns of a softmax over one entry, which is what the first token of a sequence has. NaN must stay NaN.
    num_keys = sizes.known(scores.shape[-1])
    if num_keys == 1:
        return ops.exp(scores - scores)
    if num_keys is None and keras.backend.backend() == "torch":  # Keras would warn of a sample of one entry too
        weights = ops.exp(scores - ops.max(scores, axis=-1, keepdims=True))
        return weights / ops.sum(weights, axis=-1, keepdims=True)
    return ops.softmax(scores, axis=-1)
