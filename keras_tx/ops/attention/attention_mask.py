"""Which queries may attend to which keys, kept in the parts that say so until the pairs are needed."""

from typing import Any, NamedTuple

from keras import ops

from .. import masks, positions


class AttentionMask(NamedTuple):
    """A rule over pairs: written out it has T S elements, in its parts often only T + S.

    A pair may meet if its query is real, its key is real, `pairs` allows it, the query does not look ahead of itself where the
    order counts, and the two are near enough where there is a window.

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
    """

    queries: Any = None
    keys: Any = None
    pairs: Any = None
    causal: bool = False
    offset: Any = 0
    window: Any = None
    query_positions: Any = None
    key_positions: Any = None

    @property
    def allows_all(self):
        return not self.causal and self.window is None and all(part is None for part in self[:3])

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
        return masks.combine(masks.pairs(self.queries, self.keys, self.pairs), order)

    def queries_with_keys(self, num_queries, num_keys):
        """Returns the boolean (B, T) mask of the queries that may attend to some key in some head, or `None` for all.

        Axes of size 1 broadcast. Where the order counts, a real query is taken to find itself among its keys.
        """
        if self.pairs is not None:
            return masks.queries_with_keys(self.whole(num_queries, num_keys))
        some = None if self.keys is None or self.causal else ops.any(self.keys, axis=-1, keepdims=True)
        return masks.combine(self.queries, some)
