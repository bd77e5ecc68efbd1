"""Checks of values that are known only when a TensorFlow graph runs."""

import keras


def when_run(tensor, holds, message, *values):
    """Returns the tensor, which in a TensorFlow graph waits for a check that raises `InvalidArgumentError`.

    XLA drops the check and other backends have none, so what follows must have a defined result in either case.

    Args:
        tensor: what waits.
        holds: boolean scalar tensor, what must be true.
        message: str, the rule.
        *values: tensors that the error shows behind the message, in brackets.

    Returns:
        The tensor.
    """
    if keras.backend.backend() != "tensorflow":
        return tensor
    import tensorflow as tf

    if tf.executing_eagerly() or not tf.is_tensor(holds):
        return tensor
    with tf.control_dependencies([tf.raw_ops.Assert(condition=holds, data=[message, *values])]):
        return tf.identity(tensor)
