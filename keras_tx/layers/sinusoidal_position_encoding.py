"""Fixed sinusoidal positions, added to the inputs."""

import keras
from keras import ops

from ..ops import masks, positions
from . import arguments, decode_state, sublayers


@keras.saving.register_keras_serializable(package="keras_tx")
class SinusoidalPositionEncoding(keras.layers.Layer):
    """Adds sine and cosine waves of geometrically growing length, so that each position is marked. No weights, any
    length.

    y_p = x_p + PE(p) with PE(p, 2i) = sin(p / w^(2i/D)), PE(p, 2i + 1) = cos(p / w^(2i/D)), w = `max_wavelength`.

    Args:
        max_wavelength: float.
        interleaved: bool, whether sine and cosine of a frequency stand side by side, as above; else all sines come
            first and then all cosines, as in Marian's models.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, T, D).
        mask: boolean tensor (B, T), used with a cache alone: only real tokens are counted.
        cache: int32 tensor (B,) from `init_cache`, how many tokens of each row came before, or `None`.

    Returns:
        A tensor like the inputs; with a cache `(outputs, new_cache)`.

    Raises:
        ValueError: for inputs of another rank or width than built, or a `max_wavelength` that is not positive.

    Example:

    ```python
    y = keras_tx.layers.SinusoidalPositionEncoding()(keras.ops.zeros((2, 7, 32)))  # (2, 7, 32)
    ```

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.5.
    """

    def __init__(self, max_wavelength=10_000.0, interleaved=True, **kwargs):
        super().__init__(**kwargs)
        self.max_wavelength = arguments.positive_float("max_wavelength", max_wavelength)
        self.interleaved = arguments.flag("interleaved", interleaved)
        self.supports_masking = True

    def build(self, input_shape):
        self.hidden_dim = arguments.hidden_size("inputs", input_shape, rank=3)

    def call(self, inputs, mask=None, cache=None):
        arguments.check_inputs("inputs", inputs, self.hidden_dim, rank=3)
        length = ops.shape(inputs)[1]
        if cache is None:
            where = positions.counted(length)
        else:
            decode_state.check_count(cache, inputs)
            mask = masks.over_positions(inputs, mask)
            where = positions.counted(length, mask, cache)
        table = positions.sine_table(where, self.hidden_dim, self.max_wavelength, self.interleaved)
        outputs = inputs + ops.cast(table, inputs.dtype)
        return outputs if cache is None else (outputs, positions.advanced(cache, length, mask))

    def init_cache(self, batch_size, max_length, context=None):
        """Returns the count of tokens seen: int32 zeros (B,). The layer must be built."""
        decode_state.check_new(self, batch_size, max_length)
        return ops.zeros((batch_size,), dtype="int32")

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def compute_output_spec(self, inputs, mask=None, cache=None):
        arguments.check_inputs("inputs", inputs, self.hidden_dim, rank=3)
        if cache is not None:
            decode_state.check_count(cache, inputs)
        outputs = sublayers.like_inputs(self, inputs)
        return outputs if cache is None else (outputs, keras.KerasTensor(cache.shape, dtype="int32"))

    def get_config(self):
        return {**super().get_config(), "max_wavelength": self.max_wavelength, "interleaved": self.interleaved}
