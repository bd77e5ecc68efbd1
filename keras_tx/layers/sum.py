"""Keras' sum of tensors, for empty ones too."""

import keras


@keras.saving.register_keras_serializable(package="keras_tx")
class Sum(keras.layers.Add):
    """`keras.layers.Add` of tensors of one shape.

    Keras takes a tensor (1, 0, D) for a bias (D,) on TensorFlow, and fails.
    """

    is_stepwise = True

    def call(self, inputs):
        first, *others = inputs
        for other in others:
            first = first + other
        return first
