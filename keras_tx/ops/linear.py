"""Products with a matrix in the forms that a backend streams and fuses: all that is tuned for one stands here.

TensorFlow's graphs fuse a product, its bias and an activation only as `MatMul`, `BiasAdd` and the activation on matrices. What
Keras' layers make of inputs of three axes, with a reshape before an addition that broadcasts, runs as three passes or more.
"""

import math

import keras
from keras import ops

from . import sizes

_PARTS = 4


def is_one_row(x, contracted=1):
    """Whether the product over the last `contracted` axes of a tensor is better formed by `row_times_matrix`.

    XLA of TensorFlow makes the product of one row on a CPU a loop on one thread, in one with what follows, unless the
    product has a batch axis. It reads 8 GB of weights a second where the sum of four partial products reaches 20 and
    more (see `benchmarks/RESULTS.md`).
    """
    if keras.backend.backend() != "tensorflow":
        return False
    row, columns = x.shape[:-contracted], x.shape[-contracted:]
    return len(row) > 1 and all(size == 1 for size in row) and math.prod(columns) % _PARTS == 0


def fuses_flat(x):
    """Whether the backend gains by `flat_product`: TensorFlow alone, whose other compiler, XLA, does not mind."""
    return keras.backend.backend() == "tensorflow" and len(x.shape) > 1


def flatten(x, contracted=1):
    """(..., K) -> (rows, K), the last `contracted` axes taken as one of known size."""
    return ops.reshape(x, (-1, math.prod(x.shape[-contracted:])))


def flat_product(x, kernel, bias=None, contracted=1):
    """Multiplies with a matrix and adds a bias.

    Args:
        x: float tensor (..., K), the last `contracted` axes of known size.
        kernel: float tensor (K, M), of as many contracted axes, and one or more others.
        bias: float tensor (M,), of the kernel's other axes, or `None`.
        contracted: int.

    Returns:
        A float tensor (..., M).
    """
    import tensorflow as tf

    kernel = ops.convert_to_tensor(kernel)
    outputs = kernel.shape[contracted:]
    width = math.prod(outputs)
    y = ops.matmul(flatten(x, contracted), ops.reshape(kernel, (-1, width)))  # (rows, M)
    if bias is not None:
        y = tf.nn.bias_add(y, ops.cast(ops.reshape(bias, (width,)), y.dtype))
    if len(x.shape) - contracted == 1 and len(outputs) == 1:
        return y
    return ops.reshape(y, (*ops.shape(x)[: len(x.shape) - contracted], *outputs))


def over_rows(function, x):
    """Calls a function of rows with all rows of a tensor, laid out as a matrix once, so that nothing stands between its products
    and what follows them.

    Args:
        function: rows (..., K) -> rows (..., M).
        x: float tensor (..., K).

    Returns:
        A float tensor (..., M).
    """
    if not fuses_flat(x) or is_one_row(x):
        return function(x)
    y = function(flatten(x))  # (rows, M)
    return ops.reshape(y, (*ops.shape(x)[:-1], y.shape[-1]))


def row_times_matrix(row, kernel, contracted=1):
    """Multiplies a single row with a matrix.

    Args:
        row: float tensor: axes of size 1, and `contracted` axes.
        kernel: float tensor of the same `contracted` axes, and others.
        contracted: int.

    Returns:
        A float tensor: the row's axes of size 1, and the kernel's others.
    """
    size, outputs = math.prod(kernel.shape[:contracted]), kernel.shape[contracted:]
    row_parts = ops.reshape(row, (_PARTS, size // _PARTS))
    kernel_parts = ops.reshape(kernel, (_PARTS, size // _PARTS, math.prod(outputs)))
    product = ops.sum(ops.einsum("pk,pkn->pn", row_parts, kernel_parts), axis=0)
    return ops.reshape(product, (*row.shape[:-contracted], *outputs))


def rows_times_table(rows, table):
    """Multiplies rows (T, D) with each row of a table (V, D), giving (T, V).

    XLA would write a transposed table out at every step of a decoding loop; and of a single row it makes a loop on one
    thread, unless the table comes first.
    """
    if sizes.known(rows.shape[0]) == 1:
        return ops.reshape(ops.einsum("vd,td->vt", table, rows), (1, table.shape[0]))
    return ops.einsum("td,vd->tv", rows, table)
