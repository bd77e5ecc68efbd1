"""Exact attention in blocks of queries and keys, whose memory grows with T and not with T S.

The weights of one block at a time are held: the softmax runs along with its maximum and its sum (Rabe and Staats 2021,
"Self-attention Does Not Need O(n^2) Memory"), and the backward pass computes each block's weights again from both (Dao et al.
2022, "FlashAttention", algorithms 1 and 4). Not from the logarithm of the sum: beside a large maximum, such as that of a bias of
-1e9, it would be rounded away.
"""

from keras import ops

from .. import sizes
from ..custom_gradient import custom_gradient
from .attention_mask import AttentionMask
from .block_arrays import block_at, set_block, transpose
from .blocks import LOWEST, Blocks
from .distance_blocks import DISTANCES

BLOCK = 512


def block_size(mask):
    """How many queries meet how many keys at a time: fewer where a short window would leave most of a block unseen."""
    return BLOCK if mask.window is None or mask.window > BLOCK else BLOCK // 2


def blockwise_attention(query, key, value, mask=None, bias=None, dropout_mask=None, block=None, distance_bias=None):
    """softmax(Q K^T + bias) V.

    Blocks in which no query may see a key are skipped where the order counts (a causal mask) and where there is a window.

    Args:
        query: float tensor (B, T, N, H), scaled. T must be known.
        key: float tensor (B, S, M, H), S known; M divides N, and head n reads key head n // (N / M).
        value: float tensor (B, S, M, C), finite where `mask` is given.
        mask: `AttentionMask`, or `None`.
        bias: float tensor that broadcasts to (B, N, T, S), finite, or `None`.
        dropout_mask: `random_bits.DropoutMask`, the dropout of the weights, or `None`. It drops the very elements that it drops
            from the weights as a whole.
        block: int, how many queries meet how many keys at a time; `None` for `block_size(mask)`.
        distance_bias: `DistanceBias` of finite numbers, of which the part for a block is made as it is needed, or `None`.

    Returns:
        The context (B, T, N, C) in the value's dtype, zeros for a query without keys.
    """
    mask = mask or AttentionMask()
    blocks = Blocks(query, key, value, mask, dropout_mask, block or block_size(mask))
    tensors = blocks.cut(query, key, value, mask, bias, dropout_mask, distance_bias)
    names = list(tensors)

    def forward(*tensors):
        return _forward(blocks, dict(zip(names, tensors, strict=True)))

    def backward(residuals, upstream):
        *tensors, outputs, row_max, row_sum = residuals
        given = dict(zip(names, tensors, strict=True))
        gradients = _backward(blocks, given, outputs, row_max, row_sum, upstream[0])
        return [ops.cast(gradients[name], given[name].dtype) if name in gradients else None for name in names]

    context, found = custom_gradient(forward, backward)(*tensors.values())
    context = blocks.merge(context)
    if mask.allows_all:
        return context
    return ops.where(blocks.merge(found), context, ops.zeros((), dtype=context.dtype))


def _forward(blocks, given):
    """Returns (context, whether a query has keys) by blocks, and what the backward pass needs."""
    wide, shape = blocks.wide, blocks.folded
    lowest = ops.cast(LOWEST, wide)

    def row(i, outputs, row_max, row_sum):
        query = block_at(given["query"], i)

        def column(j, total, top, mass):
            scores = blocks.scores(given, i, j, query, block_at(given["key"], j))
            new_max = ops.maximum(top, ops.max(scores, axis=-1, keepdims=True))
            weights, kept = ops.exp(scores - new_max), ops.exp(top - new_max)
            mass = mass * kept + ops.sum(weights, axis=-1, keepdims=True)
            weights = blocks.drop(ops.cast(weights, blocks.out_dtype), given, i, j)
            return j + 1, total * kept + blocks.product(weights, block_at(given["value"], j)), new_max, mass

        first, limit = blocks.columns_seen(given, i)
        start = (
            first,
            ops.zeros((*shape, blocks.value_size), dtype=wide),
            ops.zeros((*shape, 1), dtype=wide) + lowest,
            ops.zeros((*shape, 1), dtype=wide),
        )
        _, total, top, mass = ops.while_loop(lambda j, *_: j < limit, column, start)
        outputs = set_block(outputs, i, ops.cast(total / mass, blocks.out_dtype))
        return i + 1, outputs, set_block(row_max, i, top), set_block(row_sum, i, mass)

    start = (
        ops.zeros((), dtype="int32"),
        ops.zeros((blocks.row_blocks, *shape, blocks.value_size), dtype=blocks.out_dtype),
        ops.zeros((blocks.row_blocks, *shape, 1), dtype=wide),
        ops.zeros((blocks.row_blocks, *shape, 1), dtype=wide),
    )
    _, outputs, row_max, row_sum = ops.while_loop(lambda i, *_: i < blocks.row_blocks, row, start)
    # The lowest number marks a query without keys, which gets no gradient from above.
    return (outputs, ops.not_equal(row_max, lowest)), (*given.values(), outputs, row_max, row_sum)


def _backward(blocks, given, outputs, row_max, row_sum, upstream):
    """Returns the gradients by name: dV = P^T dO, dS = P o (dO V^T - rows of dO o O), dQ = dS K, dK = dS^T Q."""
    wide = blocks.wide
    delta = ops.sum(ops.cast(outputs, wide) * ops.cast(upstream, wide), axis=-1, keepdims=True)
    upstream = ops.cast(upstream, blocks.out_dtype)
    names = [name for name in ("query", "key", "value", "bias", *DISTANCES) if name in given]

    def row(i, *sums):
        query, d_output, top, mass, shared = (
            block_at(x, i) for x in (given["query"], upstream, row_max, row_sum, delta)
        )

        def column(j, into_query, *sums):
            sums = dict(zip(names[1:], sums, strict=True))
            key, value = block_at(given["key"], j), block_at(given["value"], j)
            weights = ops.exp(blocks.scores(given, i, j, query, key) - top) / mass
            dropped = blocks.drop(ops.cast(weights, blocks.out_dtype), given, i, j)
            sums["value"] = _add_block(sums["value"], j, blocks.product(transpose(dropped), d_output))
            d_scores = blocks.drop(blocks.product(d_output, transpose(value)), given, i, j)
            d_scores = weights * (d_scores - shared)
            if "bias" in sums:
                start, size = blocks.place(given["bias"], i, j)
                old = ops.slice(sums["bias"], start, size)
                sums["bias"] = ops.slice_update(sums["bias"], start, old + _sum_like(blocks.unfold(d_scores), old))
            sums |= blocks.distances.gradients(sums, given, i, j, blocks.unfold(d_scores))
            d_scores = ops.cast(d_scores, query.dtype)
            sums["key"] = _add_block(sums["key"], j, blocks.product(transpose(d_scores), query))
            return (j + 1, into_query + blocks.product(d_scores, key), *sums.values())

        first, limit = blocks.columns_seen(given, i)
        start = (first, ops.zeros(ops.shape(query), dtype=wide), *sums[1:])
        _, into_query, *rest = ops.while_loop(lambda j, *_: j < limit, column, start)
        return (i + 1, set_block(sums[0], i, into_query), *rest)

    start = [ops.zeros(ops.shape(given[name]), dtype=wide) for name in names]
    _, *sums = ops.while_loop(lambda i, *_: i < blocks.row_blocks, row, (ops.zeros((), dtype="int32"), *start))
    return dict(zip(names, sums, strict=True))


def _add_block(x, i, block):
    return set_block(x, i, block_at(x, i) + block)


def _sum_like(x, other):
    """Sums x over the axes on which `other` has size 1."""
    pairs = zip(x.shape, other.shape, strict=True)
    axes = tuple(axis for axis, pair in enumerate(pairs) if sizes.known(pair[1]) == 1 != sizes.known(pair[0]))
    return ops.sum(x, axis=axes, keepdims=True) if axes else x
