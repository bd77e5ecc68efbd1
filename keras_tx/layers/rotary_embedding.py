"""Rotary positions, for the `rotary` slot of an attention."""

import keras

from .. import arguments
from ..ops import positions as positions_ops
from . import config, given_positions, input_checks, sublayers
from .traced_subclasses import TracedSubclasses


@keras.saving.register_keras_serializable(package="keras_tx")
class RotaryEmbedding(TracedSubclasses, keras.layers.Layer):
    """Rotates queries and keys by their position, so that their product depends on the distance alone.

    The pair (x_i, x_{i + H/2}) at position p turns by the angle p max_wavelength^(-2i / H). No weights.

    Args:
        max_wavelength: float, the base of the geometric row of wavelengths.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (..., T, N, H), as (B, T, N, H), or without heads (B, T, H); H even.
        positions: integer tensor (T,), or (..., T) as the inputs have it; `None` for 0 .. T - 1.

    Returns:
        A tensor like the inputs.

    Raises:
        ValueError: if H is odd, the inputs have less than 3 axes, or `max_wavelength` is not positive; for positions of
            another shape, or that are no integers.

    Example:

    ```python
    rotary = keras_tx.layers.RotaryEmbedding()
    layer = keras_tx.layers.MultiHeadSelfAttention(num_heads=4, causal=True, rotary=rotary)
    y = layer(keras.random.normal((2, 7, 32)))
    ```

    Reference:
        Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding", section 3.2.2.
    """

    def __init__(self, max_wavelength=10_000.0, **kwargs):
        super().__init__(**kwargs)
        self.max_wavelength = arguments.positive_float("max_wavelength", max_wavelength)
        self.autocast = False  # positions must reach the check as they came

    def build(self, inputs_shape, positions_shape=None):
        _check_shape(inputs_shape)

    def call(self, inputs, positions=None):
        positions = _check(inputs, positions)
        if positions is None:
            positions = positions_ops.counted(keras.ops.shape(inputs)[len(_places(inputs.shape)) - 1])
        inputs = keras.ops.cast(inputs, self.compute_dtype)
        return positions_ops.rotate(inputs, positions, self.max_wavelength)

    def compute_output_shape(self, inputs_shape, positions_shape=None):
        return tuple(inputs_shape)

    def compute_output_spec(self, inputs, positions=None):
        _check(inputs, positions)
        return sublayers.like_inputs(self, inputs)

    def get_config(self):
        return config.of(RotaryEmbedding, self, super().get_config())


def _check(inputs, positions):
    input_checks.check_float("inputs", inputs)
    _check_shape(inputs.shape)
    return given_positions.read(positions, _places(inputs.shape))


def _check_shape(shape):
    if len(shape) < 3 or shape[-1] is None or shape[-1] % 2:
        raise ValueError(
            f"`inputs` must have at least 3 axes, the last of even size. Received: inputs of shape {tuple(shape)}."
        )


def _places(shape):
    """(..., T) of inputs (..., T, N, H) or (B, T, H)."""
    return tuple(shape[: max(2, len(shape) - 2)])
