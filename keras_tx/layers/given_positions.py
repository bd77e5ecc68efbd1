"""`positions`, the call argument of what marks places: for sequences that do not count from 0, packed or continued ones."""

import keras
import numpy as np

from ..ops import masks, sizes, token_ids
from ..ops.concrete import check_tensor, concrete, is_placeholder


def read(positions, shape, cache=None):
    """Returns the positions as integers.

    Args:
        positions: integer tensor (T,) or (..., T), or `None`; whole numbers in floats are cast.
        shape: (..., T), of the places that they number.
        cache: what the call was given as `cache`.

    Returns:
        An integer tensor, or `None`.

    Raises:
        ValueError: for positions that are no whole numbers or have another shape, and beside a cache, which counts itself.
    """
    if positions is None:
        return None
    if cache is not None:
        raise ValueError(
            "`positions` must not be given beside a `cache`, which counts the tokens that came before. Received: both."
        )
    check_tensor("positions", positions)
    masks.check_shape("positions", positions, tuple(shape[-1:]), tuple(shape))
    _check_length(positions, shape)
    dtype = keras.backend.standardize_dtype(positions.dtype)
    if "int" in dtype or is_placeholder(positions):
        return token_ids.as_integers(positions)
    if dtype not in ("float32", "float64"):
        raise ValueError(
            "`positions` must hold integers; a keras.Input for them needs dtype='int32', as floats of half precision round them. "
            f"Received: positions of dtype {dtype}."
        )
    values = concrete(positions)
    wrong = () if values is None else values[(np.floor(values) != values) | (np.abs(values) >= 2.0**31)]
    if len(wrong):
        raise ValueError(f"`positions` must hold integers. Received: {wrong[0]} in positions of dtype {dtype}.")
    return token_ids.as_integers(positions)


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
