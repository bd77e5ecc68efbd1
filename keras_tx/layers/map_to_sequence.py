"""The positions of a map in a row."""

import keras
from keras import ops

from ..ops import padding
from . import config
from .map_reader import MapReader
from .traced_subclasses import TracedSubclasses


@keras.saving.register_keras_serializable(package="keras_tx")
class MapToSequence(MapReader, TracedSubclasses, keras.layers.Layer):
    """Lays the positions of a map side by side, row by row, and their mask with them.

    What `keras.layers.Reshape((-1, D))` does too, though without the mask.

    Args:
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, Y, X, D).
        mask: boolean tensor (B, Y, X), True at real positions; `None` for the mask that Keras carries, if any.

    Returns:
        A float tensor (B, Y X, D). With a mask it carries one.

    Raises:
        ValueError: for inputs of another rank or width than built, and a mask that holds other numbers than 0 and 1 or has
            another shape.

    Example:

    ```python
    y = keras_tx.layers.MapToSequence()(keras.ops.zeros((2, 3, 5, 32)))  # (2, 15, 32)
    ```

    Reference:
        Carion et al. 2020, "End-to-End Object Detection with Transformers", section 3.2 (the encoder's input).
    """

    positions_in_text = False

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs, mask=None):
        mask = self._read(inputs, mask)
        batch, rows, columns, width = ops.shape(inputs)
        outputs = ops.reshape(ops.cast(inputs, self.compute_dtype), (batch, rows * columns, width))
        return outputs if mask is None else padding.attach(outputs, ops.reshape(mask, (batch, rows * columns)))

    def get_config(self):
        return config.of(MapToSequence, self, super().get_config())
