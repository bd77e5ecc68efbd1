"""Maps cut into windows, shifted or not, of any height and width, and put together again.

A map that the window does not divide is filled up with zeros below and to the right. A shift rolls the filled map up and to
the left, so that a window may hold two parts of the map that are no neighbours.
"""

import numpy as np
from keras import ops

from .positions import numbers


def filled(size, window):
    """Returns the size, an int or a scalar tensor, rounded up to whole windows."""
    return (size + window - 1) // window * window


def divides(window, rows, columns):
    """Returns whether a window is known to divide a map, whose sizes are ints or scalar tensors."""
    return all(isinstance(size, int) and size % part == 0 for size, part in zip((rows, columns), window, strict=True))


def pad(x, window):
    """Fills a tensor (B, Y, X, ...) up with zeros (or False) to whole windows."""
    rows, columns = ops.shape(x)[1:3]
    below, right = filled(rows, window[0]) - rows, filled(columns, window[1]) - columns
    if _is_zero(below) and _is_zero(right):
        return x
    return ops.pad(x, ((0, 0), (0, below), (0, right)) + ((0, 0),) * (len(x.shape) - 3))


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


def merge(x, window, shift, batch, rows, columns):
    """Puts windows (B W, T, ...) together to the map (B, Y, X, ...) that `partition` cut."""
    height, width = filled(rows, window[0]), filled(columns, window[1])
    rest = tuple(x.shape[2:])
    x = ops.reshape(x, (batch, height // window[0], width // window[1], *window, *rest))
    x = ops.transpose(x, (0, 1, 3, 2, 4, *range(5, 5 + len(rest))))
    x = _roll(ops.reshape(x, (batch, height, width, *rest)), shift, 1)
    if _is_zero(height - rows) and _is_zero(width - columns):
        return x
    return x[:, :rows, :columns]


def neighbours(rows, columns, window, shift):
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
        numbers(filled(size, part)) + step >= filled(size, part)
        for size, part, step in zip((rows, columns), window, shift, strict=True)
    ]
    by_row = _in_windows(wrapped[0][:, None] & _true(columns, window[1])[None], window)  # (W, T)
    by_column = _in_windows(_true(rows, window[0])[:, None] & wrapped[1][None], window)
    return (by_row[:, :, None] == by_row[:, None]) & (by_column[:, :, None] == by_column[:, None])


def places(rows, columns, window, shift):
    """Returns for each position of a map, in row-major order, its window and its place in that: int32 (Y X,) each."""
    parts = []
    for size, part, step in zip((rows, columns), window, shift, strict=True):
        rolled = (numbers(size) - step) % filled(size, part)
        parts.append((rolled // part, rolled % part))
    (window_row, row), (window_column, column) = parts
    per_row = filled(columns, window[1]) // window[1]
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
    count = (filled(rows, window[0]) // window[0]) * (filled(columns, window[1]) // window[1])
    index, place = places(rows, columns, window, shift)
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
    return numbers(filled(size, window)) >= 0


def _in_windows(cells, window):
    """(Y, X) -> (W, T)."""
    height, width = (cells.shape if isinstance(cells, np.ndarray) else ops.shape(cells))[:2]
    split = (height // window[0], window[0], width // window[1], window[1])
    if isinstance(cells, np.ndarray):
        return cells.reshape(split).transpose(0, 2, 1, 3).reshape(-1, window[0] * window[1])
    return ops.reshape(ops.transpose(ops.reshape(cells, split), (0, 2, 1, 3)), (-1, window[0] * window[1]))


def _flat(cells):
    return cells.reshape(-1) if isinstance(cells, np.ndarray) else ops.reshape(cells, (-1,))


def _roll(x, shift, direction):
    if all(_is_zero(step) for step in shift):
        return x
    return ops.roll(x, tuple(direction * step for step in shift), axis=(1, 2))


def _is_zero(size):
    return isinstance(size, (int, np.integer)) and size == 0
