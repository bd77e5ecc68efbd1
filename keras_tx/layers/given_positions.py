"""`positions` and `segment_ids`, the call arguments of what marks places: for packed or continued sequences."""

import keras
import numpy as np
from keras import ops

from ..ops import masks, sizes, token_ids
from ..ops.concrete import check_tensor, concrete, is_placeholder
from ..ops.positions import in_segments


def read(positions, shape, cache=None, segment_ids=None):
    """Returns the positions as integers.

    Args:
        positions: integer tensor (T,) or (..., T), or `None`; whole numbers in floats are cast.
        shape: (..., T), of the places that they number.
        cache: what the call was given as `cache`.
        segment_ids: integers (..., T) as `read_segments` returns them, in each of which positions begin at 0 where none are
            given, or `None`.

    Returns:
        An integer tensor, or `None`.

    Raises:
        ValueError: for positions that are no whole numbers or have another shape, and beside a cache, which counts itself.
    """
    if positions is None:
        symbolic = segment_ids is None or isinstance(segment_ids, keras.KerasTensor)
        return segment_ids if symbolic else in_segments(segment_ids)
    if cache is not None:
        raise ValueError(
            "`positions` must not be given beside a `cache`, which counts the tokens that came before. Received: both."
        )
    check_tensor("positions", positions)
    masks.check_shape("positions", positions, tuple(shape[-1:]), tuple(shape))
    _check_length(positions, shape)
    return _integers("positions", positions)


def read_segments(segment_ids, shape, cache=None):
    """Returns the segments of packed documents as integers, 0 for padding.

    Args:
        segment_ids: integer tensor (..., T), or `None`; whole numbers in floats are cast.
        shape: (..., T), of the places that they are of.
        cache: what the call was given as `cache`.

    Returns:
        An integer tensor, or `None`.

    Raises:
        ValueError: as `read`.
    """
    if segment_ids is None:
        return None
    if cache is not None:
        raise ValueError(
            "`segment_ids` must not be given beside a `cache`, whose rows are a document each. Received: both."
        )
    check_tensor("segment_ids", segment_ids)
    masks.check_shape("segment_ids", segment_ids, tuple(shape))
    segment_ids = _integers("segment_ids", segment_ids)
    sizes_known = [sizes.known(size) for size in (*segment_ids.shape, *shape)]
    if isinstance(segment_ids, keras.KerasTensor) or None in sizes_known or tuple(segment_ids.shape) == tuple(shape):
        return segment_ids
    return ops.broadcast_to(segment_ids, shape)


def _integers(name, numbers):
    dtype = keras.backend.standardize_dtype(numbers.dtype)
    if "int" in dtype or is_placeholder(numbers):
        return token_ids.as_integers(numbers)
    if dtype not in ("float32", "float64"):
        raise ValueError(
            f"`{name}` must hold integers; a keras.Input for them needs dtype='int32', as floats of half precision round them. "
            f"Received: {name} of dtype {dtype}."
        )
    values = concrete(numbers)
    wrong = () if values is None else values[(np.floor(values) != values) | (np.abs(values) >= 2.0**31)]
    if len(wrong):
        raise ValueError(f"`{name}` must hold integers. Received: {wrong[0]} in {name} of dtype {dtype}.")
    return token_ids.as_integers(numbers)


def _check_length(positions, shape):
    """Raises `ValueError` for one position of several places, which a size of 1 would say of any other axis.

    While Keras or a backend traces a call, 1 may stand for any size, and says nothing.
    """
    told = isinstance(positions, keras.KerasTensor) or concrete(positions) is not None
    length, given = sizes.known(shape[-1]), sizes.known(positions.shape[-1])
    if told and given == 1 and length is not None and length != 1:
        raise ValueError(
            f"`positions` must have one for each of {length} places. Received: positions of shape {tuple(positions.shape)}."
        )
