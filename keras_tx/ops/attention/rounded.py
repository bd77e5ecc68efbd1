"""Keys and values of a cache that are rounded to eight bits, and the products with them.

A vector x, that of a position and a key head, is held as integers n from -127 to 127 and its largest number m = max |x|:
x^ = n m / 127, so that |x - x^| <= m / 254. The products are those with n, which each float dtype holds exactly; m / 127 goes
onto the scores of a key, and onto the weight of a value. So nothing is kept as wide as it was before it was rounded.
"""

from typing import Any, NamedTuple

import keras
from keras import ops

from .. import sizes

STEPS = 127


class Rounded(NamedTuple):
    """Vectors (..., H) of a cache, rounded: a pytree.

    Attributes:
        numbers: int8 tensor (..., H).
        largest: float tensor (..., 1) in the dtype of what was rounded, max |x|; NaN for a vector that is not finite.
    """

    numbers: Any
    largest: Any

    @property
    def shape(self):
        """The shape of the vectors (..., H)."""
        return self.numbers.shape

    @property
    def dtype(self):
        """The dtype that they are held in, int8."""
        return self.numbers.dtype

    @classmethod
    def of(cls, x):
        """Returns float vectors (..., H) rounded."""
        # Of no vectors Keras refuses the largest.
        empty = 0 in map(sizes.known, x.shape)
        largest = ops.abs(x[..., :1]) if empty else ops.max(ops.abs(x), axis=-1, keepdims=True)
        good = ops.isfinite(largest)
        wide = keras.backend.result_type(x.dtype, "float32")
        scale = ops.where(ops.logical_and(good, largest > 0), ops.cast(largest, wide), ops.ones((), dtype=wide)) / STEPS
        numbers = ops.round(ops.cast(ops.where(good, x, ops.zeros((), dtype=x.dtype)), wide) / scale)
        return cls(ops.cast(numbers, "int8"), ops.where(good, largest, ops.cast(float("nan"), x.dtype)))

    def floats(self, dtype="float32"):
        """Returns the vectors as floats."""
        wide = keras.backend.result_type(self.largest.dtype, "float32")
        return ops.cast(ops.cast(self.numbers, wide) * _scale(self, wide), dtype)


def zeros(shape, dtype, cache_dtype=None):
    """Returns vectors of zeros for a cache, `Rounded` where the `cache_dtype` is "int8"."""
    if cache_dtype is None:
        return ops.zeros(shape, dtype=dtype)
    return Rounded(ops.zeros(shape, dtype=cache_dtype), ops.zeros((*shape[:-1], 1), dtype=dtype))


def as_held(x, held):
    """Returns float vectors as others are held: rounded, or in their dtype."""
    if isinstance(held, Rounded):
        return Rounded.of(ops.cast(x, held.largest.dtype))
    return ops.cast(x, held.dtype)


def each(function, *vectors):
    """Applies a function to the tensors of vectors that are held alike: to the numbers and to the largest of rounded ones."""
    if isinstance(vectors[0], Rounded):
        return Rounded(*(function(*parts) for parts in zip(*vectors, strict=True)))
    return function(*vectors)


def length(vectors):
    """Returns S of vectors (B, S, ...), an int or a scalar tensor."""
    return ops.shape(vectors.numbers if isinstance(vectors, Rounded) else vectors)[1]


def scores(query, key, wide):
    """Q K^T in float32 or wider.

    Args:
        query: float tensor (B M, T, H).
        key: float tensor (B M, S, H) of the same dtype, or `Rounded`.
        wide: dtype of what comes back.

    Returns:
        Float tensor (B M, T, S).
    """
    numbers = ops.cast(key.numbers, query.dtype) if isinstance(key, Rounded) else key
    products = ops.cast(ops.einsum("xth,xsh->xts", query, numbers), wide)
    return products * ops.swapaxes(_scale(key, wide), 1, 2) if isinstance(key, Rounded) else products


def mixture(weights, value):
    """W V.

    Args:
        weights: float tensor (B M, T, S).
        value: float tensor (B M, S, H) of the same dtype, or `Rounded`.

    Returns:
        Float tensor (B M, T, H) of the weights' dtype.
    """
    if not isinstance(value, Rounded):
        return ops.matmul(weights, value)
    wide = keras.backend.result_type(weights.dtype, "float32")
    # Of a small weight and a small scale float16 does not hold the product.
    dtype = wide if keras.backend.standardize_dtype(weights.dtype) == "float16" else weights.dtype
    scaled = ops.cast(ops.cast(weights, wide) * ops.swapaxes(_scale(value, wide), 1, 2), dtype)
    return ops.cast(ops.matmul(scaled, ops.cast(value.numbers, dtype)), weights.dtype)


def _scale(x, dtype):
    """m / 127, (..., 1)."""
    return ops.cast(x.largest, dtype) / STEPS
