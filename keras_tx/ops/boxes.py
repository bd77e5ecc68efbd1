"""Boxes: their corners, and how far two of them are the same."""

from keras import ops


def corners(boxes):
    """Returns (left, top, right, bottom) of boxes (center x, center y, width, height), (..., 4), in the same unit.

    Example:

    ```python
    keras_tx.ops.boxes.corners(np.array([[0.5, 0.5, 0.2, 0.4]]))  # [[0.4, 0.3, 0.6, 0.7]]
    ```
    """
    center, half = boxes[..., :2], boxes[..., 2:] / 2
    return ops.concatenate([center - half, center + half], axis=-1)


def generalized_iou(boxes, others):
    """Returns the intersection over union of boxes, less the share of their common frame that neither covers.

    GIoU = |A n B| / |A u B| - (|C| - |A u B|) / |C| with C the smallest box around both, from -1 (far apart) to 1 (the same).

    Args:
        boxes: float tensor (..., 4), left, top, right and bottom.
        others: the same, of a shape that broadcasts to that of `boxes`: give (..., N, 1, 4) and (..., 1, M, 4) for all pairs.

    Returns:
        Float tensor (...). Of two boxes without any size it is 0 where these are the same point.

    Example:

    ```python
    keras_tx.ops.boxes.generalized_iou(np.array([0.0, 0.0, 2.0, 1.0]), np.array([1.0, 0.0, 3.0, 1.0]))  # 1/3
    ```

    Reference:
        Rezatofighi et al. 2019, "Generalized Intersection over Union".
    """
    least, most = ops.minimum(boxes, others), ops.maximum(boxes, others)
    overlap = _area(most[..., :2], least[..., 2:])
    union = _area(boxes[..., :2], boxes[..., 2:]) + _area(others[..., :2], others[..., 2:]) - overlap
    frame = _area(least[..., :2], most[..., 2:])
    return _ratio(overlap, union) - _ratio(frame - union, frame)


def _area(start, end):
    return ops.prod(ops.maximum(end - start, 0.0), axis=-1)


def _ratio(part, whole):
    """Returns part / whole, and 0 where there is no whole, with gradients that are finite there too."""
    exists = whole > 0
    return ops.where(exists, part / ops.where(exists, whole, 1.0), 0.0)
