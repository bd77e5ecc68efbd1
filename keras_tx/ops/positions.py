"""Positions as numbers: sine tables and rotations, for positions that are given or counted."""

import numpy as np
from keras import ops

from . import sizes
from .frequencies import frequencies
from .leading_axes import LeadingAxes


def position_ids(length, mask=None, start=None):
    """Numbers the tokens of each row.

    Args:
        length: T, an integer or a scalar integer tensor.
        mask: boolean (B, T) or `None`: positions that are not real take no number (they repeat the one before).
        start: integer tensor (B,): how many tokens of each row came before, or `None` for zero.

    Returns:
        int32 positions: (T,) where neither mask nor start is given, else (B, T).
    """
    if mask is None:
        positions = ops.arange(length, dtype="int32")
    else:
        positions = ops.maximum(ops.cumsum(ops.cast(mask, "int32"), axis=-1) - 1, 0)
    if start is None:
        return positions
    return start[:, None] + positions


def in_segments(segment_ids):
    """Numbers the tokens of each segment from 0, where the tokens of a segment stand together.

    Args:
        segment_ids: integer tensor (..., T), none of them -1.

    Returns:
        int32 positions (..., T).
    """
    length = ops.shape(segment_ids)[-1]
    widths = [*[(0, 0)] * (len(segment_ids.shape) - 1), (1, 0)]
    before = ops.pad(segment_ids[..., :-1], widths, constant_values=-1)
    starts, places = ops.not_equal(segment_ids, before), position_ids(length)
    # The first places of all segments stand first when sorted, in their order.
    first = ops.sort(ops.where(starts, places, ops.cast(length, "int32")), axis=-1)
    number = ops.maximum(ops.cumsum(ops.cast(starts, "int32"), axis=-1) - 1, 0)
    return places - ops.take_along_axis(first, number, axis=-1)


def arange(size):
    """Returns 0 .. size - 1 as int32: a numpy array where the size is known, so that what is made of it is a constant."""
    return ops.arange(size, dtype="int32") if sizes.known(size) is None else np.arange(size, dtype="int32")


def sine_table(positions, dim, max_wavelength=10_000.0, interleaved=True):
    """PE(p, 2i) = sin(p w_i), PE(p, 2i + 1) = cos(p w_i), w_i = max_wavelength^(-2i / dim).

    Args:
        positions: integer or float tensor of any shape.
        dim: D, even or odd (an odd one ends with a sine).
        max_wavelength: positions a full turn of the slowest pair takes, over 2 pi.
        interleaved: whether sine and cosine of a frequency stand side by side; else all sines come first.

    Returns:
        float32 tensor of shape positions.shape + (dim,).

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.5.
    """
    angles = _angles(positions, frequencies(dim, max_wavelength)[0])
    if not interleaved:
        return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)[..., :dim]
    table = ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1)  # (..., D/2, 2)
    table = ops.reshape(table, tuple(ops.shape(positions)) + (2 * angles.shape[-1],))
    return table[..., :dim]


def rotate(x, positions, max_wavelength=10_000.0, rotary_dim=None, interleaved=False, scaling=None):
    """Rotates the pairs (x_i, x_{i + R/2}) of the first R numbers by the angle p w_i.

    Args:
        x: float tensor (..., T, N, H), or without heads (B, T, H).
        positions: integer tensor (T,) or (..., T).
        max_wavelength: as in `sine_table`.
        rotary_dim: int, R, even; the others are left as they are. `None` for H.
        interleaved: whether the pairs are (x_{2i}, x_{2i + 1}), as in GPT-J, and not two halves, as in GPT-NeoX.
        scaling: dict as in `frequencies.frequencies`, or `None`.

    Returns:
        A tensor like `x`. The angles are taken in float32.

    Reference:
        Su et al. 2021, "RoFormer", section 3.2.2.
    """
    rotary_dim = x.shape[-1] if rotary_dim is None else rotary_dim
    half, rest = rotary_dim // 2, x[..., rotary_dim:]
    found, factor = frequencies(rotary_dim, max_wavelength, scaling)
    angles = _angles(positions, found)
    if len(x.shape) > 3:
        angles = angles[..., None, :]  # (T, 1, R/2) or (..., T, 1, R/2)
    cosine, sine = (ops.cast(each(angles) * factor, x.dtype) for each in (ops.cos, ops.sin))
    if interleaved:
        first, second = x[..., 0:rotary_dim:2], x[..., 1:rotary_dim:2]
    else:
        first, second = x[..., :half], x[..., half:rotary_dim]
    first, second = first * cosine - second * sine, second * cosine + first * sine
    if interleaved:
        rotated = ops.stack([first, second], axis=-1)  # (..., R/2, 2)
        rotated = [ops.reshape(rotated, (*ops.shape(x)[:-1], rotary_dim))]
    else:
        rotated = [first, second]
    return ops.concatenate([*rotated, rest] if rotary_dim < x.shape[-1] else rotated, axis=-1)


def distance_buckets(num_buckets, max_distance, bidirectional):
    """Returns the bucket of each distance of a key from its query, -max_distance to max_distance: a numpy array of int32.

    Half of the buckets hold one distance each, the others grow with the logarithm of the distance, up to `max_distance`, from
    which on all share the last. If `bidirectional`, half of all are for keys behind the query and half for those after it; else
    those after it share the bucket of distance 0.

    Reference:
        Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", section 2.1.
    """
    distance = np.arange(-max_distance, max_distance + 1)
    count = num_buckets // 2 if bidirectional else num_buckets
    after = np.where(distance > 0, count, 0) if bidirectional else 0
    distance = np.abs(distance) if bidirectional else np.maximum(-distance, 0)
    exact = count // 2
    # In float32, as T5's own code does it: where the quotient is nearly whole, rounding decides on the bucket.
    ratio = np.log(np.maximum(distance, 1).astype("float32") / np.float32(exact), dtype="float32")
    ratio = ratio / np.float32(np.log(max_distance / exact)) * np.float32(count - exact)
    grown = np.minimum(exact + ratio.astype("int32"), count - 1)
    return (after + np.where(distance < exact, distance, grown)).astype("int32")


def _angles(positions, found):
    """(...) and (R/2,) -> (..., R/2), in radians."""
    return ops.cast(positions, "float32")[..., None] * ops.convert_to_tensor(found, dtype="float32")


def next_position(start, length, mask=None):
    """Returns how many tokens of each row have been seen after T more.

    Args:
        start: int32 tensor (B,).
        length: T.
        mask: boolean (B, T) or `None`: only real tokens count.

    Returns:
        int32 tensor (B,).
    """
    if mask is None:
        return start + ops.cast(length, "int32")
    return start + ops.sum(ops.cast(mask, "int32"), axis=-1)


def gather(inputs, positions):
    """Returns the vectors at some positions of each row, and zeros for positions outside the row.

    Args:
        inputs: float tensor (..., T, D).
        positions: integer tensor (..., M).

    Returns:
        A float tensor (..., M, D).
    """
    axes = LeadingAxes(inputs)
    return axes.unfold(_gather(axes.fold(inputs, 2), axes.fold(positions, 1)))


def _gather(inputs, positions):
    batch, length, width = ops.shape(inputs)
    if 0 in map(sizes.known, inputs.shape[:2]):  # `take` from an empty array fails on JAX, even without indices
        return ops.zeros((batch, ops.shape(positions)[1], width), dtype=inputs.dtype)
    known = ops.logical_and(positions >= 0, positions < length)
    starts = ops.arange(batch, dtype="int32")[:, None] * length
    places = starts + ops.where(known, ops.cast(positions, "int32"), ops.zeros((), dtype="int32"))
    # One take from all rows laid end to end: a batched one costs XLA a gather of single rows.
    found = ops.take(ops.reshape(inputs, (batch * length, width)), places, axis=0)
    return ops.where(ops.expand_dims(known, -1), found, ops.zeros((), dtype=inputs.dtype))
