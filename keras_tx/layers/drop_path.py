"""Stochastic depth."""

import keras

from .. import arguments
from . import config, input_checks, sublayers
from .composite import Composite
from .dropout import Dropout


@keras.saving.register_keras_serializable(package="keras_tx")
class DropPath(Composite, keras.layers.Layer):
    """Drops the whole branch for a sample, with the given probability, in training (stochastic depth).

    y = m * x / (1 - rate), with one m per sample.

    Args:
        rate: float in [0, 1), the probability of dropping a sample's branch.
        seed: integer in [0, 2**31), or `None`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, ...), the output of a residual branch.
        training: bool. Outside training the inputs are returned as they are.

    Returns:
        A tensor like the inputs.

    Raises:
        ValueError: if the rate or the seed lies outside its range, and for inputs that are no floats or of another
            rank.

    Example:

    ```python
    layer = keras_tx.layers.DropPath(0.1)
    y = layer(keras.ops.ones((4, 3, 8)), training=True)
    ```

    Reference:
        Huang et al. 2016, "Deep Networks with Stochastic Depth", section 3.
    """

    is_stepwise = True

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.rate = arguments.rate("rate", rate)
        self.seed = arguments.seed("seed", seed)
        self.supports_masking = True
        self.dropout = None

    def build(self, input_shape):
        if self.dropout is None:
            noise_shape = (None,) + (1,) * (len(input_shape) - 1)
            self.dropout = Dropout(self.rate, noise_shape, self.seed, name="dropout", dtype=self.dtype_policy)
        self.rank = len(input_shape)

    def call(self, inputs, training=False):
        self._check(inputs)
        return self.dropout(inputs, training=training)

    def _check(self, inputs):
        input_checks.check_float("inputs", inputs)
        if len(inputs.shape) != self.rank:
            raise ValueError(
                f"`inputs` must have {self.rank} axes as built. Received: inputs of shape {tuple(inputs.shape)}."
            )

    def compute_output_shape(self, input_shape):
        return input_shape

    def compute_output_spec(self, inputs, training=False):
        self._check(inputs)
        return sublayers.like_inputs(self, inputs)

    def get_config(self):
        return config.of(DropPath, self, super().get_config())
