"""What `SetPredictionLoss` compares with: labels and boxes of images with any number of objects, in one array."""

import numpy as np
from keras import ops

from .. import arguments

NO_OBJECT = -1
BOX_FORMATS = ("xyxy", "xywh", "center_xywh")
_ROUNDING = 1e-3  # in fractions of an image: boxes may come in half precision


def pack_targets(labels, boxes, max_targets, num_classes, image_size=None, box_format="xyxy"):
    """Packs the labels and boxes of images into one array, the targets of `SetPredictionLoss`.

    Args:
        labels: for each image, a sequence of integers in [0, num_classes); the sequences may be of any lengths.
        boxes: for each image, as many boxes of four numbers.
        max_targets: int, the rows of the array: at least the largest number of objects in an image, at most the model's queries.
        num_classes: int.
        image_size: (rows, columns) of all images, or one such pair for each image, where boxes are in pixels; `None` where they
            are fractions of the image.
        box_format: "xyxy", (left, top, right, bottom); "xywh", (left, top, width, height), as in COCO; or "center_xywh",
            (center x, center y, width, height).

    Returns:
        Float32 array (images, max_targets, 5): label, center x, center y, width and height, these as fractions of the image. Rows
        behind an image's objects have the label -1 and the box 0.

    Raises:
        ValueError: for arguments out of range; numbers of labels and boxes that differ; more objects than `max_targets`; labels
            that are no integers in [0, num_classes); boxes that have no size, do not lie inside the image (cut them off at its
            edges first), are not finite, or are in pixels where fractions are meant, or the other way round.

    Example:

    ```python
    targets = keras_tx.losses.pack_targets([[7], []], [[[0, 0, 8, 16]], []], 2, 10, image_size=(32, 32))
    targets[0]  # [[7, 0.125, 0.25, 0.25, 0.5], [-1, 0, 0, 0, 0]]
    ```
    """
    max_targets = arguments.positive_int("max_targets", max_targets)
    num_classes = arguments.positive_int("num_classes", num_classes)
    if box_format not in BOX_FORMATS:
        raise ValueError(f"`box_format` must be one of {BOX_FORMATS}. Received: box_format={box_format!r}.")
    for name, images in ("labels", labels), ("boxes", boxes):
        if isinstance(images, str) or not hasattr(images, "__len__"):
            raise ValueError(f"`{name}` must be a sequence with an entry for each image. Received: {name}={images!r}.")
    if len(labels) != len(boxes):
        raise ValueError(
            f"`labels` and `boxes` must be of as many images. Received: labels of {len(labels)}, boxes of {len(boxes)}."
        )
    labels = [_labels_of(image, number) for number, image in enumerate(labels)]
    boxes = [_boxes_of(image, number, len(labels[number])) for number, image in enumerate(boxes)]
    most = max(map(len, labels), default=0)
    if most > max_targets:
        raise ValueError(
            "`max_targets` must be at least the number of objects in an image. Received: "
            f"max_targets={max_targets}, an image with {most} objects."
        )
    if image_size is not None:
        sizes = _sizes(image_size, len(boxes))
        _refuse_fractions(boxes, sizes)
        boxes = [image / size for image, size in zip(boxes, sizes, strict=True)]
    targets = np.zeros((len(labels), max_targets, 5))
    targets[..., 0] = NO_OBJECT
    for row, image, found in zip(targets, labels, boxes, strict=True):
        row[: len(image), 0], row[: len(image), 1:] = image, _centered(found, box_format)
    negative = next((number for number, image in enumerate(labels) if (image < 0).any()), None)
    if negative is not None:
        raise ValueError(_label_rule("labels", num_classes, labels[negative][labels[negative] < 0][0], negative))
    check_targets("boxes", targets, num_classes, "labels")
    return targets.astype("float32")


def check_targets(name, targets, num_classes, labels_name=None):
    """Raises `ValueError` unless an array (B, N, 5) holds labels below `num_classes` and, where these are of objects, boxes.

    Args:
        name: the argument's name, for messages about boxes, and about labels where `labels_name` is `None`.
        targets: float array (B, N, 5), as `pack_targets` returns it.
        num_classes: int.
        labels_name: the name of the argument with the labels, if it is another.
    """
    labels, boxes = targets[..., 0], targets[..., 1:]
    wrong = (labels >= num_classes) | ~(labels == np.floor(labels))
    if wrong.any():
        image, row = np.argwhere(wrong)[0]
        raise ValueError(_label_rule(labels_name or name, num_classes, labels[image, row], image))
    real = labels >= 0
    center, size = boxes[..., :2], boxes[..., 2:]
    with np.errstate(invalid="ignore"):  # infinity less infinity
        start, end = center - size / 2, center + size / 2
    faults = {
        "be finite": ~np.isfinite(boxes).all(-1),
        "have a width and a height above 0": (size <= 0).any(-1),
        "be fractions of the image, not pixels (`pack_targets` takes pixels, with `image_size`)": (boxes > 2).any(-1),
        "lie inside the image": ((start < -_ROUNDING) | (end > 1 + _ROUNDING)).any(-1),
    }
    for rule, fault in faults.items():
        if (fault & real).any():
            image, row = np.argwhere(fault & real)[0]
            raise ValueError(
                f"The boxes of `{name}` must {rule}. Received: in image {image}, of label {labels[image, row]:g}, center, "
                f"width and height {tuple(round(float(value), 4) for value in boxes[image, row])} as fractions."
            )


def are_targets(targets, num_classes):
    """Returns whether a tensor (B, N, 5) holds what `check_targets` lets pass, a boolean scalar."""
    labels, center, size = targets[..., 0], targets[..., 1:3], targets[..., 3:]
    is_label = ops.logical_and(labels < num_classes, ops.equal(labels, ops.floor(labels)))  # False for NaN
    inside = ops.logical_and(center - size / 2 >= -_ROUNDING, center + size / 2 <= 1 + _ROUNDING)
    is_box = ops.all(ops.logical_and(inside, size > 0), axis=-1)
    return ops.all(ops.logical_and(is_label, ops.logical_or(labels < 0, is_box)))


def _label_rule(name, num_classes, label, image):
    return (
        f"The labels of `{name}` must be integers in [0, num_classes). Received: {label:g} in image {image}, with "
        f"num_classes={num_classes}."
    )


def _labels_of(labels, image):
    """Returns the labels of one image as an array (N,); raises `ValueError` unless they are a sequence of numbers."""
    found = _array(labels)
    if found is None or found.ndim != 1 or (found.size and found.dtype.kind not in "iuf"):
        raise ValueError(
            f"`labels` must be a sequence of integers for each image. Received: {labels!r} for image {image}."
        )
    return found.astype("float64")


def _boxes_of(boxes, image, count):
    """Returns the boxes of one image as an array (N, 4); raises `ValueError` unless there are as many as labels."""
    found = _array(boxes, "float64")
    if found is None:
        raise ValueError(f"`boxes` must have four numbers for each label. Received: {boxes!r} for image {image}.")
    found = found.reshape(-1, 4) if not found.size else found
    if found.shape != (count, 4):
        raise ValueError(
            f"`boxes` must have four numbers for each label. Received: {count} labels and boxes of shape {found.shape} for image "
            f"{image}."
        )
    return found


def _array(values, dtype=None):
    """Returns nested sequences as an array; `None` where their lengths differ, and for what has no place in the dtype."""
    try:
        return np.asarray(values, dtype)
    except (TypeError, ValueError):
        return None


def _sizes(image_size, count):
    """Returns (columns, rows, columns, rows), by which boxes are divided, for each of `count` images."""
    found = _array(image_size)
    if found is None or found.shape not in ((2,), (count, 2)) or found.dtype.kind not in "iu" or (found < 1).any():
        raise ValueError(
            "`image_size` must be (rows, columns), two positive integers, or such a pair for each image. Received: "
            f"image_size={image_size!r} for {count} images."
        )
    return np.broadcast_to(np.tile(found[..., ::-1], 2), (count, 4))


def _refuse_fractions(boxes, sizes):
    """Raises `ValueError` where boxes of an image that should be in pixels all lie, by fractions, in its first pixel."""
    for number, (image, size) in enumerate(zip(boxes, sizes, strict=True)):
        if image.size and size.min() > 1 and 0 < image.max() <= 1 and (image != np.floor(image)).any():
            raise ValueError(
                "`boxes` must be in pixels where there is an `image_size`: leave it out for fractions of the image. Received: "
                f"boxes of numbers up to {image.max():g} in image {number}, all in its first pixel."
            )


def _centered(boxes, box_format):
    """Returns boxes (N, 4) as center x, center y, width and height."""
    first, second = boxes[:, :2], boxes[:, 2:]
    if box_format == "center_xywh":
        return boxes
    size = second - first if box_format == "xyxy" else second
    return np.concatenate([first + size / 2, size], axis=1)
