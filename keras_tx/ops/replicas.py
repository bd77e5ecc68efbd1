"""Sums over the replicas of `tf.distribute`, each of which sees its part of a batch alone."""

import keras


def sum_over_replicas(value):
    """Returns the sum of a tensor over all replicas; the tensor where there is but one. No gradient goes through.

    Keras adds the gradients of the replicas up: a sum over a part of the batch, divided by a total over all of it, is a
    replica's share of the loss.

    Args:
        value: tensor, of the same shape in each replica.
    """
    value = keras.ops.stop_gradient(value)
    if keras.backend.backend() != "tensorflow":
        return value
    import tensorflow as tf

    context = tf.distribute.get_replica_context()  # `None` outside of replicas
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)
