"""Rules for sizes that are not known while a program is traced, and so are checked each time that it runs."""

import keras
from keras import ops


def require_none(x, rules):
    """Returns a tensor that can be had only if every count is 0.

    On TensorFlow it is an error to compute it otherwise. XLA drops assertions, but knows all sizes when it compiles. So each rule
    stands in the graph twice: as an assertion, and as a tensor of `count` entries that must have none, which XLA does not compile
    otherwise; it names the rule then by the names of these two operations. What JAX and torch export can raise no error of ours:
    there the tensor is NaN.

    Args:
        x: float tensor, in a program that is traced.
        rules: list of `(count, counted, rule, message)`: an integer scalar tensor, what it counts and the rule, both as names
            of operations, and the rule in words, after which the tensor's shape is written.

    Returns:
        The tensor.
    """
    if keras.backend.backend() != "tensorflow":
        broken = sum(count for count, *_ in rules) > 0
        return ops.where(broken, ops.cast(float("nan"), x.dtype), x)
    import tensorflow as tf

    checks, shape = [], tf.shape(x)
    for count, counted, rule, message in rules:
        said = tf.debugging.Assert(tf.equal(count, 0), [message, shape], summarize=len(x.shape))
        with tf.control_dependencies([said]):  # the one that speaks in words comes first
            checks.append(tf.ensure_shape(tf.zeros((count,), name=counted), (0,), name=rule))
    with tf.control_dependencies(checks):
        return tf.identity(x)
