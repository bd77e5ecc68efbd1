"""The keys and values of the tokens seen so far, as a value that is passed in and returned."""

from typing import Any, NamedTuple

from keras import ops

from ..concrete import concrete
from ..run_checks import when_run
from . import rounded


class Extended(NamedTuple):
    """What a cache gives when it has taken up more tokens.

    Attributes:
        cache: the new cache.
        keys: float tensor (B M, S, H), all that the new tokens may see, and others that the masks exclude; or `Rounded`.
        values: float tensor (B M, S, H), or `Rounded`.
        mask: boolean tensor (B, S), which of them are real.
        positions: int32 tensor (B, S), which token of its row each is, counted over the real ones; or `None` where they lie in
            their order.
    """

    cache: Any
    keys: Any
    values: Any
    mask: Any
    positions: Any = None

    @property
    def num_keys(self):
        """S, an int or a scalar tensor."""
        return rounded.length(self.keys)


class KVCache(NamedTuple):
    """Keys and values of past tokens in arrays of fixed size: a pytree, so it passes through XLA and loops.

    Attributes:
        keys: float tensor (B M, S, H), S the most tokens it can hold, M the key heads: head m of row b at b M + m. The
            products of attention read it as it is; a batch axis of size 1 would make XLA copy it at every step. Or `Rounded`.
        values: float tensor (B M, S, H), or `Rounded`.
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
    def empty(cls, batch_size, max_length, num_heads, key_dim, dtype="float32", cache_dtype=None):
        """Returns a cache with room for `max_length` tokens of this dtype and none in it; with the `cache_dtype` "int8" it holds
        them `Rounded`.
        """
        shape = (batch_size * num_heads, max_length, key_dim)
        return cls(
            keys=rounded.zeros(shape, dtype, cache_dtype),
            values=rounded.zeros(shape, dtype, cache_dtype),
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
            check_room(added, None if used is None else int(used), size)
        if mask is None:
            mask = ops.ones(ops.shape(keys)[:2], dtype="bool")
        start = ops.convert_to_tensor(self.length, dtype="int32")
        if None in (used, added, size):
            room = ops.cast(rounded.length(self.keys), "int32")
            start, values, mask = refuse_overflow(start, values, mask, room)
        zero = ops.zeros((), dtype="int32")
        place = ops.stack([zero, start, zero])

        def write(held, new):
            new = rounded.as_held(fold_heads(new), held)
            return rounded.each(lambda old, x: ops.slice_update(old, place, x), held, new)

        return KVCache(
            keys=write(self.keys, keys),
            values=write(self.values, values),
            mask=ops.slice_update(self.mask, ops.stack([zero, start]), mask),
            length=start + ops.cast(ops.shape(keys)[1], "int32"),
        )


def for_heads(x, num_heads):
    """(B, W) -> (B M, W)."""
    batch, size = ops.shape(x)
    return ops.reshape(ops.broadcast_to(x[:, None], (batch, num_heads, size)), (batch * num_heads, size))


def check_room(added, used, size):
    """Raises `ValueError` unless so many tokens more fit."""
    if (used or 0) + added > size:
        raise ValueError(
            f"The cache must have room for every token. Received: {added} more tokens, with "
            f"{'an unknown number' if used is None else used} of {size} slots in use."
        )


def refuse_overflow(start, values, mask, room):
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
