"""Masks: boolean, True where attending is allowed.

Every mask is combined as a boolean and filled into the scores once, so no two large negative numbers are ever added.
"""

import keras
from keras import ops

from . import padding, sizes
from .concrete import check_tensor
from .mask_values import as_booleans


def check(name, mask, *shapes):
    """Returns the mask as booleans, after checking its values and its shape.

    Args:
        name: the argument's name, for the message.
        mask: tensor of booleans, of integers (nonzero: True) or of the floats 0 and 1, or `None`.
        *shapes: the shapes that are allowed; `None` in a shape stands for a size that is not known.

    Returns:
        A boolean tensor, or `None`.

    Raises:
        ValueError: as `mask_values.as_booleans`, and if the mask has none of the shapes. An axis of size 1 stands for any size.
    """
    mask = as_booleans(name, mask)
    if mask is not None:
        check_shape(name, mask, *shapes)
    return mask


def over_positions(inputs, mask, name="mask"):
    """Returns the mask over the positions of `inputs`, the one given or Keras' own, with an entry for each position.

    Args:
        inputs: tensor (B, ..., D), symbolic or not.
        mask: tensor as in `check` with the inputs' axes less the last; one of size 1 stands for any size.
        name: the argument's name, for messages.

    Returns:
        A boolean tensor of the inputs' shape less the last axis (for symbolic inputs, as it came), or `None`.

    Raises:
        ValueError: as `check`.
    """
    mask = check(name, padding.given_or_implicit(mask, inputs), tuple(inputs.shape[:-1]))
    return mask if mask is None else _whole(mask, inputs)


def check_shape(name, tensor, *shapes):
    """Raises `ValueError` unless the tensor's shape is one of the shapes, or broadcasts to one of the same rank."""
    shape = tuple(tensor.shape)
    if not any(_fits(shape, allowed) for allowed in shapes):
        wanted = " or ".join(_spell(allowed) for allowed in shapes)
        raise ValueError(f"`{name}` must have shape {wanted}. Received: {name} of shape {_spell(shape)}.")


def pair_shapes(batch, num_heads, num_queries, num_keys):
    """Returns the three shapes in which pairs of queries and keys may be described, `batch` the sizes of the batch axes."""
    pair = (num_queries, num_keys)
    return pair, (*batch, *pair), (*batch, num_heads, *pair)


def read(inputs, mask, attention_mask, num_heads, num_keys, name="attention_mask"):
    """Sorts the masks that a call was given into positions and pairs, and checks both.

    The rank of the inputs says which a mask is: one with their axes less the last is over positions, one with more over pairs.

    Args:
        inputs: tensor (..., T, D), the queries' side.
        mask: boolean (..., T), or pairs (..., T, S) or (..., N, T, S), or `None` for Keras' implicit mask.
        attention_mask: boolean pairs (T, S), (..., T, S) or (..., N, T, S), or `None`.
        num_heads: N.
        num_keys: S, or `None` where it is not known.
        name: the name of `attention_mask`, for messages.

    Returns:
        The mask over positions (..., T) or `None`, and the mask over pairs, which broadcasts to (..., N, T, S), or `None`.

    Raises:
        ValueError: as `check`.
    """
    *batch, length, _ = inputs.shape
    shapes, rank = pair_shapes(batch, num_heads, length, num_keys), len(inputs.shape)
    attention_mask = as_pairs(check(name, attention_mask, *shapes), rank)
    mask = padding.given_or_implicit(mask, inputs)
    if mask is None:
        return None, attention_mask
    mask = check("mask", mask, (*batch, length), *shapes[1:])
    if len(mask.shape) > rank - 1:
        return None, combine(as_pairs(mask, rank), attention_mask)
    return _whole(mask, inputs), attention_mask


def for_block(inputs, mask, segment_ids=None):
    """Reads the mask that a block was given, or Keras' implicit one.

    Args:
        inputs: tensor (B, ..., D).
        mask: boolean tensor over positions or over pairs, or `None`.
        segment_ids: integers (B, ...), 0 at positions that are not real, or `None`.

    Returns:
        The mask to hand to the block's attention, and the same if it is one over positions, else `None`.

    Raises:
        ValueError: if it has as many axes as a mask over positions and another shape, and as `mask_values.as_booleans`.
    """
    mask = as_booleans("mask", padding.given_or_implicit(mask, inputs))
    real = None if segment_ids is None else ops.not_equal(segment_ids, 0)
    if mask is None or len(mask.shape) != len(inputs.shape) - 1:
        return mask, real
    mask = combine(over_positions(inputs, mask), real)
    return mask, mask


def check_bias(attention_bias, inputs, num_heads, num_keys):
    """Raises `ValueError` unless the bias is `None`, or floats that broadcast from (T, S) or (..., N, T, S)."""
    if attention_bias is not None:
        check_tensor("attention_bias", attention_bias)
        dtype = keras.backend.standardize_dtype(attention_bias.dtype)
        if "float" not in dtype:
            raise ValueError(f"`attention_bias` must be a float tensor. Received: attention_bias of dtype {dtype}.")
        *batch, length, _ = inputs.shape
        pair, _, full = pair_shapes(batch, num_heads, length, num_keys)
        check_shape("attention_bias", attention_bias, pair, full)


def as_pairs(attention_mask, rank=3):
    """Returns a mask over pairs of inputs of that rank with an axis for the heads; `None` stays `None`.

    (..., N, T, S) stays, (..., T, S) becomes (..., 1, T, S), and (T, S) becomes (1, 1, T, S).
    """
    if attention_mask is None or len(attention_mask.shape) == rank + 1:
        return attention_mask
    if len(attention_mask.shape) == rank:
        return ops.expand_dims(attention_mask, -3)
    return ops.expand_dims(attention_mask, (0, 1))


def _whole(mask, inputs):
    """Returns a mask over positions with the inputs' shape less the last axis, where sizes of 1 stood for others."""
    if any(isinstance(each, keras.KerasTensor) for each in (mask, inputs)):
        return mask
    pairs = list(zip(mask.shape, inputs.shape, strict=False))
    # A batch of a size that is known only when run is taken to be that of the inputs.
    known = [(sizes.known(own), sizes.known(size)) for own, size in pairs]
    if all(own == size if own is not None else axis == 0 for axis, (own, size) in enumerate(known)):
        return mask
    return ops.broadcast_to(mask, ops.shape(inputs)[:-1])


def _fits(shape, allowed):
    if len(shape) != len(allowed):
        return False
    return all(sizes.known(a) == 1 or not sizes.differ(a, b) for a, b in zip(shape, allowed, strict=True))


def _spell(shape):
    sizes = ["any" if size is None else str(size) for size in shape]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def combine(*masks):
    """Returns the logical and of those masks that are not `None`, or `None` if none is left."""
    masks = [mask for mask in masks if mask is not None]
    if not masks:
        return None
    combined = masks[0]
    for mask in masks[1:]:
        combined = ops.logical_and(combined, mask)
    return combined


def causal(num_queries, num_keys, offset=0):
    """Returns the (T, S) mask in which query t may attend to keys 0 .. t + offset.

    Args:
        num_queries: T.
        num_keys: S.
        offset: how many keys precede the first query: an integer or a scalar integer tensor.

    Returns:
        A boolean tensor of shape `(T, S)`.
    """
    queries = ops.arange(num_queries, dtype="int32")[:, None] + offset
    return ops.arange(num_keys, dtype="int32")[None, :] <= queries


def window(query_positions, key_positions, size, causal=False):
    """Returns the (B, 1, T, S) mask of the pairs less than `size` positions apart, the key not after the query if `causal`.

    Args:
        query_positions: integer tensor (B, T).
        key_positions: integer tensor (B, S). B may be 1.
        size: int.
        causal: bool.
    """
    distance = query_positions[:, None, :, None] - key_positions[:, None, None, :]
    return ops.logical_and(distance < size, distance >= 0 if causal else distance > -size)


def same_segment(query_segments, key_segments):
    """Returns the (B, 1, T, S) mask of the pairs of one segment, from integers (B, T) and (B, S)."""
    return ops.equal(query_segments[:, None, :, None], key_segments[:, None, None, :])


def pairs(query_mask=None, key_mask=None, attention_mask=None):
    """Combines masks over positions and a mask over pairs into one mask over pairs.

    A pair may meet if the query is real, the key is real and `attention_mask` allows it.

    Args:
        query_mask: boolean (B, T) or `None`.
        key_mask: boolean (B, S) or `None`.
        attention_mask: boolean that broadcasts to (B, N, T, S), or `None`.

    Returns:
        A boolean tensor that broadcasts to (B, N, T, S), or `None`.
    """
    if query_mask is not None:
        query_mask = ops.expand_dims(query_mask, (1, 3))
    if key_mask is not None:
        key_mask = ops.expand_dims(key_mask, (1, 2))
    return combine(query_mask, key_mask, attention_mask)


def queries_with_keys(pair_mask):
    """Returns the boolean (B, T) mask of the queries that may attend to some key in some head (sizes of 1 broadcast)."""
    return any_over(pair_mask, (1, 3))


def any_over(mask, axes):
    """Returns the boolean mask of where any entry along the axes (numbers from 0) is true, without these axes."""
    for axis in sorted(axes, reverse=True):  # one by one: OpenVINO takes only the first of several from torch
        mask = ops.any(mask, axis=axis)
    return mask
