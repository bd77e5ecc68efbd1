"""A learned gain for each channel of a residual branch."""

import keras

from .. import arguments
from . import config, input_checks, sublayers
from .traced_subclasses import TracedSubclasses


@keras.saving.register_keras_serializable(package="keras_tx")
class LayerScale(TracedSubclasses, keras.layers.Layer):
    """Multiplies each channel by a learned gain, so that a deep residual network starts near the identity.

    y = g * x, with g (D,) the same at each position.

    Args:
        initial_value: float, with which each gain starts.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (..., D), what a residual branch gives.

    Returns:
        A tensor like the inputs.

    Raises:
        ValueError: if the value is no finite number, and for inputs that are no floats or of another width than built.

    Example:

    ```python
    layer = keras_tx.layers.LayerScale(1e-4)
    y = layer(keras.ops.ones((2, 3, 8)))
    ```

    Reference:
        Touvron et al. 2021, "Going deeper with Image Transformers", section 2.
    """

    is_stepwise = True

    def __init__(self, initial_value=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.initial_value = arguments.finite_float("initial_value", initial_value)
        self.supports_masking = True

    def build(self, input_shape):
        self.hidden_dim = input_checks.hidden_size("inputs", input_shape, least=1)
        initializer = keras.initializers.Constant(self.initial_value)
        self.gain = self.add_weight(name="gain", shape=(self.hidden_dim,), initializer=initializer)

    def call(self, inputs):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, least=1)
        return inputs * self.gain

    def compute_output_shape(self, input_shape):
        return input_shape

    def compute_output_spec(self, inputs):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, least=1)
        return sublayers.like_inputs(self, inputs)

    def get_config(self):
        return config.of(LayerScale, self, super().get_config())
