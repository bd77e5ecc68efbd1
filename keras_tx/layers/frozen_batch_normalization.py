"""Batch normalization whose statistics and scales stay what they were."""

import keras
from keras import ops

from .. import arguments
from . import config, input_checks, sublayers
from .traced_subclasses import TracedSubclasses


@keras.saving.register_keras_serializable(package="keras_tx")
class FrozenBatchNormalization(TracedSubclasses, keras.layers.Layer):
    """Normalizes by the statistics of an earlier training, in training too, and learns nothing.

    y = gamma (x - m) / sqrt(v + epsilon) + beta. It is `keras.layers.BatchNormalization` with `trainable=False`, which a
    model that is made trainable as a whole would make trainable again. Detectors are trained with few images a step, whose own
    statistics are too noisy. It is computed in float32 or wider.

    Args:
        epsilon: float.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, ..., C).

    Returns:
        A tensor like the inputs.

    Raises:
        ValueError: for an `epsilon` that is not positive, and inputs of another width than built.

    Example:

    ```python
    y = keras_tx.layers.FrozenBatchNormalization()(keras.ops.zeros((2, 3, 5, 32)))  # (2, 3, 5, 32)
    ```

    Reference:
        Carion et al. 2020, "End-to-End Object Detection with Transformers", section A.4.
    """

    def __init__(self, epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = arguments.positive_float("epsilon", epsilon)
        self.supports_masking = True

    def build(self, input_shape):
        self.hidden_dim = input_checks.hidden_size("inputs", input_shape)

        def weight(name, initializer):
            options = {"trainable": False, "autocast": False}
            return self.add_weight((self.hidden_dim,), initializer, name=name, **options)

        self.gamma, self.beta = weight("gamma", "ones"), weight("beta", "zeros")
        self.moving_mean, self.moving_variance = weight("moving_mean", "zeros"), weight("moving_variance", "ones")

    def call(self, inputs):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim)
        wide = keras.backend.result_type(self.variable_dtype, "float32")
        gamma, beta, mean, variance = (
            ops.cast(weight, wide) for weight in (self.gamma, self.beta, self.moving_mean, self.moving_variance)
        )
        scale = gamma * ops.rsqrt(variance + self.epsilon)
        # In half floats the product and the offset overflow, or cancel to nothing, where means are large.
        return ops.cast(ops.cast(inputs, wide) * scale + (beta - mean * scale), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def compute_output_spec(self, inputs):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim)
        return sublayers.like_inputs(self, inputs)

    def get_config(self):
        return config.of(FrozenBatchNormalization, self, super().get_config())
