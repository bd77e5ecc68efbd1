"""The mean over the real positions of a sequence or a map."""

import math

import keras
from keras import ops

from .. import arguments
from ..ops import masks, padding
from . import config, input_checks
from .traced_subclasses import TracedSubclasses


@keras.saving.register_keras_serializable(package="keras_tx")
class MaskedMeanPooling(TracedSubclasses, keras.layers.Layer):
    """Averages a sequence, or a map, over its real positions; one that has none gives zeros.

    y = sum_t m_t x_t / max(1, sum_t m_t), summed in float32 or wider. Padding may hold anything, NaN included.

    Args:
        skip: int, how many positions at the start of a sequence are left out, such as class tokens.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, T, D), or (B, Y, X, D), or of higher rank.
        mask: boolean tensor (B, T), or (B, Y, X); `None` for the mask that Keras carries, if any, else all positions are real.

    Returns:
        A float tensor (B, D).

    Raises:
        ValueError: for a `skip` out of range, inputs of another rank (with a `skip`, than 3), and a mask that holds other
            numbers than 0 and 1 or has another shape.

    Example:

    ```python
    y = keras_tx.layers.MaskedMeanPooling()(keras.ops.ones((2, 3, 4)))  # (2, 4)
    ```

    Reference:
        Reimers and Gurevych 2019, "Sentence-BERT", section 3 (the MEAN strategy).
    """

    def __init__(self, skip=0, **kwargs):
        super().__init__(**kwargs)
        self.skip = arguments.integer("skip", skip, least=0)
        self.built = True

    def call(self, inputs, mask=None):
        mask = self._read_mask(inputs, mask)
        if self.skip:
            inputs, mask = inputs[:, self.skip :], None if mask is None else mask[:, self.skip :]
        wide = keras.backend.result_type(inputs.dtype, "float32")
        axes = tuple(range(1, len(inputs.shape) - 1))
        total = ops.sum(ops.cast(padding.zero_masked(inputs, mask), wide), axis=axes)
        if mask is None:
            count = ops.cast(math.prod(ops.shape(inputs)[1:-1]), wide)
        else:
            count = ops.sum(ops.cast(mask, wide), axis=axes)[:, None]
        return ops.cast(total / ops.maximum(count, 1.0), inputs.dtype)

    def _read_mask(self, inputs, mask):
        input_checks.check_float("inputs", inputs)
        if len(inputs.shape) < 3 or (self.skip and len(inputs.shape) > 3):
            axes = "3 axes where `skip` is set" if self.skip else "at least 3 axes"
            raise ValueError(f"`inputs` must have {axes}. Received: inputs of shape {tuple(inputs.shape)}.")
        return masks.over_positions(inputs, mask)

    def compute_mask(self, inputs, previous_mask):
        return None

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[-1])

    def compute_output_spec(self, inputs, mask=None):
        self._read_mask(inputs, mask)
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)

    def get_config(self):
        return config.of(MaskedMeanPooling, self, super().get_config())
