"""Fixed sinusoidal positions, added to the inputs."""

import keras
from keras import ops

from .. import arguments
from ..ops import masks, token_ids
from ..ops import positions as counting
from . import cache_protocol, config, given_positions, input_checks, sublayers
from .traced_subclasses import TracedSubclasses


@keras.saving.register_keras_serializable(package="keras_tx")
class SinusoidalPositionEncoding(TracedSubclasses, keras.layers.Layer):
    """Adds to its inputs sine and cosine waves of geometrically growing length, which mark each position.

    The inputs are in the outputs already: `x + layer(x)`, as layers of other libraries are used, would count them twice.
    y_p = x_p + PE(p) with PE(p, 2i) = sin(p / w^(2i/D)), PE(p, 2i + 1) = cos(p / w^(2i/D)), w = `max_wavelength`. No
    weights, any length.

    Args:
        max_wavelength: float.
        interleaved: bool, whether sine and cosine of a frequency stand side by side, as above; else all sines come
            first and then all cosines, as in Marian's models.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, T, D), or (..., T, D): axes before the last two are batch.
        mask: boolean tensor (B, T), used with a cache alone: only real tokens are counted.
        cache: int32 tensor (B,) from `init_cache`, how many tokens of each row came before, or `None`.
        positions: integer tensor (T,), or (B, T) with all the batch axes: the positions themselves, for packed or continued
            sequences. `None` for 0 .. T - 1, or for those after the tokens in the cache, beside which none may be given.
        segment_ids: integer tensor (B, T), the documents of packed rows: 1, 2, ... for the tokens of each, which stand together,
            and 0 for padding. Positions then begin at 0 in each, unless they are given. Not beside a cache.

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

    is_stepwise = True

    def __init__(self, max_wavelength=10_000.0, interleaved=True, **kwargs):
        super().__init__(**kwargs)
        self.max_wavelength = arguments.positive_float("max_wavelength", max_wavelength)
        self.interleaved = arguments.flag("interleaved", interleaved)
        self.supports_masking = True
        self.autocast = False  # counts must reach the check as they came

    def build(self, input_shape):
        self.hidden_dim = input_checks.hidden_size("inputs", input_shape, least=3)

    def call(self, inputs, mask=None, cache=None, positions=None, segment_ids=None):
        where, length = self._check(inputs, cache, positions, segment_ids), ops.shape(inputs)[-2]
        if cache is not None:
            mask, cache = masks.over_positions(inputs, mask), token_ids.as_integers(cache)
        inputs = ops.cast(inputs, self.compute_dtype)
        if where is None:
            where = counting.position_ids(length) if cache is None else counting.position_ids(length, mask, cache)
        table = counting.sine_table(where, self.hidden_dim, self.max_wavelength, self.interleaved)
        outputs = inputs + ops.cast(table, inputs.dtype)
        return outputs if cache is None else (outputs, counting.next_position(cache, length, mask))

    def _check(self, inputs, cache, positions, segment_ids):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, least=3)
        if cache is not None:
            cache_protocol.check_rank("inputs", inputs)
            cache_protocol.check_count(cache, inputs)
        segment_ids = given_positions.read_segments(segment_ids, inputs.shape[:-1], cache)
        return given_positions.read(positions, inputs.shape[:-1], cache, segment_ids)

    def init_cache(self, batch_size, max_length, context=None):
        """Returns the count of tokens seen: int32 zeros (B,). The layer must be built."""
        cache_protocol.check_new(self, batch_size, max_length)
        return ops.zeros((batch_size,), dtype="int32")

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def compute_output_spec(self, inputs, mask=None, cache=None, positions=None, segment_ids=None):
        self._check(inputs, cache, positions, segment_ids)
        outputs = sublayers.like_inputs(self, inputs)
        return outputs if cache is None else (outputs, keras.KerasTensor(cache.shape, dtype="int32"))

    def get_config(self):
        return config.of(SinusoidalPositionEncoding, self, super().get_config())
