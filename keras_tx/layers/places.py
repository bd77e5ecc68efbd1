"""Where tokens stand, by which rotary positions, biases and a window go. With a cache, padding takes no place."""

import keras
from keras import ops

from ..ops import masks, sizes
from ..ops import positions as counting
from ..ops.attention import DistanceBias
from ..ops.concrete import check_tensor
from . import given_positions, head_projections


def marked_by(attention):
    """Returns whether something in the attention goes by positions."""
    return attention.rotary is not None or attention.position_bias is not None


def read(attention, inputs, cache, positions, position_embedding, distance_bias, segment_ids):
    """Checks what a call was given that says where its tokens stand; returns the positions, or `None`, and the segments."""
    head_projections.check_position_embedding("position_embedding", position_embedding, inputs)
    check_distance_bias(distance_bias, attention.num_heads)
    if positions is not None and distance_bias is None and not marked_by(attention):
        raise ValueError(
            "`positions` must be for a `rotary` or a `position_bias`, which read them, or for a `distance_bias`. Received: "
            f"positions for {attention.name}, which has none of them."
        )
    segments = given_positions.read_segments(segment_ids, inputs.shape[:-1], cache)
    counted = segments if marked_by(attention) else None
    return given_positions.read(positions, inputs.shape[:-1], cache, counted), segments


def of_queries(inputs, mask, cache):
    """(T,), or with a cache (B, T): padding before a token, or between two calls, does not move it."""
    if cache is None:
        return counting.arange(ops.shape(inputs)[1])
    return counting.position_ids(ops.shape(inputs)[1], mask, cache.num_tokens)


def of_keys(seen):
    """(B, S), of the keys that a cache gave."""
    return counting.position_ids(None, seen.mask) if seen.positions is None else seen.positions


def window(size, inputs, mask, cache, seen):
    """The window and the positions by which it counts, (B, T) and (B, S): padding takes none. Each may be `None`."""
    if size is None:
        return None, None, None
    if cache is not None:
        return size, of_queries(inputs, mask, cache), of_keys(seen)
    return size, *[None if mask is None else counting.position_ids(None, mask)] * 2


def check_distance_bias(distance_bias, num_heads):
    """Raises `ValueError` unless the biases are `None`, or floats (2R + 1, N)."""
    if distance_bias is None:
        return
    check_tensor("distance_bias", distance_bias)
    dtype, shape = keras.backend.standardize_dtype(distance_bias.dtype), tuple(distance_bias.shape)
    if "float" not in dtype:
        raise ValueError(f"`distance_bias` must be a float tensor. Received: distance_bias of dtype {dtype}.")
    masks.check_shape("distance_bias", distance_bias, (None, num_heads))
    if shape[0] is None or int(shape[0]) % 2 == 0 or sizes.known(shape[1]) == 1 != num_heads:
        raise ValueError(
            "`distance_bias` must have an odd number of rows, for the distances -R to R, and a column a head. Received: "
            f"distance_bias of shape {shape}."
        )


def add_biases(slot, attention_bias, distance_bias, query_places, key_places, counted):
    """Returns the bias over pairs and the `DistanceBias`, `None` where there is none, of all that an attention has.

    Args:
        slot: the layer in the `position_bias` slot, or `None`. One whose bias depends on the distance alone may have a method
            `by_distance`, that returns a `DistanceBias` without positions, and is then asked for that.
        attention_bias: float tensor over pairs, or `None`.
        distance_bias: float tensor (2R + 1, N), or `None`.
        query_places: integer tensor (T,) or (B, T), the positions of queries.
        key_places: integer tensor (S,) or (B, S), those of keys.
        counted: bool, whether both are 0, 1, 2 and so on.
    """
    places = {} if counted else {"query_positions": query_places, "key_positions": key_places}
    found = [] if distance_bias is None else [DistanceBias(distance_bias, **places)]
    bias = None
    if hasattr(slot, "by_distance"):
        found.append(slot.by_distance()._replace(**places))
    elif slot is not None:
        bias = slot(query_places, key_places)
    if len(found) > 1:
        bias = found.pop().whole(ops.shape(query_places)[-1], ops.shape(key_places)[-1])
    if bias is not None:
        attention_bias = bias if attention_bias is None else attention_bias + ops.cast(bias, attention_bias.dtype)
    return attention_bias, found[0] if found else None
