"""Tables of positions for another grid than they were made for."""

import numpy as np
from keras import ops

from . import sizes
from .positions import arange


def resample(table, rows, columns):
    """Gives a grid of vectors another size by cubic convolution, rows and columns apart.

    Centres of cells are aligned and the border is repeated, as in `torch.nn.functional.interpolate` of mode "bicubic".
    A grid of the size that it has already comes back as it is.

    Args:
        table: float tensor (Y, X, D).
        rows: int or scalar integer tensor, Y'.
        columns: int or scalar integer tensor, X'.

    Returns:
        A float tensor (Y', X', D).

    Reference:
        Keys 1981, "Cubic Convolution Interpolation for Digital Image Processing", with a = -0.75.
    """
    if sizes.known(rows) != table.shape[0]:
        table = ops.einsum("ay,yxd->axd", ops.cast(cubic_weights(rows, table.shape[0]), table.dtype), table)
    if sizes.known(columns) != table.shape[1]:
        table = ops.einsum("bx,axd->abd", ops.cast(cubic_weights(columns, table.shape[1]), table.dtype), table)
    return table


def cubic_weights(new, old):
    """Returns how much each of `old` values counts for each of `new`: float32 (new, old), rows of sum 1.

    Where the sizes are equal it is the identity to the last bit. An unknown `new` may be a scalar tensor.
    """
    if sizes.known(new) is None:
        index, floor, absolute, where, cast = ops.arange(new, dtype="float32"), ops.floor, ops.abs, ops.where, ops.cast
        ratio = old / ops.cast(new, "float32")
    else:
        index, floor, absolute, where = np.arange(int(new), dtype="float32"), np.floor, np.abs, np.where
        ratio, cast = np.float32(old / max(1, int(new))), np.ndarray.astype
    place = (index + 0.5) * ratio - 0.5  # of each new centre, counted in old cells
    first = floor(place)
    weights = 0.0
    for step in (-1.0, 0.0, 1.0, 2.0):
        cell = where(
            first + step < 0, 0.0 * first, where(first + step > old - 1, 0.0 * first + (old - 1.0), first + step)
        )
        weight = _kernel(absolute(place - first - step), where)
        weights = weights + weight[:, None] * cast(cell[:, None] == np.arange(old, dtype="float32")[None], "float32")
    return weights


def _kernel(distance, where, a=-0.75):
    near = ((a + 2.0) * distance - (a + 3.0)) * distance * distance + 1.0
    far = ((a * distance - 5.0 * a) * distance + 8.0 * a) * distance - 4.0 * a
    return where(distance <= 1.0, near, where(distance < 2.0, far, 0.0 * distance))


def nearest(values, extent):
    """Gives maps another size: cell i of n becomes that in which cell floor(i Y / n) of Y was, without any rounding.

    Args:
        values: tensor (B, Y, X, ...) of any dtype.
        extent: (rows, columns), ints or scalar integer tensors.

    Returns:
        A tensor (B, rows, columns, ...).
    """
    for axis, (size, old) in enumerate(zip(extent, ops.shape(values)[1:3], strict=True), 1):
        if None in map(sizes.known, (size, old)) or size != old:
            count = ops.maximum(size, 1) if sizes.known(size) is None else max(size, 1)
            values = ops.take(values, arange(size) * old // count, axis=axis)
    return values
