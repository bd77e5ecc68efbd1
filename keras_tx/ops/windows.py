"""Maps cut into windows, shifted or not, of any height and width, and put together again.

A map that the window does not divide is filled up with zeros below and to the right. A shift rolls the filled map up and to
the left, so that a window may hold two parts of the map that are no neighbours.
"""

import keras
import numpy as np
from keras import ops

from . import masks, sizes
from .positions import arange


def padded_size(size, window):
    """Returns the size, an int or a scalar tensor, rounded up to whole windows."""
    return (size + window - 1) // window * window


def divides(window, rows, columns):
    """Returns whether a window is known to divide a map, whose sizes are ints or scalar tensors."""
    found = [sizes.known(size) for size in (rows, columns)]
    return None not in found and all(size % part == 0 for size, part in zip(found, window, strict=True))


def pad(x, window):
    """Fills a tensor (B, Y, X, ...) up with zeros (or False) to whole windows."""
    missing = [padded_size(size, part) - size for size, part in zip(ops.shape(x)[1:3], window, strict=True)]
    if None not in map(sizes.known, missing):
        return (
            ops.pad(x, ((0, 0), *((0, each) for each in missing), *((0, 0),) * (len(x.shape) - 3)))
            if any(missing)
            else x
        )
    for axis, part in enumerate(window, 1):
        # As many as may be missing, and cut: not every backend pads by a size that is known only when the program runs.
        if part > 1:
            *before, size = ops.shape(x)[: axis + 1]
            zeros = ops.zeros((*before, part - 1, *ops.shape(x)[axis + 1 :]), dtype=x.dtype)
            x = _cut(ops.concatenate([x, zeros], axis=axis), axis, padded_size(size, part))
    return x


def partition(x, window, shift=(0, 0)):
    """Cuts a tensor (B, Y, X, ...) into its W windows.

    Args:
        x: tensor (B, Y, X, ...).
        window: (rows, columns).
        shift: (rows, columns) by which the filled map is rolled up and to the left: ints or scalar tensors.

    Returns:
        A tensor (B W, T, ...) with T = rows * columns of a window, windows and places in row-major order.
    """
    x = pad(x, window)
    x = _roll(x, shift, -1)
    batch, rows, columns = ops.shape(x)[:3]
    rest = tuple(x.shape[3:])
    x = ops.reshape(x, (batch, rows // window[0], window[0], columns // window[1], window[1], *rest))
    x = ops.transpose(x, (0, 1, 3, 2, 4, *range(5, 5 + len(rest))))
    return ops.reshape(x, (-1, window[0] * window[1], *rest))


def any_inside(mask, window):
    """Returns the mask (B, Y', X') of the windows in which any entry of a mask (B, Y, X) is true."""
    mask = pad(mask, window)
    batch, rows, columns = ops.shape(mask)
    mask = ops.reshape(mask, (batch, rows // window[0], window[0], columns // window[1], window[1]))
    return masks.any_over(mask, (2, 4))


def merge(x, window, shift, batch, rows, columns):
    """Puts windows (B W, T, ...) together to the map (B, Y, X, ...) that `partition` cut."""
    height, width = padded_size(rows, window[0]), padded_size(columns, window[1])
    rest = tuple(x.shape[2:])
    x = ops.reshape(x, (batch, height // window[0], width // window[1], *window, *rest))
    x = ops.transpose(x, (0, 1, 3, 2, 4, *range(5, 5 + len(rest))))
    x = _roll(ops.reshape(x, (batch, height, width, *rest)), shift, 1)
    for axis, size, whole in ((1, rows, height), (2, columns, width)):
        x = x if sizes.known(whole - size) == 0 else _cut(x, axis, size)
    return x


def shift_mask(rows, columns, window, shift):
    """Says which places of a window are neighbours on the map, and not only brought together by the shift.

    Args:
        rows: of the map, an int or a scalar tensor.
        columns: likewise.
        window: (rows, columns).
        shift: (rows, columns), ints or scalar tensors.

    Returns:
        Booleans (W, T, T).
    """
    wrapped = [
        arange(padded_size(size, part)) + step >= padded_size(size, part)
        for size, part, step in zip((rows, columns), window, shift, strict=True)
    ]
    by_row = _in_windows(_new_axis(wrapped[0], 1) & _new_axis(_true(columns, window[1]), 0), window)  # (W, T)
    by_column = _in_windows(_new_axis(_true(rows, window[0]), 1) & _new_axis(wrapped[1], 0), window)
    same_row = _new_axis(by_row, 2) == _new_axis(by_row, 1)
    return same_row & (_new_axis(by_column, 2) == _new_axis(by_column, 1))


def window_positions(rows, columns, window, shift):
    """Returns for each position of a map, in row-major order, its window and its place in that: int32 (Y X,) each."""
    parts = []
    for size, part, step in zip((rows, columns), window, shift, strict=True):
        rolled = (arange(size) - step) % padded_size(size, part)
        parts.append((rolled // part, rolled % part))
    (window_row, row), (window_column, column) = parts
    per_row = padded_size(columns, window[1]) // window[1]
    index = window_row[:, None] * per_row + window_column[None]
    place = row[:, None] * window[1] + column[None]
    return _flat(index), _flat(place)


def dense_scores(scores, rows, columns, window, shift):
    """Lays the attention weights of windows out over the whole map.

    Args:
        scores: float tensor (B W, N, T, T).
        rows: of the map, an int or a scalar tensor.
        columns: likewise.
        window: (rows, columns), as in `partition`.
        shift: (rows, columns), as in `partition`.

    Returns:
        A float tensor (B, N, Y X, Y X), zero where two positions share no window.
    """
    heads, length = scores.shape[1], scores.shape[-1]
    count = (padded_size(rows, window[0]) // window[0]) * (padded_size(columns, window[1]) // window[1])
    index, place = window_positions(rows, columns, window, shift)
    scores = ops.reshape(scores, (-1, count, heads, length, length))
    scores = ops.reshape(ops.transpose(scores, (0, 2, 1, 3, 4)), (-1, heads, count * length, length))
    scores = ops.take(ops.take(scores, index * length + place, axis=2), place, axis=3)
    return ops.where(index[:, None] == index[None], scores, ops.zeros((), dtype=scores.dtype))


def relative_index(query_places, key_places, window):
    """Numbers the offset from each key to each query in a window: row difference first, from the most negative on.

    Args:
        query_places: integers (..., T), places in the window in row-major order.
        key_places: integers (..., S).
        window: (rows, columns).

    Returns:
        Integers (..., T, S) in 0 .. (2 rows - 1) (2 columns - 1) - 1.

    Reference:
        Liu et al. 2021, "Swin Transformer", equation 4.
    """
    queries, keys = query_places[..., :, None], key_places[..., None, :]
    row = queries // window[1] - keys // window[1] + window[0] - 1
    column = queries % window[1] - keys % window[1] + window[1] - 1
    return row * (2 * window[1] - 1) + column


def _true(size, window):
    return arange(padded_size(size, window)) >= 0


def _in_windows(cells, window):
    """(Y, X) -> (W, T)."""
    height, width = (cells.shape if isinstance(cells, np.ndarray) else ops.shape(cells))[:2]
    split = (height // window[0], window[0], width // window[1], window[1])
    if isinstance(cells, np.ndarray):
        return cells.reshape(split).transpose(0, 2, 1, 3).reshape(-1, window[0] * window[1])
    return ops.reshape(ops.transpose(ops.reshape(cells, split), (0, 2, 1, 3)), (-1, window[0] * window[1]))


def _flat(cells):
    return cells.reshape(-1) if isinstance(cells, np.ndarray) else ops.reshape(cells, (-1,))


def _new_axis(cells, axis):
    # Not by indexing, which LiteRT has for arange and not for booleans.
    return np.expand_dims(cells, axis) if isinstance(cells, np.ndarray) else ops.expand_dims(cells, axis)


def _cut(x, axis, size):
    return x[(slice(None),) * axis + (slice(size),)]


def _roll(x, shift, direction):
    if None not in map(sizes.known, shift):
        return ops.roll(x, tuple(direction * step for step in shift), axis=(1, 2)) if any(shift) else x
    for axis, step in enumerate(
        shift, 1
    ):  # by gathering, as not every format of export rolls by what it knows when it runs
        size = ops.shape(x)[axis]
        x = _select(x, (ops.arange(size, dtype="int32") - direction * step) % size, axis)
    return x


def _select(x, index, axis):
    if keras.backend.backend() != "torch":
        return ops.take(x, index, axis=axis)
    import torch  # Keras' way there is by an operation that OpenVINO does not read

    return torch.index_select(x, axis, index.long())
