"""Random bits from a counter and a seed: the same on every backend, and nearly free.

A generator that carries state from one element to the next cannot be fused; a hash of the element's index can. XLA then
computes the bits inside the loop that uses them.
"""

import math
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

_MULTIPLIER_1 = 0x7FEB352D
_MULTIPLIER_2 = 0x846CA68B
_GOLDEN_RATIO = 0x9E3779B9
_SIGN_BIT = 0x80000000
_STEP, _START, _KEY = ((i * _GOLDEN_RATIO) % 2**32 for i in (1, 2, 3))


def _word_dtype():
    # torch has no arithmetic on uint32; two's complement gives the same bits.
    return "int32" if keras.backend.backend() == "torch" else "uint32"


def _word(value):
    """Returns the number that stands for a 32-bit pattern in the word's dtype."""
    if _word_dtype() == "uint32":
        return np.uint32(value)
    return value - 2**32 if value >= _SIGN_BIT else value


def _words(*values):
    return ops.convert_to_tensor(np.array(values, dtype="uint32").view(_word_dtype()))


def _shift_right(x, count):
    x = ops.right_shift(x, count)
    if _word_dtype() == "int32":  # the shift of a signed number copies its sign: clear it
        x = ops.bitwise_and(x, 2 ** (32 - count) - 1)
    return x


def _fold(x, count):
    return ops.bitwise_xor(x, _shift_right(x, count))


def _mix(x, key=None):
    """Mixes 32-bit words so that each input bit flips each output bit with probability near 1/2.

    The rounds are `lowbias32` of C. Wellons, "Prospecting for Hash Functions" (2018). A key that enters between the
    rounds keeps two keys from giving one sequence in another order.
    """
    x = _fold(x, 16) * _word(_MULTIPLIER_1)
    if key is not None:
        x = x + key
    x = _fold(x, 15) * _word(_MULTIPLIER_2)
    return _fold(x, 16)


def random_bits(shape, seed):
    """Returns 32 random bits for each element, a pure function of `(element index, seed)`.

    The word of element i is mix(start + i * step, key), with start, key and the odd step hashed from the seed. A step
    of the stream's own keeps two streams from running through one stretch of the mix, and regular indices, such as a
    column's, from meeting a pattern in it.

    Args:
        shape: tuple of integers (or scalar integer tensors, where a size is dynamic).
        seed: integer tensor of shape `(2,)`: what `keras.random.SeedGenerator.next()` returns.

    Returns:
        A tensor of the given shape, uint32 (int32 with the same bit pattern on torch). Elements are numbered row by
        row, modulo 2**32.

    Reference:
        Steele et al. 2014, "Fast Splittable Pseudorandom Number Generators", section 2, for streams that differ in
        their step.
    """
    *axes, columns = shape or (1,)
    rows = ops.arange(math.prod(axes), dtype="int32")
    return ops.reshape(_bits_at(rows, ops.arange(columns, dtype="int32"), columns, seed), shape)


def _bits_at(rows, columns, width, seed):
    """Returns the words (..., C) of the elements in the given rows (...,) and columns (C,) of a matrix of that width.

    The seed is of shape (2,), or (2, R) with one for each of R rows.
    """
    dtype = _word_dtype()
    seed = ops.cast(seed, dtype)
    if len(seed.shape) == 1:
        words = _mix(_mix(_words(_STEP, _START, _KEY) + seed[0]) + seed[1])
        step, start, key = ops.bitwise_or(words[0], _word(1)), words[1], words[2]
    else:
        words = _mix(_mix(_words(_STEP, _START, _KEY)[:, None] + seed[0]) + seed[1])  # (3, R)
        step, start, key = ops.bitwise_or(words[0], _word(1)), words[1], words[2][:, None]
        rows = ops.cast(rows, dtype) * (step * ops.cast(width, dtype))
        return _mix((rows + start)[:, None] + ops.cast(columns, dtype) * step[:, None], key=key)
    # start + i * step, where only the last sum has as many elements as the shape, whose count may exceed 32 bits
    rows = ops.cast(rows, dtype) * (step * ops.cast(width, dtype))
    return _mix((rows + start)[..., None] + ops.cast(columns, dtype) * step, key=key)


def keep_mask(shape, seed, rate):
    """Returns a boolean tensor that is True with probability `1 - rate`, independently for each element.

    Args:
        shape: tuple of integers (or scalar integer tensors).
        seed: integer tensor of shape `(2,)`.
        rate: float in [0, 1), taken to the nearest multiple of 2**-32.

    Returns:
        A boolean tensor of the given shape, equal on every backend for equal arguments.
    """
    return _keep(random_bits(shape, seed), rate)


def _keep(bits, rate):
    threshold = min(round(rate * 2**32), 2**32 - 1)
    if _word_dtype() == "int32":  # order the signed words as the unsigned ones are ordered
        return ops.bitwise_xor(bits, _word(_SIGN_BIT)) >= threshold - _SIGN_BIT
    return bits >= np.uint32(threshold)


class DropoutMask(NamedTuple):
    """What dropout does in one call: which weights it keeps is a function of their place and the seed.

    Attributes:
        rate: float in (0, 1).
        seed: integer tensor of shape `(2,)`.
    """

    rate: float
    seed: Any

    def apply(self, x, rows=None, columns=None, width=None):
        """Returns x with a fraction of its elements set to zero and the rest scaled by 1 / (1 - rate).

        Args:
            x: float tensor, the whole or a part of what is dropped from.
            rows: int32 tensor with the part's shape less the last axis: the rows that it lies in, counted over all axes but
                the last; `None` for the whole.
            columns: int32 tensor, the places that the part has on the last axis.
            width: int, the length of the last axis of the whole.
        """
        if rows is None:
            keep = keep_mask(ops.shape(x), self.seed, self.rate)
        else:
            keep = _keep(_bits_at(rows, columns, width, self.seed), self.rate)
        return ops.where(keep, x * ops.cast(1.0 / (1.0 - self.rate), x.dtype), ops.zeros((), dtype=x.dtype))


def top_bits(shape, seed, count):
    """Returns the topmost bits of `random_bits` as int32 numbers in [0, 2**count), with count < 32.

    Args:
        shape: tuple of integers (or scalar integer tensors).
        seed: integer tensor of shape `(2,)`.
        count: int.

    Returns:
        An int32 tensor of the given shape, equal on every backend for equal arguments.
    """
    return ops.cast(_shift_right(random_bits(shape, seed), 32 - count), "int32")


def top_bits_of_rows(rows, width, seeds, count):
    """Returns what `top_bits` has, for a matrix (.., C) of that width, in some rows, each drawn with a seed of its own.

    Args:
        rows: int32 tensor (R,).
        width: int, C.
        seeds: integer tensor (2, R).
        count: int.

    Returns:
        An int32 tensor (R, C).
    """
    columns = ops.arange(width, dtype="int32")
    return ops.cast(_shift_right(_bits_at(rows, columns, width, seeds), 32 - count), "int32")
