"""Activations that Keras has no name for, and forms of others that TensorFlow runs in one with the product before them."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_tx")
def gelu_tanh(x):
    """GELU in its tanh form, 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))); Keras' "gelu" is the exact one.

    Args:
        x: float tensor.

    Returns:
        A tensor like `x`.

    Reference:
        Hendrycks and Gimpel 2016, "Gaussian Error Linear Units", section 2.
    """
    return keras.activations.gelu(x, approximate=True)


def fusible(activation):
    """Returns the form of an activation in which TensorFlow's graphs fuse it with the product before it; the same numbers.

    TensorFlow writes the exact GELU with erfc, which takes three times as long as erf in bfloat16 where nothing is fused, as in
    training. Only a product whose bias is added by `linear.flat_product` fuses with it.
    """
    is_gelu = activation is keras.activations.gelu and keras.backend.backend() == "tensorflow"
    return _gelu if is_gelu else activation


def _gelu(x):
    one, half, scale = (ops.cast(value, x.dtype) for value in (1.0, 0.5, 0.7071067811865476))
    return (x * half) * (ops.erf(x * scale) + one)
