"""The keys and values of the tokens seen so far, as a value that is passed in and returned."""

from typing import Any, NamedTuple

from keras import ops

from .. import positions as positions_ops
from .. import sizes
from ..concrete import concrete
from ..run_checks import when_run


class Extended(NamedTuple):
    """What a cache gives when it has taken up more tokens.

    Attributes:
        cache: the new cache.
        keys: float tensor (B M, S, H), all that the new tokens may see, and others that the masks exclude.
        values: float tensor (B M, S, H).
        mask: boolean tensor (B, S), which of them are real.
        positions: int32 tensor (B, S), which token of its row each is, counted over the real ones; or `None` where they lie in
            their order.
    """

    cache: Any
    keys: Any
    values: Any
    mask: Any
    positions: Any = None


class KVCache(NamedTuple):
    """Keys and values of past tokens in arrays of fixed size: a pytree, so it passes through XLA and loops.

    Attributes:
        keys: float tensor (B M, S, H), S the most tokens it can hold, M the key heads: head m of row b at b M + m. The
            products of attention read it as it is; a batch axis of size 1 would make XLA copy it at every step.
        values: float tensor (B M, S, H).
        mask: boolean tensor (B, S), True where a slot holds a real token: neither padding nor empty.
        length: int32 scalar tensor, the count of slots in use, padding included.
    """

    keys: Any
    values: Any
    mask: Any
    length: Any

    @property
    def max_length(self):
        """The most tokens that it can hold, int or `None`."""
        return self.keys.shape[1]

    @property
    def batch_size(self):
        """B, int or `None`."""
        return self.mask.shape[0]

    @property
    def num_tokens(self):
        """How many real tokens each row holds, int32 (B,)."""
        return ops.sum(ops.cast(self.mask, "int32"), axis=-1)

    def num_keys(self, added):
        """Returns how many keys T more tokens see, int or `None`: all slots, those that are empty too."""
        return self.max_length

    def extend(self, keys, values, mask=None):
        """Takes up T more tokens, as `append` does, and returns an `Extended`."""
        new = self.append(keys, values, mask)
        return Extended(new, new.keys, new.values, new.mask)

    @classmethod
    def empty(cls, batch_size, max_length, num_heads, key_dim, dtype="float32"):
        """Returns a cache with room for `max_length` tokens and none in it."""
        shape = (batch_size * num_heads, max_length, key_dim)
        return cls(
            keys=ops.zeros(shape, dtype=dtype),
            values=ops.zeros(shape, dtype=dtype),
            mask=ops.zeros((batch_size, max_length), dtype="bool"),
            length=ops.zeros((), dtype="int32"),
        )

    def append(self, keys, values, mask=None):
        """Returns a cache that holds T more tokens.

        Where more tokens come than fit and it cannot be known before, a TensorFlow graph fails when it runs; in a function
        that XLA compiles, where nothing can be raised, the values of these tokens are NaN: so are the outputs of whatever
        attends to the cache from then on.

        Args:
            keys: float tensor (B, T, M, H).
            values: float tensor (B, T, M, H).
            mask: boolean tensor (B, T), True for real tokens, or `None` if all are.

        Returns:
            A new `KVCache` of the same size.

        Raises:
            ValueError: if the tokens do not fit and the length is known (outside a compiled function).
        """
        added, size = keys.shape[1], self.max_length
        used = concrete(self.length)
        if added is not None and size is not None:
            _check_room(added, None if used is None else int(used), size)
        if mask is None:
            mask = ops.ones(ops.shape(keys)[:2], dtype="bool")
        start = ops.convert_to_tensor(self.length, dtype="int32")
        if None in (used, added, size):
            room = ops.cast(ops.shape(self.keys)[1], "int32")
            start, values, mask = _refuse_overflow(start, values, mask, room)
        zero = ops.zeros((), dtype="int32")
        place = ops.stack([zero, start, zero])
        return KVCache(
            keys=ops.slice_update(self.keys, place, fold_heads(ops.cast(keys, self.keys.dtype))),
            values=ops.slice_update(self.values, place, fold_heads(ops.cast(values, self.values.dtype))),
            mask=ops.slice_update(self.mask, ops.stack([zero, start]), mask),
            length=start + ops.cast(ops.shape(keys)[1], "int32"),
        )


class WindowCache(NamedTuple):
    """The last W real tokens of each row, which are all that a window of W needs: slot r modulo W holds the r-th real one.

    Where fewer tokens may come than the window is wide, there are as many slots as tokens.

    Padding takes no slot, so a row's tokens lie where they would lie without it, and however much padding comes between them.

    Attributes:
        keys: float tensor (B M, W, H), as in `KVCache`.
        values: float tensor (B M, W, H).
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
    def empty(cls, batch_size, max_length, num_heads, key_dim, dtype, window):
        """Returns a cache for `max_length` tokens, of which it will hold the last `window` real ones of each row."""
        slots = window if sizes.known(max_length) is None else min(window, max_length)
        shape = (batch_size * num_heads, slots, key_dim)
        return cls(
            keys=ops.zeros(shape, dtype=dtype),
            values=ops.zeros(shape, dtype=dtype),
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
            _check_room(added, int(used), int(limit))
        start = ops.convert_to_tensor(self.length, dtype="int32")
        if None in (added, used, limit):
            start, values, mask = _refuse_overflow(
                start, values, mask, ops.convert_to_tensor(self.limit, dtype="int32")
            )
        folded = [fold_heads(ops.cast(x, self.keys.dtype)) for x in (keys, values)]
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
            newest = [positions_ops.gather(x, source) for x in folded]
            written = [ops.where(fresh, x, old) for x, old in zip(newest, self[:2], strict=True)]
        new = WindowCache(*written, total, start + ops.cast(ops.shape(keys)[1], "int32"), self.limit)
        if added == 1:
            return Extended(new, new.keys, new.values, new_held >= 0, ops.maximum(new_held, 0))
        positions = ops.concatenate([held, self.num_tokens[:, None] + counts - 1], axis=1)
        return Extended(
            new,
            *(ops.concatenate([old, x], axis=1) for old, x in zip(self[:2], folded, strict=True)),
            ops.concatenate([held >= 0, mask], axis=1),
            ops.maximum(positions, 0),
        )

    def _write_one(self, folded, mask, heads):
        """The keys and the values with one more token (B M, 1, H) in its slot where it is real: in place, under a compiler."""
        window, size = self.keys.shape[1:]
        slots = for_heads(ops.mod(self.num_tokens, window)[:, None], heads)[:, 0]  # (B M,)
        rows, real = ops.arange(ops.shape(slots)[0], dtype="int32"), for_heads(mask, heads)
        place, written = ops.stack([rows, slots], axis=-1), []
        for x, old in zip(folded, self[:2], strict=True):
            held = ops.take(ops.reshape(old, (-1, size)), rows * window + slots, axis=0)
            written.append(ops.scatter_update(old, place, ops.where(real, x[:, 0], held)))
        return written

    def _held(self, num_tokens):
        """(B,) -> (B, W): which token of its row each slot holds, below 0 where none."""
        window = self.keys.shape[1]
        last = num_tokens[:, None] - 1
        return last - ops.mod(last - ops.arange(window, dtype="int32"), window)


def for_heads(x, num_heads):
    """(B, W) -> (B M, W)."""
    batch, size = ops.shape(x)
    return ops.reshape(ops.broadcast_to(x[:, None], (batch, num_heads, size)), (batch * num_heads, size))


def _check_room(added, used, size):
    if (used or 0) + added > size:
        raise ValueError(
            f"The cache must have room for every token. Received: {added} more tokens, with "
            f"{'an unknown number' if used is None else used} of {size} slots in use."
        )


def _refuse_overflow(start, values, mask, room):
    """Returns the arguments of `append` as they are, or what its docstring says if they do not fit."""
    end = start + ops.cast(ops.shape(values)[1], "int32")
    fits = end <= room
    start = when_run(start, fits, "The cache must have room for every token. Received: tokens, room for", end, room)
    # Added, as LLVM takes a second to compile a `where` here.
    values = values + ops.cast(ops.where(fits, 0.0, float("nan")), values.dtype)
    return start, values, ops.logical_or(mask, ops.logical_not(fits))


def fold_heads(x):
    """(B, T, M, H) -> (B M, T, H)."""
    batch, length, heads, size = ops.shape(x)
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (batch * heads, length, size))
