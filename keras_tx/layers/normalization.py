"""Keras' layer normalization, in the form that takes TensorFlow's graphs the fewest passes, and that torch exports to ONNX."""

import keras
from keras import ops

from ..ops import sizes


@keras.saving.register_keras_serializable(package="keras_tx")
class LayerNormalization(keras.layers.LayerNormalization):
    """`keras.layers.LayerNormalization` over the last axis. Its statistics run in float32 or wider."""

    def call(self, inputs):
        # torch's own takes no size that is known only when a traced program runs, and ONNX none that is not a constant.
        is_known = keras.backend.backend() != "tensorflow" and sizes.known(inputs.shape[-1]) is not None
        if is_known or self.rms_scaling:
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
