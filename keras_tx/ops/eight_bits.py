"""Products with a matrix of integers in eight bits, which stay in eight bits while a compiled loop over tokens runs.

What a loop makes of weights is the same in every turn, and XLA's processor compiler takes it out of the loop: before the first
token it would widen all matrices, and hold and read them in floats. So the integers go through an exclusive or with a zero that
hangs on the step's inputs, which is the same number and no longer the same in every turn.
"""

import keras
from keras import ops

from . import linear, sizes
from .attention.fused import on_gpu
from .concrete import is_traced
from .custom_gradient import custom_gradient

# How many numbers of a matrix are widened at a time for one row and for few, what a core's cache holds; in so many parts at most.
_ONE_ROW, _FEW_ROWS, _PARTS = 2**20, 2**18, 16
_FEW = 256


def product(inputs, integers, scale, dtype, rounded=None, contracted=1):
    """Multiplies inputs with the matrix that integers stand for, y = x (N / s)^T, or with the inputs rounded too.

    Sums of rounded inputs are exact, as those of integers in 32 bits, up to 2**24: of 1,040 numbers at their largest, of
    many more else. Gradients pass straight through what is rounded.

    Args:
        inputs: float tensor (..., D), the last `contracted` axes of known size.
        integers: int8 tensor (F, D): what a sum runs over lies side by side.
        scale: float tensor (F,), which an output is divided by.
        dtype: str, of what is returned.
        rounded: function from the inputs to int8 numbers and the scale of each row, or `None` for inputs as they are.
        contracted: int.

    Returns:
        A float tensor (rows, F).
    """

    def forward(inputs, integers, scale):
        numbers, steps = (inputs, None) if rounded is None else rounded(inputs)
        rows, step = (linear.flatten(each, contracted) for each in (numbers, inputs))
        sums = ops.cast(_sums(rows, integers, step), dtype)
        divisor = scale if steps is None else ops.multiply(ops.reshape(steps, (-1, 1)), scale)
        return (ops.divide(sums, divisor),), (integers, scale)

    def backward(residuals, upstream):
        integers, scale = residuals
        floats = ops.divide(ops.cast(integers, dtype), scale[:, None])
        gradient = ops.reshape(ops.matmul(upstream[0], floats), ops.shape(inputs))
        return ops.cast(gradient, inputs.dtype), None, None

    return custom_gradient(forward, backward)(inputs, integers, scale)[0]


def _sums(rows, integers, step):
    """The sums (T, F) of the products of rows (T, D) with integers (F, D); `step` holds the rows as they were."""
    if on_gpu(rows):
        return ops.matmul(rows, ops.transpose(integers))
    if keras.backend.backend() == "torch":
        return _torch_sums(rows, integers)
    number, in_loop = sizes.known(rows.shape[0]), is_traced(step)
    widen = keras.backend.standardize_dtype(rows.dtype)
    if number == 1 or "int" in widen:
        widen = "float64" if widen == "float64" else "float32"
    rows = ops.cast(rows, widen)
    sums = []
    for part in _parts(integers, number):
        if number != 0 and in_loop:
            # From the second part on the zero hangs on the sums before: else XLA would widen all parts, and then multiply.
            other = _never(sums[-1] if sums else step)
            part = ops.bitwise_xor(part, ops.cast(other, "int8"))
            if number == 1 and not sums:
                # XLA would compute each number of a row anew for each output; what has been divided it writes down once.
                rows = ops.divide(rows, ops.where(other, 2.0, 1.0))
        sums.append(_times(rows, ops.cast(part, widen), number))
    return sums[0] if len(sums) == 1 else ops.concatenate(sums, -1)


def _times(rows, matrix, number):
    """(T, D) and (F, D) -> (T, F)."""
    return ops.einsum("fd,d->f", matrix, rows[0])[None] if number == 1 else ops.einsum("td,fd->tf", rows, matrix)


def _never(step):
    """A boolean that is False, which no compiler knows."""
    largest, smallest = (function(step[:1], initial=0) for function in (ops.max, ops.min))  # 0, as there may be no rows
    return ops.logical_and(ops.less(largest, smallest), ops.less(smallest, largest))


def _parts(integers, number):
    """Lists rows of a matrix that are widened at a time, when it is multiplied with so many, or an unknown number."""
    size, width = integers.shape
    fused = number == 1 and keras.backend.backend() == "tensorflow"  # its XLA widens a number as it multiplies it
    if fused or number is None or number > _FEW:
        return [integers]
    count = max(1, min(_PARTS, size, size * width // (_ONE_ROW if number == 1 else _FEW_ROWS)))
    return [integers[size * place // count : size * (place + 1) // count] for place in range(count)]


def _torch_sums(rows, integers):
    import torch

    multiply = getattr(torch, "_int_mm", None)
    if multiply is not None and rows.dtype == torch.int8 and len(rows) and not is_traced(rows):
        try:
            return multiply(rows, integers.t())
        except RuntimeError:  # sizes or a device that it does not take
            pass
    return ops.matmul(rows, ops.transpose(integers))
