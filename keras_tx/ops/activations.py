"""Activations that Keras has no name for."""

import keras


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
