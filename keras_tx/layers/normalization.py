"""Keras' layer normalization, in the form that takes TensorFlow's graphs the fewest passes."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_tx")
class LayerNormalization(keras.layers.LayerNormalization):
    """`keras.layers.LayerNormalization` over the last axis. Its statistics run in float32 or wider."""

    def call(self, inputs):
        if keras.backend.backend() != "tensorflow" or self.rms_scaling:
            return super().call(inputs)
        # Centred once: the variance and the outputs share it, and the gradient has fewer terms.
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        x = x - ops.mean(x, axis=-1, keepdims=True)
        x = x * ops.rsqrt(ops.mean(x * x, axis=-1, keepdims=True) + self.epsilon)
        if self.gamma is not None:
            x = x * ops.cast(self.gamma, x.dtype)
        if self.beta is not None:
            x = x + ops.cast(self.beta, x.dtype)
        return ops.cast(x, self.compute_dtype)
