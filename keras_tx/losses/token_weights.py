"""What losses over tokens are called with: labels and outputs that fit, and the weight of each token."""

import keras
import numpy as np
from keras import ops

from ..ops.concrete import check_dense, concrete


def checked(y_true, y_pred, outputs):
    """Returns both as tensors; raises `ValueError` unless `y_pred` has the axes of `y_true` and one more, that of `outputs`."""
    check_dense("y_true", y_true)
    check_dense("y_pred", y_pred)
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    shape = tuple(y_true.shape)
    if len(y_pred.shape) != len(shape) + 1 or _differ(shape, y_pred.shape[:-1]):
        raise ValueError(
            f"`y_pred` must have one axis more than `y_true`, that of {outputs}. Received: y_pred of shape "
            f"{tuple(y_pred.shape)}, y_true of shape {shape}."
        )
    return y_true, y_pred


def whole_numbers(labels):
    """Returns the values of labels, `None` where they are not known; raises `ValueError` for fractions."""
    values = concrete(labels)
    if values is not None and values.dtype.kind not in "iub" and not np.equal(values, np.floor(values)).all():
        raise ValueError(f"`y_true` must hold token ids, whole numbers. Received: y_true of dtype {values.dtype}.")
    return values


def token_weights(y_true, sample_weight, padding_id, dtype):
    """Returns the weight of each token, that of padding 0, or `None` where all weigh the same.

    Args:
        y_true: integer tensor (B, T).
        sample_weight: float tensor (B,), of rows, or (B, T), of tokens, or `None`.
        padding_id: int, or `None`.
        dtype: of the weights.

    Raises:
        ValueError: for weights that are not one for each row or token.
    """
    shape = tuple(y_true.shape)
    if sample_weight is not None:
        sample_weight = _of_known_rank(ops.cast(sample_weight, dtype), len(shape))
        given = tuple(sample_weight.shape)
        if len(given) > len(shape) or _differ(given, shape[: len(given)], broadcasts=True):
            raise ValueError(
                "`sample_weight` must have a number for each row or for each token. Received: sample_weight of shape "
                f"{given}, y_true of shape {shape}."
            )
        sample_weight = ops.reshape(sample_weight, (*ops.shape(sample_weight), *[1] * (len(shape) - len(given))))
    if padding_id is not None:
        real = ops.cast(ops.not_equal(y_true, padding_id), dtype)
        return real if sample_weight is None else real * sample_weight
    return None if sample_weight is None else ops.broadcast_to(sample_weight, ops.shape(y_true))


def _of_known_rank(weights, rank):
    """Returns the weights; where a graph of TensorFlow was traced for weights of rows and of tokens, with axes for both."""
    if keras.backend.backend() != "tensorflow" or weights.shape.rank is not None:
        return weights
    import tensorflow as tf

    missing = tf.ones((rank - tf.rank(weights),), "int32")
    return tf.ensure_shape(tf.reshape(weights, tf.concat([tf.shape(weights), missing], 0)), (None,) * rank)


def _differ(shape, other, broadcasts=False):
    """Returns whether two shapes are known to differ, in an axis that is not of size 1 where it `broadcasts`."""
    pairs = zip(shape, other, strict=True)
    return any(None not in (a, b) and a != b and not (broadcasts and a == 1) for a, b in pairs)
