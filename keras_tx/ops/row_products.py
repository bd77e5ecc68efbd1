"""Products of one row, or a few, with a matrix, in forms that XLA streams through memory on all cores."""

import math

import keras
from keras import ops

from . import sizes

_PARTS = 4


def applies(x, contracted=1):
    """Whether the product over the last `contracted` axes of a tensor is better formed by `row_times_matrix`.

    XLA of TensorFlow makes the product of one row on a CPU a loop on one thread, in one with what follows, unless the
    product has a batch axis. It reads 8 GB of weights a second where the sum of four partial products reaches 20 and
    more (see `benchmarks/RESULTS.md`).
    """
    if keras.backend.backend() != "tensorflow":
        return False
    row, columns = x.shape[:-contracted], x.shape[-contracted:]
    return len(row) > 1 and all(size == 1 for size in row) and math.prod(columns) % _PARTS == 0


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
