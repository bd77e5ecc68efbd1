"""What a bias by distance is in one block of queries and keys, and what the block's gradient is to it."""

from keras import ops

from . import distance_bias as by_distance
from .block_arrays import block_at, cut_positions

# The tensors of it that have a gradient.
DISTANCES = "distance_line", "distance_values"
_ALL = *DISTANCES, "distance_slopes"


class DistanceBlocks:
    """A `DistanceBias` beside `Blocks`.

    Where both sides count from zero, a block is made of a slice of the line of all distances, without a gather. Where positions
    are given, it is gathered; slopes need neither.
    """

    def __init__(self, blocks):
        self.blocks = blocks

    def cut(self, bias):
        """Returns the tensors by name: those of one number for a distance, and the positions in blocks."""
        blocks = self.blocks
        if bias.values is not None and bias.counts_from_zero:
            lengths = blocks.rows * blocks.row_blocks, blocks.columns * blocks.column_blocks
            return {"distance_line": by_distance.line(bias.values, *lengths)}
        queries, keys = (
            ops.convert_to_tensor(x, dtype="int32") for x in bias.positions(blocks.length, blocks.num_keys)
        )
        name, part = ("distance_values", bias.values) if bias.slopes is None else ("distance_slopes", bias.slopes)
        return {
            name: part,
            "distance_queries": cut_positions(queries, blocks.rows, blocks.row_blocks),
            "distance_keys": cut_positions(keys, blocks.columns, blocks.column_blocks),
        }

    def is_given(self, given):
        """Returns whether there is such a bias among the tensors."""
        return any(name in given for name in _ALL)

    def bias(self, given, i, j):
        """The bias of block (i, j): (B or 1, M, G, R, C)."""
        blocks = self.blocks
        if "distance_line" in given:
            part = ops.slice(given["distance_line"], *self._place(i, j))
            bias = by_distance.pairs_of_line(part, blocks.rows, blocks.columns)
        else:
            bias = by_distance.at(
                given.get("distance_values"), given.get("distance_slopes"), self._distance(given, i, j)
            )
        return ops.reshape(bias, (-1, blocks.key_heads, blocks.groups, blocks.rows, blocks.columns))

    def gradients(self, sums, given, i, j, d_scores):
        """Returns those of the sums that are of this bias, with the part of block (i, j), whose scores' is (B, M, G, R, C)."""
        blocks = self.blocks
        pairs = (blocks.heads, blocks.rows, blocks.columns)
        if "distance_line" in sums:
            line, (start, size) = sums["distance_line"], self._place(i, j)
            part = by_distance.line_of_pairs(ops.reshape(ops.sum(d_scores, axis=0), pairs))
            return {"distance_line": ops.slice_update(line, start, ops.slice(line, start, size) + part)}
        if "distance_values" not in sums:
            return {}
        values, distance = sums["distance_values"], self._distance(given, i, j)
        if distance.shape[0] == 1:
            d_scores = ops.sum(d_scores, axis=0)
        d_scores = ops.transpose(ops.reshape(d_scores, (-1, *pairs)), (0, 2, 3, 1))
        rows = ops.reshape(by_distance.places(values, distance), (-1,))
        d_scores = ops.reshape(d_scores, (-1, blocks.heads))
        return {"distance_values": values + ops.segment_sum(d_scores, rows, values.shape[0])}

    def _place(self, i, j):
        blocks = self.blocks
        first = j * blocks.columns + (blocks.row_blocks - 1 - i) * blocks.rows
        start = ops.stack([ops.zeros((), dtype="int32"), ops.cast(first, "int32")])
        return start, (blocks.heads, blocks.rows + blocks.columns - 1)

    def _distance(self, given, i, j):
        return by_distance.distances(block_at(given["distance_queries"], i), block_at(given["distance_keys"], j))
