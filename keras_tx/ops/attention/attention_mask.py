"""Which queries may attend to which keys, kept in the parts that say so until the pairs are needed."""

from typing import Any, NamedTuple

from keras import ops

from .. import masks, positions, sizes


class AttentionMask(NamedTuple):
    """A rule over pairs: written out it has T S elements, in its parts often only T + S.

    A pair may meet if its query is real, its key is real, `pairs` allows it, the query does not look ahead of itself where the
    order counts, the two are near enough where there is a window, and of one segment where there are segments.

    Attributes:
        queries: boolean (B, T) or `None`, the real queries.
        keys: boolean (B, S) or `None`, the real keys.
        pairs: boolean that broadcasts to (B, N, T, S), or `None`.
        causal: bool, whether query t sees only the keys 0 .. t + offset.
        offset: how many keys precede the first query: int or int32 scalar tensor.
        window: int or `None`: a query sees keys that are less than so many positions away, and behind it where the order counts.
        query_positions: int32 (B, T) or (1, T), the positions by which the window counts, which grow along a row; `None` for
            those in the row.
        key_positions: int32 (B, S) or (1, S), the same of the keys.
        segments: integers (B, T), T = S, the segment of each query, and of the key in its place; `None` for one segment.
        holds_queries: bool, whether the keys are those of a cache, in which each real query is a real key.
    """

    queries: Any = None
    keys: Any = None
    pairs: Any = None
    causal: bool = False
    offset: Any = 0
    window: Any = None
    query_positions: Any = None
    key_positions: Any = None
    segments: Any = None
    holds_queries: bool = False

    @property
    def allows_all(self):
        parts = (*self[:3], self.window, self.segments)
        return not self.causal and all(part is None for part in parts)

    def positions(self, num_queries, num_keys):
        """Returns the positions of queries (B, T) and of keys (B, S) by which a window counts, int32; B may be 1."""
        queries, keys = self.query_positions, self.key_positions
        queries = (positions.arange(num_queries) + self.offset)[None] if queries is None else queries
        return queries, positions.arange(num_keys)[None] if keys is None else keys

    def whole(self, num_queries, num_keys):
        """Returns the mask over all pairs: boolean, broadcasts to (B, N, T, S); `None` if all may meet."""
        if self.window is not None:
            order = masks.window(*self.positions(num_queries, num_keys), self.window, self.causal)
        else:
            order = masks.causal(num_queries, num_keys, self.offset) if self.causal else None
        same = None if self.segments is None else masks.same_segment(self.segments, self.segments)
        return masks.combine(masks.pairs(self.queries, self.keys, self.pairs), order, same)

    def some_key(self, num_queries, num_keys, pairs):
        """Returns which queries may attend to some key: boolean, broadcasts to (B, N, T, 1); `None` if all may.

        It is seen from the parts alone where they allow it: of all pairs written out, `pairs` as from `whole`, XLA compiles
        three loops in each layer.
        """
        in_parts = self.pairs is None and self.window is None and self.segments is None
        finds_itself = self.keys is None or self.keys is self.queries or self.holds_queries
        if not in_parts or self.causal and not finds_itself or sizes.known(num_keys) in (None, 0):
            return ops.any(pairs, axis=-1, keepdims=True)
        some = None if self.keys is None or self.causal else ops.any(self.keys, axis=-1, keepdims=True)
        some = masks.combine(self.queries, some)
        return None if some is None else some[:, None, :, None]

    def queries_with_keys(self, num_queries, num_keys):
        """Returns the boolean (B, T) mask of the queries that may attend to some key in some head, or `None` for all.

        Axes of size 1 broadcast. Where the order or the segment counts, a real query is taken to find itself among its keys.
        """
        if self.pairs is not None:
            return masks.queries_with_keys(self.whole(num_queries, num_keys))
        finds_itself = self.causal or self.segments is not None
        some = None if self.keys is None or finds_itself else ops.any(self.keys, axis=-1, keepdims=True)
        return masks.combine(self.queries, some)
