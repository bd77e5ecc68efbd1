"""Exact attention in blocks of queries and keys, whose memory grows with T and not with T S.

The weights of one block at a time are held: the softmax runs along with its maximum and its sum (Rabe and Staats 2021,
"Self-attention Does Not Need O(n^2) Memory"), and the backward pass computes each block's weights again from both (Dao et al.
2022, "FlashAttention", algorithms 1 and 4). Not from the logarithm of the sum: beside a large maximum, such as that of a bias of
-1e9, it would be rounded away.
"""

import keras
from keras import ops

from . import sizes
from .custom_gradient import custom_gradient
from .pair_mask import PairMask
from .random_bits import Draw

BLOCK = 512
LOWEST = -3.4028234e38


def blockwise_attention(query, key, value, mask=None, bias=None, draw=None, block=BLOCK):
    """softmax(Q K^T + bias) V.

    Blocks in which no query may see a key are skipped where the order counts (a causal mask).

    Args:
        query: float tensor (B, T, N, H), scaled. T must be known.
        key: float tensor (B, S, M, H), S known; M divides N, and head n reads key head n // (N / M).
        value: float tensor (B, S, M, C), finite where `mask` is given.
        mask: `PairMask`, or `None`.
        bias: float tensor that broadcasts to (B, N, T, S), finite, or `None`.
        draw: `random_bits.Draw`, the dropout of the weights, or `None`. It drops the very elements that it drops from the
            weights as a whole.
        block: int, how many queries meet how many keys at a time.

    Returns:
        The context (B, T, N, C) in the value's dtype, zeros for a query without keys.
    """
    mask = mask or PairMask()
    blocks = _Blocks(query, key, value, mask, draw, block)
    tensors = blocks.cut(query, key, value, mask, bias, draw)
    names = list(tensors)

    def forward(*tensors):
        return _forward(blocks, dict(zip(names, tensors, strict=True)))

    def backward(residuals, upstream):
        *tensors, outputs, tops, masses = residuals
        given = dict(zip(names, tensors, strict=True))
        gradients = _backward(blocks, given, outputs, tops, masses, upstream[0])
        return [ops.cast(gradients[name], given[name].dtype) if name in gradients else None for name in names]

    context, found = custom_gradient(forward, backward)(*tensors.values())
    context = blocks.merge(context)
    if mask.allows_all:
        return context
    return ops.where(blocks.merge(found), context, ops.zeros((), dtype=context.dtype))


class _Blocks:
    """How queries (R at a time) and keys (C at a time) are cut. The G query heads of a key head stand below each other."""

    def __init__(self, query, key, value, mask, draw, block):
        self.batch = ops.shape(query)[0]
        _, self.length, self.heads, self.size = query.shape
        _, self.num_keys, self.key_heads, self.value_size = value.shape
        self.groups = self.heads // self.key_heads
        self.rows, self.columns = min(block, self.length), min(block, self.num_keys)
        self.row_blocks, self.column_blocks = -(-self.length // self.rows), -(-self.num_keys // self.columns)
        self.wide = keras.backend.result_type(query.dtype, "float32")
        self.out_dtype = value.dtype
        self.causal, self.rate = mask.causal, None if draw is None else draw.rate
        self.folded = (self.batch, self.key_heads, self.groups * self.rows)

    def cut(self, query, key, value, mask, bias, draw):
        """Returns the tensors that are there, by name, in blocks."""
        keys = mask.keys
        if keys is None and self.num_keys % self.columns:
            keys = ops.ones((self.batch, self.num_keys), dtype="bool")
        x = _pad(query, 1, self.rows * self.row_blocks)
        x = ops.reshape(x, (self.batch, self.row_blocks, self.rows, self.key_heads, self.groups, self.size))
        x = ops.transpose(x, (1, 0, 3, 4, 2, 5))
        tensors = {
            "query": ops.reshape(x, (self.row_blocks, *self.folded, self.size)),
            "key": self._cut_keys(key),
            "value": self._cut_keys(value),
            "keys": None
            if keys is None
            else ops.expand_dims(_pad(keys, 1, self.columns * self.column_blocks), (1, 2, 3)),
            "pairs": None if mask.pairs is None else self._pad_pairs(mask.pairs),
            "bias": None if bias is None else self._pad_pairs(ops.cast(bias, self.wide)),
            "offset": ops.convert_to_tensor(mask.offset, dtype="int32") if mask.causal else None,
            "seed": None if draw is None else draw.seed,
        }
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}

    def _cut_keys(self, x):
        """(B, S, M, C) -> (blocks, B, M, columns, C)."""
        x = _pad(x, 1, self.columns * self.column_blocks)
        x = ops.reshape(x, (self.batch, self.column_blocks, self.columns, self.key_heads, x.shape[-1]))
        return ops.transpose(x, (1, 0, 3, 2, 4))

    def _pad_pairs(self, x):
        """(b, n, t, s) -> (b, M or 1, G or 1, t, s), with T and S filled up; sizes of 1 stay."""
        b, n, t, s = ops.shape(x)
        heads = (self.key_heads, self.groups) if sizes.known(x.shape[1]) != 1 else (1, 1)
        x = ops.reshape(x, (b, *heads, t, s))
        x = x if sizes.known(x.shape[3]) == 1 else _pad(x, 3, self.rows * self.row_blocks)
        return x if sizes.known(x.shape[4]) == 1 else _pad(x, 4, self.columns * self.column_blocks)

    def place(self, pairs, i, j):
        """Where block (i, j) lies in pairs (b, m, g, t, s): the start and the size on each axis."""
        zero = ops.zeros((), dtype="int32")
        start, size = [zero, zero, zero], list(ops.shape(pairs)[:3])
        for axis, step, number in ((3, self.rows, i), (4, self.columns, j)):
            one = sizes.known(pairs.shape[axis]) == 1
            start.append(zero if one else number * step)
            size.append(1 if one else step)
        return ops.stack(start), size

    def scores(self, given, i, j, query, key):
        """Q K^T + bias of block (i, j), (B, M, G R, C), the lowest number for pairs that may not meet."""
        scores = ops.cast(ops.matmul(query, _turn(key)), self.wide)
        if not {"bias", "pairs", "keys", "offset"} & set(given):
            return scores
        scores = self.unfold(scores)
        if "bias" in given:
            scores = scores + ops.slice(given["bias"], *self.place(given["bias"], i, j))
        allowed = []
        if "pairs" in given:
            allowed.append(ops.slice(given["pairs"], *self.place(given["pairs"], i, j)))
        if "keys" in given:
            allowed.append(ops.slice(given["keys"], *self.place(given["keys"], i, j)))
        if "offset" in given:
            seen = i * self.rows + ops.arange(self.rows, dtype="int32") + given["offset"]
            allowed.append(j * self.columns + ops.arange(self.columns, dtype="int32")[None] <= seen[:, None])
        for each in allowed:
            scores = ops.where(each, scores, ops.cast(LOWEST, self.wide))
        return self.fold(scores)

    def columns_seen(self, given, i):
        """How many blocks of keys some query of block i may see."""
        if "offset" not in given:
            return ops.convert_to_tensor(self.column_blocks, dtype="int32")
        last = (i + 1) * self.rows + given["offset"]
        return ops.clip((last + self.columns - 1) // self.columns, 1, self.column_blocks)

    def drop(self, weights, given, i, j):
        """Dropout of block (i, j), each element as the whole (B, N, T, S) is dropped from."""
        if self.rate is None:
            return weights
        row = ops.arange(self.rows, dtype="int32") + i * self.rows
        head = ops.reshape(ops.arange(self.heads, dtype="int32"), (self.key_heads, self.groups, 1))
        batch = ops.arange(self.batch, dtype="int32")[:, None, None, None]
        rows = ops.reshape((batch * self.heads + head) * self.length + row, self.folded)
        columns = ops.arange(self.columns, dtype="int32") + j * self.columns
        return Draw(self.rate, given["seed"]).apply(weights, rows, columns, self.num_keys)

    def unfold(self, x):
        return ops.reshape(x, (self.batch, self.key_heads, self.groups, self.rows, x.shape[-1]))

    def fold(self, x):
        return ops.reshape(x, (*self.folded, x.shape[-1]))

    def product(self, x, y):
        if keras.backend.standardize_dtype(x.dtype) == "float16":
            # A sum over a block of weights that are not normalised yet may pass the largest float16.
            x, y = ops.cast(x, self.wide), ops.cast(y, self.wide)
        return ops.cast(ops.matmul(x, y), self.wide)

    def merge(self, x):
        """(blocks, B, M, G R, C) -> (B, T, N, C)."""
        x = ops.reshape(x, (self.row_blocks, self.batch, self.heads, self.rows, x.shape[-1]))
        x = ops.transpose(x, (1, 0, 3, 2, 4))
        return ops.reshape(x, (self.batch, self.row_blocks * self.rows, self.heads, x.shape[-1]))[:, : self.length]


def _forward(blocks, given):
    """Returns (context, whether a query has keys) by blocks, and what the backward pass needs."""
    wide, shape = blocks.wide, blocks.folded
    lowest = ops.cast(LOWEST, wide)

    def row(i, outputs, tops, masses):
        query = _at(given["query"], i)

        def column(j, total, top, mass):
            scores = blocks.scores(given, i, j, query, _at(given["key"], j))
            higher = ops.maximum(top, ops.max(scores, axis=-1, keepdims=True))
            weights, kept = ops.exp(scores - higher), ops.exp(top - higher)
            mass = mass * kept + ops.sum(weights, axis=-1, keepdims=True)
            weights = blocks.drop(ops.cast(weights, blocks.out_dtype), given, i, j)
            return j + 1, total * kept + blocks.product(weights, _at(given["value"], j)), higher, mass

        limit = blocks.columns_seen(given, i)
        start = (
            ops.zeros((), dtype="int32"),
            ops.zeros((*shape, blocks.value_size), dtype=wide),
            ops.zeros((*shape, 1), dtype=wide) + lowest,
            ops.zeros((*shape, 1), dtype=wide),
        )
        _, total, top, mass = ops.while_loop(lambda j, *_: j < limit, column, start)
        outputs = _put(outputs, i, ops.cast(total / mass, blocks.out_dtype))
        return i + 1, outputs, _put(tops, i, top), _put(masses, i, mass)

    start = (
        ops.zeros((), dtype="int32"),
        ops.zeros((blocks.row_blocks, *shape, blocks.value_size), dtype=blocks.out_dtype),
        ops.zeros((blocks.row_blocks, *shape, 1), dtype=wide),
        ops.zeros((blocks.row_blocks, *shape, 1), dtype=wide),
    )
    _, outputs, tops, masses = ops.while_loop(lambda i, *_: i < blocks.row_blocks, row, start)
    # The lowest number marks a query without keys, which gets no gradient from above.
    return (outputs, ops.not_equal(tops, lowest)), (*given.values(), outputs, tops, masses)


def _backward(blocks, given, outputs, tops, masses, upstream):
    """Returns the gradients by name: dV = P^T dO, dS = P o (dO V^T - rows of dO o O), dQ = dS K, dK = dS^T Q."""
    wide = blocks.wide
    common = ops.sum(ops.cast(outputs, wide) * ops.cast(upstream, wide), axis=-1, keepdims=True)
    upstream = ops.cast(upstream, blocks.out_dtype)
    names = [name for name in ("query", "key", "value", "bias") if name in given]

    def row(i, *sums):
        query, down, top, mass, shared = (_at(x, i) for x in (given["query"], upstream, tops, masses, common))

        def column(j, into_query, *sums):
            sums = dict(zip(names[1:], sums, strict=True))
            key, value = _at(given["key"], j), _at(given["value"], j)
            weights = ops.exp(blocks.scores(given, i, j, query, key) - top) / mass
            dropped = blocks.drop(ops.cast(weights, blocks.out_dtype), given, i, j)
            sums["value"] = _add(sums["value"], j, blocks.product(_turn(dropped), down))
            slopes = blocks.drop(blocks.product(down, _turn(value)), given, i, j)
            slopes = weights * (slopes - shared)
            if "bias" in sums:
                start, size = blocks.place(given["bias"], i, j)
                old = ops.slice(sums["bias"], start, size)
                sums["bias"] = ops.slice_update(sums["bias"], start, old + _sum_like(blocks.unfold(slopes), old))
            slopes = ops.cast(slopes, query.dtype)
            sums["key"] = _add(sums["key"], j, blocks.product(_turn(slopes), query))
            return (j + 1, into_query + blocks.product(slopes, key), *sums.values())

        limit = blocks.columns_seen(given, i)
        start = (ops.zeros((), dtype="int32"), ops.zeros(ops.shape(query), dtype=wide), *sums[1:])
        _, into_query, *rest = ops.while_loop(lambda j, *_: j < limit, column, start)
        return (i + 1, _put(sums[0], i, into_query), *rest)

    start = [ops.zeros(ops.shape(given[name]), dtype=wide) for name in names]
    _, *sums = ops.while_loop(lambda i, *_: i < blocks.row_blocks, row, (ops.zeros((), dtype="int32"), *start))
    return dict(zip(names, sums, strict=True))


def _pad(x, axis, size):
    """Fills an axis up with zeros."""
    missing = size - x.shape[axis]
    return ops.pad(x, [(0, missing if each == axis else 0) for each in range(len(x.shape))]) if missing else x


def _turn(x):
    return ops.swapaxes(x, -1, -2)


def _start(x, i):
    zero = ops.zeros((), dtype="int32")
    return ops.stack([ops.cast(i, "int32"), *([zero] * (len(x.shape) - 1))])


def _at(x, i):
    """x[i]."""
    return ops.slice(x, _start(x, i), (1, *ops.shape(x)[1:]))[0]


def _put(x, i, block):
    return ops.slice_update(x, _start(x, i), block[None])


def _add(x, i, block):
    return _put(x, i, _at(x, i) + block)


def _sum_like(x, other):
    """Sums x over the axes on which `other` has size 1."""
    pairs = zip(x.shape, other.shape, strict=True)
    axes = tuple(axis for axis, pair in enumerate(pairs) if sizes.known(pair[1]) == 1 != sizes.known(pair[0]))
    return ops.sum(x, axis=axes, keepdims=True) if axes else x
