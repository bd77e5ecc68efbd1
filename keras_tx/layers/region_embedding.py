"""Embeddings of the regions of an image: what was seen in each, and where it lies."""

import keras
import numpy as np
from keras import ops

from .. import arguments
from ..ops import masks, padding, sizes, token_ids
from ..ops.concrete import check_tensor, concrete, is_placeholder
from ..ops.run_checks import when_run
from . import config, input_checks, sublayers
from .composite import Composite
from .dense import Dense

_ROUNDING = 2e-3  # by which half floats may leave the image
_BOX_RULE = (
    "`boxes` must hold [x1, y1, x2, y2] in fractions of the image's width and height, with 0 <= x1 <= x2 <= 1 and "
    "0 <= y1 <= y2 <= 1: divide pixels by the size of the image"
)


@keras.saving.register_keras_serializable(package="keras_tx")
class RegionEmbedding(Composite, keras.layers.Layer):
    """Turns the regions of an image, as a detector gives them, into vectors: a map of their features and one of their boxes.

    y_r = W f_r + U [x1, y1, x2, y2, (x2 - x1) (y2 - y1)]_r + b + c.

    Regions that are not real give zeros, whatever their features and boxes hold, and the outputs carry the mask of those that
    are. A box of zero width or height is a line or a point, of area 0. A box outside the image, corners in another order and a
    count above the regions are errors wherever values are known (eager calls, on every backend), and when a graph of TensorFlow
    runs. Inside other compiled functions, where nothing can be raised, such a box counts as five zeros and such a count as all
    regions.

    Args:
        hidden_dim: int, D.
        kernel_initializer: of both maps.
        bias_initializer: of their biases.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, R, F), the features of each region.
        boxes: float tensor (B, R, 4), [x1, y1, x2, y2] in fractions of the image's width and height, from its upper left corner;
            what rounding takes outside by 0.002 is brought back.
        mask: boolean tensor (B, R), which regions are real; `None` for the mask that Keras carries.
        num_regions: integer tensor (B,), how many regions of each image are real, the first ones; `None` for all.

    Returns:
        A float tensor (B, R, D).

    Raises:
        ValueError: for a `hidden_dim` that is no positive integer, inputs of another rank or width than built, boxes of another
            shape, that leave the image or have their corners in another order, and counts that are no whole numbers in [0, R].

    Example:

    ```python
    features, boxes = np.ones((1, 2, 8), "float32"), np.array([[[0, 0, 1, 1], [0.1, 0.2, 0.4, 0.8]]], "float32")
    y = keras_tx.layers.RegionEmbedding(16)(features, boxes)  # (1, 2, 16)
    ```

    Reference:
        Lu et al. 2019, "ViLBERT", section 2.2 ("Representing Image Regions").
    """

    positions_in_text = False

    def __init__(self, hidden_dim, kernel_initializer="glorot_uniform", bias_initializer="zeros", **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim = arguments.positive_int("hidden_dim", hidden_dim)
        self.kernel_initializer = config.initializer("kernel_initializer", kernel_initializer)
        self.bias_initializer = config.initializer("bias_initializer", bias_initializer)
        self.supports_masking = True
        self.autocast = False  # boxes and counts must reach the check as they came
        self.features, self.location = (self._dense(name) for name in ("features", "location"))

    def _dense(self, name):
        return Dense(
            self.hidden_dim,
            kernel_initializer=sublayers.fresh_initializer(self.kernel_initializer),
            bias_initializer=sublayers.fresh_initializer(self.bias_initializer),
            name=name,
            dtype=self.dtype_policy,
        )

    def build(self, inputs_shape, boxes_shape=None):
        self.feature_dim = input_checks.hidden_size("inputs", inputs_shape, rank=3)
        sublayers.build_once(self.features, inputs_shape)
        sublayers.build_once(self.location, (*inputs_shape[:-1], 5))

    def call(self, inputs, boxes, mask=None, num_regions=None):
        mask = self._read_mask(inputs, boxes, mask, num_regions)
        numbers = ops.cast(_numbers(boxes, mask), self.compute_dtype)  # (B, R, 5)
        x = padding.zero_masked(ops.cast(inputs, self.compute_dtype), mask)
        # Each part may compute in a dtype of its own.
        features, location = (ops.cast(part, self.compute_dtype) for part in (self.features(x), self.location(numbers)))
        return padding.attach(padding.zero_masked(features + location, mask), mask)

    def _read_mask(self, inputs, boxes, mask, num_regions):
        """The mask over regions (B, R), or `None` if all are real."""
        input_checks.check_inputs("inputs", inputs, self.feature_dim, rank=3)
        input_checks.check_inputs("boxes", boxes, 4, rank=3)
        if any(map(sizes.differ, boxes.shape[:2], inputs.shape[:2])):
            raise ValueError(
                "`boxes` must hold one box for each region of `inputs`. Received: boxes of shape "
                f"{tuple(boxes.shape)}, inputs of shape {tuple(inputs.shape)}."
            )
        mask = masks.over_positions(inputs, mask)
        if num_regions is None:
            return mask
        check_tensor("num_regions", num_regions)
        shape = tuple(num_regions.shape)
        if len(shape) != 1 or sizes.differ(shape[0], inputs.shape[0]):
            raise ValueError(
                "`num_regions` must have shape (B,), a count for each image. Received: num_regions of shape "
                f"{shape}, inputs of shape {tuple(inputs.shape)}."
            )
        token_ids.check_whole("num_regions", num_regions, what="counts")
        if isinstance(inputs, keras.KerasTensor):
            return mask
        counted = _counted(token_ids.as_integers(num_regions), ops.shape(inputs)[1])
        return counted if mask is None else ops.logical_and(counted, mask)

    def compute_mask(self, inputs, previous_mask):
        return previous_mask  # where the outputs do not carry theirs already

    def compute_output_shape(self, inputs_shape, boxes_shape=None):
        return (*inputs_shape[:-1], self.hidden_dim)

    def compute_output_spec(self, inputs, boxes, mask=None, num_regions=None):
        self._read_mask(inputs, boxes, mask, num_regions)
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)

    def get_config(self):
        return config.of(RegionEmbedding, self, super().get_config())


def _counted(counts, length):
    """Boolean (B, R): which regions are among the first, as many as are counted."""
    values = None if is_placeholder(counts) else concrete(counts)
    if values is not None and values.size and not 0 <= values.min() <= values.max() <= length:
        raise ValueError(
            "`num_regions` must hold counts of at most the regions that there are. Received: counts from "
            f"{values.min()} to {values.max()} with {length} regions."
        )
    fits = ops.logical_and(ops.all(counts >= 0), ops.all(counts <= length))
    rule = "`num_regions` must hold counts of at most the regions that there are. Received: counts, regions"
    counts = when_run(counts, fits, rule, counts, length)
    return ops.arange(length, dtype="int32")[None] < ops.cast(counts, "int32")[:, None]


def _numbers(boxes, mask):
    """The five numbers of each box, its corners and its area (B, R, 5); zeros for regions that are not real."""
    boxes = padding.zero_masked(ops.cast(boxes, keras.backend.result_type(boxes.dtype, "float32")), mask)
    inside = ops.logical_and(boxes >= -_ROUNDING, boxes <= 1 + _ROUNDING)  # False for NaN
    ordered = boxes[..., 2:] - boxes[..., :2] >= -_ROUNDING
    right = ops.logical_and(ops.all(inside, axis=-1), ops.all(ordered, axis=-1))  # (B, R)
    values = concrete(right)
    if values is not None and not values.all():
        row, region = (int(place) for place in np.argwhere(~values)[0])
        box = [round(float(number), 4) for number in concrete(boxes)[row, region]]
        raise ValueError(f"{_BOX_RULE}. Received: {box} for region {region} of image {row}.")
    boxes = when_run(boxes, ops.all(right), f"{_BOX_RULE}. Received: boxes that do not.")
    boxes = ops.clip(padding.zero_masked(boxes, right), 0.0, 1.0)
    extent = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return ops.concatenate([boxes, extent[..., :1] * extent[..., 1:]], axis=-1)
