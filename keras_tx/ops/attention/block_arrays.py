"""Arrays that are cut into blocks: how they are filled up, and how a block is taken and put back."""

from keras import ops


def transpose(x):
    """(..., R, C) -> (..., C, R)."""
    return ops.swapaxes(x, -1, -2)


def _start(x, i):
    zero = ops.zeros((), dtype="int32")
    return ops.stack([ops.cast(i, "int32"), *([zero] * (len(x.shape) - 1))])


def block_at(x, i):
    """x[i]."""
    return ops.slice(x, _start(x, i), (1, *ops.shape(x)[1:]))[0]


def set_block(x, i, block):
    """x, with x[i] = block."""
    return ops.slice_update(x, _start(x, i), block[None])


def cut_positions(x, size, count):
    """(B, T) -> (blocks, B, size)."""
    return ops.transpose(ops.reshape(pad(x, 1, size * count), (-1, count, size)), (1, 0, 2))


def pad(x, axis, size):
    """Fills an axis up with zeros."""
    missing = size - x.shape[axis]
    return ops.pad(x, [(0, missing if each == axis else 0) for each in range(len(x.shape))]) if missing else x
