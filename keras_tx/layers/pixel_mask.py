"""Padding of images of several sizes in one batch, told to what is made of them."""

import keras
from keras import ops

from .. import arguments
from ..ops import masks, padding
from ..ops.resampling import nearest
from . import config, input_checks, sublayers
from .traced_subclasses import TracedSubclasses


@keras.saving.register_keras_serializable(package="keras_tx")
class PixelMask(TracedSubclasses, keras.layers.Layer):
    """Sets what is padding in images, or in a map made of them, to zeros, whatever it held.

    Images of several sizes stand in one batch filled up below and to the right, and a mask of their pixels tells what is real.
    It is an argument that may be `None`, and the layer then gives its inputs as they are.

    Args:
        resample: bool. False for a mask of the inputs' own size; the outputs carry no mask, as convolutions take none. True for
            inputs that are a map of other sizes than the pixels of the mask, in which position (y, x) is real if pixel
            (floor(y Y / Y'), floor(x X / X')) is; the outputs carry this mask to the layers that follow.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, Y', X', D).
        pixel_mask: boolean tensor (B, Y, X), True or 1 at real pixels, or `None` where all are.

    Returns:
        A tensor like the inputs.

    Raises:
        ValueError: for inputs of another rank or width than built, and a mask that holds other numbers than 0 and 1, or has
            another shape.

    Example:

    ```python
    layer = keras_tx.layers.PixelMask(resample=True)
    y = layer(keras.ops.ones((1, 2, 2, 4)), keras.ops.ones((1, 32, 32), dtype="bool"))  # (1, 2, 2, 4)
    ```

    Reference:
        Carion et al. 2020, "End-to-End Object Detection with Transformers", section A.4.
    """

    def __init__(self, resample=False, **kwargs):
        super().__init__(**kwargs)
        self.resample = arguments.flag("resample", resample)
        self.supports_masking = True

    def build(self, inputs_shape, pixel_mask_shape=None):
        self.hidden_dim = input_checks.hidden_size("inputs", inputs_shape, rank=4)

    def call(self, inputs, pixel_mask=None):
        mask = self._read(inputs, pixel_mask)
        if mask is None:
            return ops.cast(inputs, self.compute_dtype)
        if self.resample:
            mask = nearest(mask, ops.shape(inputs)[1:3])  # (B, Y', X')
        outputs = padding.zero_masked(ops.cast(inputs, self.compute_dtype), mask)
        return padding.attach(outputs, mask) if self.resample else outputs

    def _read(self, inputs, pixel_mask):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, rank=4)
        if pixel_mask is not None and self.resample:
            return masks.check("pixel_mask", pixel_mask, (inputs.shape[0], None, None))
        return None if pixel_mask is None else masks.over_positions(inputs, pixel_mask, "pixel_mask")

    def compute_mask(self, inputs, previous_mask):
        return None  # the outputs carry theirs already

    def compute_output_shape(self, inputs_shape, pixel_mask_shape=None):
        return tuple(inputs_shape)

    def compute_output_spec(self, inputs, pixel_mask=None):
        self._read(inputs, pixel_mask)
        return sublayers.like_inputs(self, inputs)

    def get_config(self):
        return config.of(PixelMask, self, super().get_config())
