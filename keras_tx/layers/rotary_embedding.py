"""Rotary positions, for the `rotary` slot of an attention."""

import keras

from .. import arguments
from ..ops import frequencies
from ..ops import positions as positions_ops
from . import config, given_positions, input_checks, sublayers
from .traced_subclasses import TracedSubclasses


@keras.saving.register_keras_serializable(package="keras_tx")
class RotaryEmbedding(TracedSubclasses, keras.layers.Layer):
    """Rotates queries and keys by their position, so that their product depends on the distance alone.

    The pair (x_i, x_{i + R/2}) at position p turns by the angle p max_wavelength^(-2i / R), i < R/2. No weights.

    Args:
        max_wavelength: float, the base of the geometric row of wavelengths.
        rotary_dim: int, R, even: how many numbers of a head are rotated, the first ones; `None` for all, H.
        interleaved: bool, whether the pairs are (x_{2i}, x_{2i + 1}), as GPT-J has them.
        scaling: dict for texts longer than those of training, as configs on Hugging Face say it: "type" (or "rope_type"), one of
            "linear", "llama3", "yarn" and "longrope", and the keys of that type, which `keras_tx.ops.frequencies` explains, or
            "default"; `None` for none. "longrope" has two lists of factors, of which "factors", "short" (its default) or "long",
            chooses one for texts of any length, as a choice by the length would leave the keys in a cache behind.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (..., T, N, H), as (B, T, N, H), or without heads (B, T, H).
        positions: integer tensor (T,), or (..., T) as the inputs have it; `None` for 0 .. T - 1.

    Returns:
        A tensor like the inputs.

    Raises:
        ValueError: if R is odd or above H, the inputs have less than 3 axes, or `max_wavelength` is not positive; for a scaling
            of another type, without a key of its type, or with one that its type does not have; for positions of another shape,
            or that are no integers.

    Example:

    ```python
    rotary = keras_tx.layers.RotaryEmbedding()
    layer = keras_tx.layers.MultiHeadSelfAttention(num_heads=4, causal=True, rotary=rotary)
    y = layer(keras.random.normal((2, 7, 32)))
    ```

    Reference:
        Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding", section 3.2.2; Peng et al. 2023, "YaRN";
        Ding et al. 2024, "LongRoPE".
    """

    goes_by_positions = True

    def __init__(self, max_wavelength=10_000.0, rotary_dim=None, interleaved=False, scaling=None, **kwargs):
        super().__init__(**kwargs)
        self.max_wavelength = arguments.positive_float("max_wavelength", max_wavelength)
        self.rotary_dim = arguments.positive_int("rotary_dim", rotary_dim, optional=True)
        if self.rotary_dim is not None and self.rotary_dim % 2:
            raise ValueError(f"`rotary_dim` must be even. Received: rotary_dim={rotary_dim}.")
        self.interleaved = arguments.flag("interleaved", interleaved)
        self.scaling = frequencies.read_scaling(scaling)
        self.autocast = False  # positions must reach the check as they came

    def build(self, inputs_shape, positions_shape=None):
        self._check_shape(inputs_shape)
        frequencies.frequencies(self.rotary_dim or inputs_shape[-1], self.max_wavelength, self.scaling)

    def call(self, inputs, positions=None):
        positions = self._check(inputs, positions)
        if positions is None:
            positions = positions_ops.position_ids(keras.ops.shape(inputs)[len(_places(inputs.shape)) - 1])
        inputs = keras.ops.cast(inputs, self.compute_dtype)
        return positions_ops.rotate(
            inputs, positions, self.max_wavelength, self.rotary_dim, self.interleaved, self.scaling
        )

    def compute_output_shape(self, inputs_shape, positions_shape=None):
        return tuple(inputs_shape)

    def compute_output_spec(self, inputs, positions=None):
        self._check(inputs, positions)
        return sublayers.like_inputs(self, inputs)

    def get_config(self):
        return config.of(RotaryEmbedding, self, super().get_config())

    def _check(self, inputs, positions):
        input_checks.check_float("inputs", inputs)
        self._check_shape(inputs.shape)
        return given_positions.read(positions, _places(inputs.shape))

    def _check_shape(self, shape):
        least = self.rotary_dim or 2
        if len(shape) < 3 or shape[-1] is None or shape[-1] < least or (self.rotary_dim is None and shape[-1] % 2):
            size = "even size" if self.rotary_dim is None else f"at least rotary_dim={self.rotary_dim}"
            raise ValueError(
                f"`inputs` must have at least 3 axes, the last of {size}. Received: inputs of shape {tuple(shape)}."
            )


def _places(shape):
    """(..., T) of inputs (..., T, N, H) or (B, T, H)."""
    return tuple(shape[: max(2, len(shape) - 2)])
