"""How queries and keys are cut into blocks, and what is computed of one block of pairs."""

import keras
from keras import ops

from .. import masks, sizes
from ..random_bits import DropoutMask
from .block_arrays import block_at, cut_positions, pad, transpose
from .distance_blocks import DistanceBlocks

LOWEST = -3.4028234e38


class Blocks:
    """How queries (R at a time) and keys (C at a time) are cut. The G query heads of a key head stand below each other."""

    def __init__(self, query, key, value, mask, dropout_mask, block):
        self.batch = ops.shape(query)[0]
        _, self.length, self.heads, self.size = query.shape
        _, self.num_keys, self.key_heads, self.value_size = value.shape
        self.groups = self.heads // self.key_heads
        self.rows, self.columns = min(block, self.length), min(block, self.num_keys)
        self.row_blocks, self.column_blocks = -(-self.length // self.rows), -(-self.num_keys // self.columns)
        self.wide = keras.backend.result_type(query.dtype, "float32")
        self.out_dtype = value.dtype
        self.causal, self.window, self.rate = (
            mask.causal,
            mask.window,
            None if dropout_mask is None else dropout_mask.rate,
        )
        self.folded = (self.batch, self.key_heads, self.groups * self.rows)
        self.distances = DistanceBlocks(self)

    def cut(self, query, key, value, mask, bias=None, dropout_mask=None, distance_bias=None):
        """Returns the tensors that are there, by name, in blocks."""
        keys = mask.keys
        if keys is None and self.num_keys % self.columns:
            keys = ops.ones((self.batch, self.num_keys), dtype="bool")
        x = pad(query, 1, self.rows * self.row_blocks)
        x = ops.reshape(x, (self.batch, self.row_blocks, self.rows, self.key_heads, self.groups, self.size))
        x = ops.transpose(x, (1, 0, 3, 4, 2, 5))
        tensors = {
            "query": ops.reshape(x, (self.row_blocks, *self.folded, self.size)),
            "key": self._cut_keys(key),
            "value": self._cut_keys(value),
            "keys": None
            if keys is None
            else ops.expand_dims(pad(keys, 1, self.columns * self.column_blocks), (1, 2, 3)),
            "pairs": None if mask.pairs is None else self._pad_pairs(mask.pairs),
            "bias": None if bias is None else self._pad_pairs(ops.cast(bias, self.wide)),
            "offset": ops.convert_to_tensor(mask.offset, dtype="int32")
            if mask.causal and mask.window is None
            else None,
            "seed": None if dropout_mask is None else dropout_mask.seed,
        }
        if mask.window is not None or mask.segments is not None:
            tensors |= self._cut_near(mask)
        if distance_bias is not None:
            tensors |= self.distances.cut(distance_bias)
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}

    def _cut_keys(self, x):
        """(B, S, M, C) -> (blocks, B, M, columns, C)."""
        x = pad(x, 1, self.columns * self.column_blocks)
        x = ops.reshape(x, (self.batch, self.column_blocks, self.columns, self.key_heads, x.shape[-1]))
        return ops.transpose(x, (1, 0, 3, 2, 4))

    def _pad_pairs(self, x):
        """(b, n, t, s) -> (b, M or 1, G or 1, t, s), with T and S filled up; sizes of 1 stay."""
        b, n, t, s = ops.shape(x)
        heads = (self.key_heads, self.groups) if sizes.known(x.shape[1]) != 1 else (1, 1)
        x = ops.reshape(x, (b, *heads, t, s))
        x = x if sizes.known(x.shape[3]) == 1 else pad(x, 3, self.rows * self.row_blocks)
        return x if sizes.known(x.shape[4]) == 1 else pad(x, 4, self.columns * self.column_blocks)

    def _cut_near(self, mask):
        """The positions by which the window counts and the segments, each (blocks, B or 1, rows or columns), and which blocks of
        keys each block of queries needs: (row blocks, 2), the first and the one after the last in which a real query may see a
        real key. Outside of them lie the blocks of other windows and of other segments.
        """
        found, needed = {}, []
        if mask.window is not None:
            numbers = mask.positions(self.length, self.num_keys)
            first_query, last_query, first_key, last_key = self._cut_numbers("positions", numbers, mask, found)
            ahead = 0 if self.causal else self.window - 1
            needed += [last_key > first_query - self.window, first_key <= last_query + ahead]
        if mask.segments is not None:
            numbers = (mask.segments, mask.segments)
            first_query, last_query, first_key, last_key = self._cut_numbers("segments", numbers, mask, found)
            needed += [last_key >= first_query, first_key <= last_query]
        needed = ops.any(masks.combine(*needed), axis=-1)  # (row blocks, column blocks), of any row of the batch
        order = ops.arange(self.column_blocks, dtype="int32")
        first = ops.min(ops.where(needed, order, self.column_blocks - 1), axis=-1)
        end = ops.max(ops.where(needed, order + 1, 0), axis=-1)
        return {**found, "bounds": ops.stack([first, ops.maximum(end, first + 1)], axis=-1)}

    def _cut_numbers(self, name, numbers, mask, found):
        """Puts the numbers of queries and of keys into `found`, in blocks.

        Returns the least and the most of the real ones in each block of queries (row blocks, 1, B or 1), and the same in each
        block of keys (1, column blocks, B or 1).
        """
        far, bounds = 2**30, []
        for place, positions, real, size, count in zip(
            (f"query_{name}", f"key_{name}"),
            numbers,
            (mask.queries, mask.keys),
            (self.rows, self.columns),
            (self.row_blocks, self.column_blocks),
            strict=True,
        ):
            positions = ops.convert_to_tensor(positions, dtype="int32")
            real = ops.ones((1, positions.shape[1]), dtype="bool") if real is None else real
            positions, real = (cut_positions(x, size, count) for x in (positions, real))
            found[place] = positions
            least, most = ops.where(real, positions, far), ops.where(real, positions, -far)
            bounds.append((ops.min(least, axis=-1), ops.max(most, axis=-1)))  # (blocks, B or 1)
        (first_query, last_query), (first_key, last_key) = bounds
        return first_query[:, None], last_query[:, None], first_key[None], last_key[None]

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
        scores = ops.cast(ops.matmul(query, transpose(key)), self.wide)
        has_distances = self.distances.is_given(given)
        if not has_distances and not {"bias", "pairs", "keys", "offset", "bounds"} & set(given):
            return scores
        scores = self.unfold(scores)
        if has_distances:
            scores = scores + self.distances.bias(given, i, j)
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
        if "query_positions" in given:
            near = block_at(given["query_positions"], i), block_at(given["key_positions"], j)
            allowed.append(masks.window(*near, self.window, self.causal)[:, None])
        if "query_segments" in given:
            segments = block_at(given["query_segments"], i), block_at(given["key_segments"], j)
            allowed.append(masks.same_segment(*segments)[:, None])
        for each in allowed:
            scores = ops.where(each, scores, ops.cast(LOWEST, self.wide))
        return self.fold(scores)

    def columns_seen(self, given, i):
        """The first block of keys that some query of block i may see, and the one after the last: int32 scalars."""
        first, limit = ops.zeros((), dtype="int32"), ops.convert_to_tensor(self.column_blocks, dtype="int32")
        if "bounds" in given:
            first, limit = ops.unstack(block_at(given["bounds"], i))
        if "offset" in given:
            last = (i + 1) * self.rows + given["offset"]
            limit = ops.minimum(limit, (last + self.columns - 1) // self.columns)
        return first, ops.maximum(limit, first + 1)

    def drop(self, weights, given, i, j):
        """Dropout of block (i, j), each element as the whole (B, N, T, S) is dropped from."""
        if self.rate is None:
            return weights
        row = ops.arange(self.rows, dtype="int32") + i * self.rows
        head = ops.reshape(ops.arange(self.heads, dtype="int32"), (self.key_heads, self.groups, 1))
        batch = ops.arange(self.batch, dtype="int32")[:, None, None, None]
        rows = ops.reshape((batch * self.heads + head) * self.length + row, self.folded)
        columns = ops.arange(self.columns, dtype="int32") + j * self.columns
        return DropoutMask(self.rate, given["seed"]).apply(weights, rows, columns, self.num_keys)

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
