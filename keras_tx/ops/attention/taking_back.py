"""Takes back tokens that a cache has taken up, as if they had not come: those that were proposed and turned out wrong."""

import keras
from keras import ops

from .. import positions
from . import rounded
from .kv_cache import KVCache, for_heads
from .window_cache import WindowCache


def take_back(cache, added, kept, real, slots):
    """Returns a `KVCache` or a `WindowCache` as if only the first of the tokens that came last had come.

    Args:
        cache: after `added` tokens (B, T) came, the real ones of each row before the others.
        added: int, T.
        kept: int32 (B,), how many of the real ones stay.
        real: int32 (B,), how many of them were real; not fewer than `kept`.
        slots: int32 scalar, how many of the T slots are free again: no row keeps one of the last `slots` tokens.
    """
    length = cache.length - slots
    if isinstance(cache, WindowCache):
        return cache._replace(num_tokens=cache.num_tokens - (real - kept), length=length)
    columns = ops.arange(ops.shape(cache.mask)[1], dtype="int32")[None]
    stay = columns < (cache.length - added + kept)[:, None]
    return cache._replace(mask=ops.logical_and(cache.mask, stay), length=length)


def without_gaps(cache):
    """Returns a cache in which each row's tokens lie in the first slots, in their order, and the others are free again."""
    if isinstance(cache, WindowCache):
        return cache._replace(length=ops.max(cache.num_tokens))  # its rows have no gaps
    columns = ops.arange(ops.shape(cache.mask)[1], dtype="int32")
    counts = ops.cumsum(ops.cast(cache.mask, "int32"), axis=-1)  # (B, S)
    # Before a row's token number n come as many slots as have counted n tokens at most.
    source = ops.sum(ops.cast(counts[:, None, :] <= columns[None, :, None], "int32"), axis=-1)
    keys, values = _gather(cache, source, cache.mask)
    num_tokens = cache.num_tokens
    return KVCache(keys, values, columns[None] < num_tokens[:, None], ops.max(num_tokens))


def widened(cache, spare):
    """Returns a `WindowCache` with `spare` slots more.

    A token that is taken back has overwritten the one that the window held before in its slot, which is needed again. With as
    many spare slots as tokens may be taken back at once, it overwrites one that no query sees any more.
    """
    slots = cache.keys.shape[1]
    last = cache.num_tokens[:, None] - 1
    token = last - ops.mod(last - ops.arange(slots + spare, dtype="int32"), slots + spare)  # which each slot is to hold
    held = ops.logical_and(token >= 0, token > last - slots)
    keys, values = _gather(cache, ops.where(held, ops.mod(token, slots), -1), cache.num_tokens)
    return cache._replace(keys=keys, values=values)


def _gather(cache, source, by_row):
    """Returns keys and values (B M, S', H), read from the slots with the indices `source` (B, S'); zeros where an index is -1."""
    heads = ops.shape(keras.tree.flatten(cache.keys)[0])[0] // ops.shape(by_row)[0]
    source = for_heads(source, heads)
    return (rounded.each(lambda x: positions.gather(x, source), x) for x in (cache.keys, cache.values))
