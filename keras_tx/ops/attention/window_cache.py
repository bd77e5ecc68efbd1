"""The keys and values of the last tokens of each row, for a window: a ring of slots."""

from typing import Any, NamedTuple

from keras import ops

from .. import positions as positions_ops
from .. import sizes
from ..concrete import concrete
from . import rounded
from .kv_cache import Extended, check_room, fold_heads, for_heads, refuse_overflow


class WindowCache(NamedTuple):
    """The last W real tokens of each row, which are all that a window of W needs: slot r modulo W holds the r-th real one.

    Where fewer tokens may come than the window is wide, there are as many slots as tokens.

    Padding takes no slot, so a row's tokens lie where they would lie without it, and however much padding comes between them.

    Attributes:
        keys: float tensor (B M, W, H), as in `KVCache`, or `Rounded`.
        values: float tensor (B M, W, H), or `Rounded`.
        num_tokens: int32 tensor (B,), how many real tokens each row has had.
        length: int32 scalar tensor, how many tokens have come, padding included.
        limit: int32 scalar tensor, how many may come.
    """

    keys: Any
    values: Any
    num_tokens: Any
    length: Any
    limit: Any

    @property
    def batch_size(self):
        """B, int or `None`."""
        return self.num_tokens.shape[0]

    @classmethod
    def empty(cls, batch_size, max_length, num_heads, key_dim, dtype, window, cache_dtype=None):
        """Returns a cache for `max_length` tokens, of which it will hold the last `window` real ones of each row; `Rounded` as
        that of `KVCache.empty`.
        """
        slots = window if sizes.known(max_length) is None else min(window, max_length)
        shape = (batch_size * num_heads, slots, key_dim)
        return cls(
            keys=rounded.zeros(shape, dtype, cache_dtype),
            values=rounded.zeros(shape, dtype, cache_dtype),
            num_tokens=ops.zeros((batch_size,), dtype="int32"),
            length=ops.zeros((), dtype="int32"),
            limit=ops.convert_to_tensor(max_length, dtype="int32"),
        )

    def fits(self, window):
        """Says whether the slots are at least as many as a window needs, as far as that is known."""
        limit, slots = concrete(self.limit), sizes.known(self.keys.shape[1])
        return limit is None or slots is None or slots >= min(window, int(limit))

    def num_keys(self, added):
        """Returns how many keys T more tokens see, int or `None`: those held before, and themselves; one takes a slot first."""
        return None if sizes.known(added) is None else self.keys.shape[1] + (added if added > 1 else 0)

    def extend(self, keys, values, mask=None):
        """Takes up T more tokens, as `KVCache.extend` does; the keys that they see are as many as `num_keys` says."""
        mask = ops.ones(ops.shape(keys)[:2], dtype="bool") if mask is None else mask
        added, used, limit = sizes.known(keys.shape[1]), concrete(self.length), concrete(self.limit)
        if None not in (added, used, limit):
            check_room(added, int(used), int(limit))
        start = ops.convert_to_tensor(self.length, dtype="int32")
        if None in (added, used, limit):
            start, values, mask = refuse_overflow(start, values, mask, ops.convert_to_tensor(self.limit, dtype="int32"))
        folded = [rounded.as_held(fold_heads(x), self.keys) for x in (keys, values)]
        total = positions_ops.next_position(self.num_tokens, None, mask)
        held, new_held = self._held(self.num_tokens), self._held(total)  # (B, W)
        counts = ops.cumsum(ops.cast(mask, "int32"), axis=-1)  # (B, T)
        if added == 1:
            written = self._write_one(folded, mask, keys.shape[2])
        else:
            # The new token that goes into a slot: as many come before it as have had fewer real ones.
            wanted = ops.expand_dims(new_held - self.num_tokens[:, None] + 1, -1)
            source = ops.sum(ops.cast(counts[:, None, :] < wanted, "int32"), axis=-1)
            source = for_heads(source, keys.shape[2])  # (B M, W)
            fresh = ops.expand_dims(for_heads(new_held >= self.num_tokens[:, None], keys.shape[2]), -1)

            def write(old, x):
                return ops.where(fresh, positions_ops.gather(x, source), old)

            written = [rounded.each(write, *pair) for pair in zip(self[:2], folded, strict=True)]
        new = WindowCache(*written, total, start + ops.cast(ops.shape(keys)[1], "int32"), self.limit)
        if added == 1:
            return Extended(new, new.keys, new.values, new_held >= 0, ops.maximum(new_held, 0))
        positions = ops.concatenate([held, self.num_tokens[:, None] + counts - 1], axis=1)
        return Extended(
            new,
            *(
                rounded.each(lambda *both: ops.concatenate(both, axis=1), *pair)
                for pair in zip(self[:2], folded, strict=True)
            ),
            ops.concatenate([held >= 0, mask], axis=1),
            ops.maximum(positions, 0),
        )

    def _write_one(self, folded, mask, heads):
        """The keys and the values with one more token (B M, 1, H) in its slot where it is real: in place, under a compiler."""
        window = self.keys.shape[1]
        slots = for_heads(ops.mod(self.num_tokens, window)[:, None], heads)[:, 0]  # (B M,)
        rows, real = ops.arange(ops.shape(slots)[0], dtype="int32"), for_heads(mask, heads)
        place = ops.stack([rows, slots], axis=-1)

        def write(old, x):
            held = ops.take(ops.reshape(old, (-1, old.shape[-1])), rows * window + slots, axis=0)
            return ops.scatter_update(old, place, ops.where(real, x[:, 0], held))

        return [rounded.each(write, *pair) for pair in zip(self[:2], folded, strict=True)]

    def _held(self, num_tokens):
        """(B,) -> (B, W): which token of its row each slot holds, below 0 where none."""
        window = self.keys.shape[1]
        last = num_tokens[:, None] - 1
        return last - ops.mod(last - ops.arange(window, dtype="int32"), window)
