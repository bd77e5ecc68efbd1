"""Rules for sizes that are not known while TensorFlow traces a graph, and so are checked each time that it runs."""


def require_none(x, rules):
    """Returns a tensor that is an error to compute unless every count is 0.

    XLA drops assertions, but knows all sizes when it compiles. So each rule stands in the graph twice: as an assertion, and as a
    tensor of `count` entries that must have none, which XLA does not compile otherwise; it names the rule then by the names of
    these two operations.

    Args:
        x: tensor of TensorFlow, in a graph.
        rules: list of `(count, counted, rule, message)`: an integer scalar tensor, what it counts and the rule, both as names
            of operations, and the rule in words, after which the tensor's shape is written.

    Returns:
        The tensor.
    """
    import tensorflow as tf

    checks, shape = [], tf.shape(x)
    for count, counted, rule, message in rules:
        said = tf.debugging.Assert(tf.equal(count, 0), [message, shape], summarize=len(x.shape))
        with tf.control_dependencies([said]):  # the one that speaks in words comes first
            checks.append(tf.ensure_shape(tf.zeros((count,), name=counted), (0,), name=rule))
    with tf.control_dependencies(checks):
        return tf.identity(x)
