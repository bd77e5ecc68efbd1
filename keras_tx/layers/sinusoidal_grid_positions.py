"""Fixed sinusoidal positions of a map, to be handed to the attentions."""

import math

import keras
from keras import ops

from .. import arguments
from ..ops import positions as counting
from . import config, input_checks
from .map_reader import MapReader
from .traced_subclasses import TracedSubclasses

# So that the last real row has the angle 2 pi, and one without real positions divides by no zero.
_TURN, _EPSILON = 2 * math.pi, 1e-6


@keras.saving.register_keras_serializable(package="keras_tx")
class SinusoidalGridPositions(MapReader, TracedSubclasses, keras.layers.Layer):
    """Tells the vectors of the places of a map: sine and cosine waves of its row, then of its column.

    With r_{y,x} of R_x real positions in column x down to row y, the first half of the vector is PE(2 pi r / R) with
    PE(p, 2i) = sin(p / w^(4i/D)), PE(p, 2i + 1) = cos(p / w^(4i/D)), w = `max_wavelength`; the second half is that of the
    columns. So places are fractions of the real image, whatever its size and its padding. They are not added to the inputs:
    blocks take them as `position_embedding`, for queries and keys alone. No weights.

    Args:
        max_wavelength: float.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, Y, X, D), D a multiple of 4. Its values are not read.
        mask: boolean tensor (B, Y, X), True at real positions; `None` for the mask that Keras carries, if any.

    Returns:
        A float tensor (B, Y X, D), row by row.

    Raises:
        ValueError: for inputs of another rank or width than built, a width that 4 does not divide, and a mask that holds other
            numbers than 0 and 1 or has another shape.

    Example:

    ```python
    y = keras_tx.layers.SinusoidalGridPositions()(keras.ops.zeros((2, 3, 5, 32)))  # (2, 15, 32)
    ```

    Reference:
        Carion et al. 2020, "End-to-End Object Detection with Transformers", section A.4; Parmar et al. 2018, "Image
        Transformer", section 3.
    """

    def __init__(self, max_wavelength=10_000.0, **kwargs):
        super().__init__(**kwargs)
        self.max_wavelength = arguments.positive_float("max_wavelength", max_wavelength)
        self.supports_masking = True

    def build(self, input_shape):
        self.hidden_dim = input_checks.hidden_size("inputs", input_shape, rank=4)
        if self.hidden_dim % 4:
            raise ValueError(
                "`inputs` must have a last axis that 4 divides: a sine and a cosine of row and column each. Received: inputs "
                f"of shape {tuple(input_shape)}."
            )

    def call(self, inputs, mask=None):
        mask = self._read(inputs, mask)
        batch, rows, columns, _ = ops.shape(inputs)
        waves = []
        for axis, size in ((1, rows), (2, columns)):
            if mask is None:
                places = (counting.arange(size) + 1)[:, None] if axis == 1 else (counting.arange(size) + 1)[None]
                places, last = ops.cast(places, "float32")[None], ops.cast(size, "float32")
            else:
                places = ops.cumsum(ops.cast(mask, "float32"), axis=axis)
                last = places[:, -1:] if axis == 1 else places[:, :, -1:]
            table = counting.sine_table(places / (last + _EPSILON) * _TURN, self.hidden_dim // 2, self.max_wavelength)
            waves.append(ops.broadcast_to(table, (batch, rows, columns, self.hidden_dim // 2)))
        outputs = ops.reshape(ops.concatenate(waves, axis=-1), (batch, rows * columns, self.hidden_dim))
        return ops.cast(outputs, self.compute_dtype)

    def get_config(self):
        return config.of(SinusoidalGridPositions, self, super().get_config())
