"""Products of vectors with a matrix, with the axes before the vectors laid into one, as TensorFlow's graphs fuse them.

Grappler fuses a product, its bias and an activation only as `MatMul`, `BiasAdd` and the activation on matrices. What Keras'
layers make of inputs of three axes, with a reshape before an addition that broadcasts, runs as three passes or more.
"""

import math

import keras
from keras import ops


def applies(x):
    """Whether the backend gains: TensorFlow alone, whose other compiler, XLA, does not mind."""
    return keras.backend.backend() == "tensorflow" and len(x.shape) > 1


def flatten(x, contracted=1):
    """(..., K) -> (rows, K), the last `contracted` axes taken as one of known size."""
    return ops.reshape(x, (-1, math.prod(x.shape[-contracted:])))


def product(x, kernel, bias=None, contracted=1):
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
    y = ops.matmul(flatten(x, contracted), ops.reshape(kernel, (-1, width)))
    if bias is not None:
        y = tf.nn.bias_add(y, ops.cast(ops.reshape(bias, (width,)), y.dtype))
    if len(x.shape) - contracted == 1 and len(outputs) == 1:
        return y
    return ops.reshape(y, (*ops.shape(x)[: len(x.shape) - contracted], *outputs))
