"""`positions`, the call argument of what marks places: for sequences that do not count from 0, packed or continued ones."""

import keras

from ..ops import masks
from ..ops.concrete import check_tensor


def read(positions, shape, cache=None):
    """Returns the positions as integers.

    Args:
        positions: integer tensor (T,) or (..., T), or `None`.
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
    dtype = keras.backend.standardize_dtype(positions.dtype)
    if "int" not in dtype:
        raise ValueError(f"`positions` must hold integers. Received: positions of dtype {dtype}.")
    masks.check_shape("positions", positions, tuple(shape[-1:]), tuple(shape))
    return positions
