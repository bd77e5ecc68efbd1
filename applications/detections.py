"""What a detector's outputs say: boxes in pixels, with classes and scores."""

import keras
import numpy as np
from keras import ops

from .. import arguments
from ..ops.concrete import concrete

_BOX = 4


def detections(outputs, threshold=0.5, image_sizes=(1, 1)) -> dict:
    """Reads the objects off the outputs of `DETR`, the likeliest first.

    Each query gives one box, with the likeliest class of objects and its probability, among which is that of no object; there
    is nothing to suppress. All shapes are known, so that it works on the symbolic outputs of a model too, and in a SavedModel:
    `keras.Model(model.input, detections(model.output, image_sizes=(480, 640)))`.

    Args:
        outputs: float tensor (B, L, Q, C + 1 + 4), of which the last of L blocks is read.
        threshold: float in [0, 1), the score above which a detection is valid.
        image_sizes: (rows, columns) of all images, in pixels and without padding, or an integer or float tensor (B, 2) of each.
            With (1, 1) boxes are fractions.

    Returns:
        A dict of tensors: `boxes`, floats (B, Q, 4), left, top, right and bottom edge in pixels, which may lie a little
        outside of the image; `labels`, int32 (B, Q), in [0, C); `scores`, floats (B, Q), falling; and `valid`, booleans (B, Q).
        A query whose score or box is not finite has the score 0 and is not valid.

    Raises:
        ValueError: for outputs of another rank or without classes, a `threshold` out of range, and `image_sizes` that are no
            two positive, finite numbers, where these are known, or of another shape.

    Example:

    ```python
    outputs = np.array([[[[4.0, 0.0, 0.0, 0.5, 0.5, 0.2, 0.4], [0.0, 0.0, 9.0, 0.1, 0.1, 0.1, 0.1]]]])
    found = keras_tx.applications.detections(outputs, image_sizes=(100, 200))
    found["boxes"][0][found["valid"][0]]  # [[80, 30, 120, 70]]
    ```

    Reference:
        Carion et al. 2020, "End-to-End Object Detection with Transformers", section 3.
    """
    threshold = arguments.rate("threshold", threshold)
    if not isinstance(outputs, keras.KerasTensor):
        outputs = ops.convert_to_tensor(outputs)
    shape = tuple(outputs.shape)
    if len(shape) != 4 or shape[-1] is None or shape[-1] < _BOX + 2:
        raise ValueError(
            "`outputs` must have shape (B, layers, queries, classes + 1 + 4), for at least one class. Received: outputs of "
            f"shape {shape}."
        )
    dtype = keras.backend.result_type(outputs.dtype, "float32")
    last = ops.cast(outputs[:, -1], dtype)  # (B, Q, C + 5)
    likely = ops.softmax(last[..., :-_BOX], axis=-1)[..., :-1]  # (B, Q, C)
    finite = ops.logical_and(ops.all(ops.isfinite(likely), axis=-1), ops.all(ops.isfinite(last[..., -_BOX:]), axis=-1))
    scores = ops.where(finite, ops.max(likely, axis=-1), 0.0)
    labels = ops.cast(ops.argmax(likely, axis=-1), "int32")
    center, half = last[..., -_BOX:-2], last[..., -2:] / 2.0
    boxes = ops.concatenate([center - half, center + half], axis=-1) * _scale(image_sizes, shape[0], dtype)
    order = ops.argsort(-scores, axis=-1)  # (B, Q)
    scores, labels = (ops.take_along_axis(each, order, axis=1) for each in (scores, labels))
    boxes = ops.take_along_axis(boxes, ops.expand_dims(order, -1), axis=1)
    return {"boxes": boxes, "labels": labels, "scores": scores, "valid": scores > threshold}


def _scale(image_sizes, batch, dtype):
    """What fractions of x, y, x, y are multiplied by: a tensor that broadcasts to (B, 1, 4)."""
    if isinstance(image_sizes, (list, tuple)) and len(image_sizes) == 2 and all(map(arguments.is_number, image_sizes)):
        if all(0 < size < float("inf") for size in image_sizes):
            rows, columns = map(float, image_sizes)
            return ops.convert_to_tensor([[[columns, rows, columns, rows]]], dtype=dtype)
    elif image_sizes is not None and not isinstance(image_sizes, (str, int, float)):
        if not isinstance(image_sizes, keras.KerasTensor):
            image_sizes = ops.convert_to_tensor(image_sizes)
        if len(image_sizes.shape) == 2 and image_sizes.shape[-1] == 2 and image_sizes.shape[0] in (None, 1, batch):
            sizes = ops.cast(image_sizes, dtype)
            values = concrete(sizes)
            if values is None or (np.isfinite(values) & (values > 0)).all():
                rows, columns = sizes[:, None, :1], sizes[:, None, 1:]
                return ops.concatenate([columns, rows, columns, rows], axis=-1)
    raise ValueError(
        "`image_sizes` must be (rows, columns), two positive, finite numbers, or a tensor (B, 2) of them. Received: image_sizes="
        f"{image_sizes!r} for {batch} images."
    )
