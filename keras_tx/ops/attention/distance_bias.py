"""A bias of attention that depends on the distance of two positions alone: one number a distance, and no pairs until needed."""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from .. import positions, sizes


class DistanceBias(NamedTuple):
    """What is added to the scaled score of a query at position p and a key at position r, whose distance is d = r - p.

    bias = values[R + min(max(d, -R), R)], or with slopes bias = -slopes |d|, for each head.

    Attributes:
        values: float tensor (2R + 1, N), for the distances -R to R: those beyond have the bias of the last; or `None`.
        slopes: float tensor (N,), which gets no gradient; or `None`. One of the two is there.
        query_positions: integer tensor (T,) or (B, T); `None` for those in the row, 0 .. T - 1.
        key_positions: integer tensor (S,) or (B, S), likewise.
    """

    values: Any = None
    slopes: Any = None
    query_positions: Any = None
    key_positions: Any = None

    @property
    def counts_from_zero(self):
        """Whether queries and keys stand at 0, 1, 2 and so on."""
        return self.query_positions is None and self.key_positions is None

    def positions(self, num_queries, num_keys):
        """Returns the positions of queries (B, T) and of keys (B, S), int32; B may be 1."""
        pairs = ((self.query_positions, num_queries), (self.key_positions, num_keys))
        found = (positions.arange(count) if given is None else given for given, count in pairs)
        return tuple(each if len(each.shape) == 2 else each[None] for each in found)

    def whole(self, num_queries, num_keys):
        """Returns the bias of all pairs, (B, N, T, S); B is 1 where all rows have the same positions."""
        known = sizes.known(num_queries), sizes.known(num_keys)
        if self.values is not None and self.counts_from_zero and None not in known and 0 not in known:
            return pairs_of_line(line(self.values, *known), *known)[None]
        queries, keys = self.positions(num_queries, num_keys)
        return at(self.values, self.slopes, distances(queries, keys))


def distances(queries, keys):
    """(B, T) and (B, S) -> (B, T, S), int32."""
    queries, keys = (ops.convert_to_tensor(each, dtype="int32") for each in (queries, keys))
    return keys[:, None, :] - queries[:, :, None]


def at(values, slopes, distance):
    """(B, T, S) -> the bias (B, N, T, S) of pairs at these distances."""
    if slopes is not None:
        return -ops.cast(ops.abs(distance), slopes.dtype)[:, None] * slopes[:, None, None]
    return ops.transpose(ops.take(values, places(values, distance), axis=0), (0, 3, 1, 2))


def places(values, distance):
    """Which row of the values is for a distance."""
    radius = _radius(values)
    return ops.clip(distance, -radius, radius) + radius


def _radius(values):
    return int(values.shape[0]) // 2  # which is known always, though torch's tracer wraps it in a tensor


def line(values, num_queries, num_keys):
    """(2R + 1, N) -> (N, T + S - 1): the bias at each distance, from that of the last query and the first key on."""
    there, radius = np.arange(1 - num_queries, num_keys), _radius(values)
    return ops.transpose(ops.take(values, np.clip(there, -radius, radius) + radius, axis=0))


def pairs_of_line(x, rows, columns):
    """(N, R + C - 1) -> (N, R, C): entry (r, c) is that at R - 1 - r + c. No gather, whose gradient would be a scatter.

    Copies of the line one behind the other, read in rows that are shorter by one, are the line moved by one more in each row.
    """
    heads, length = x.shape[0], rows + columns
    x = ops.broadcast_to(ops.pad(x, [(0, 0), (0, 1)])[:, None], (heads, rows, length))
    x = ops.reshape(x, (heads, rows * length))[:, rows - 1 : rows * length - 1]
    return ops.reshape(x, (heads, rows, length - 1))[:, :, :columns]


def line_of_pairs(x):
    """(N, R, C) -> (N, R + C - 1): the sums over the diagonals, which `pairs_of_line` copies along."""
    heads, rows, columns = x.shape
    length = rows + columns
    x = ops.pad(x, [(0, 0), (0, 0), (0, rows - 1)])
    x = ops.pad(ops.reshape(x, (heads, rows * (length - 1))), [(0, 0), (rows - 1, 1)])
    return ops.sum(ops.reshape(x, (heads, rows, length)), axis=1)[:, :-1]
