"""Token ids and positions as indices into a table: checked where values are known, defined where they are not."""

import keras
import numpy as np
from keras import ops

from .concrete import check_tensor, concrete
from .run_checks import when_run


def check(name, ids, size, rank=None, size_name="vocabulary_size", what="token ids"):
    """Raises `ValueError` unless the tensor holds integers of the given rank inside [0, size).

    The range is checked where the values are known, which they are not inside a compiled function.

    Args:
        name: str, the argument's name.
        ids: integer tensor.
        size: int, or `None` where it is not known.
        rank: int, or `None` for at least 2.
        size_name: str, what the message calls the size.
        what: str, what the message calls the integers.
    """
    check_tensor(name, ids)
    dtype = keras.backend.standardize_dtype(ids.dtype)
    if "int" not in dtype:
        raise ValueError(
            f"`{name}` must hold integer {what}; a keras.Input for them needs dtype='int32'. Received: {name} of dtype "
            f"{dtype}."
        )
    if len(ids.shape) != (rank or max(2, len(ids.shape))):
        axes = "at least 2" if rank is None else rank
        raise ValueError(f"`{name}` must have {axes} axes. Received: {name} of shape {tuple(ids.shape)}.")
    values = concrete(ids) if size is not None else None
    if values is not None and values.size and not 0 <= values.min() <= values.max() < size:
        raise ValueError(
            f"`{name}` must hold {what} in [0, {size_name}). Received: {what.split()[-1]} from {values.min()} to {values.max()} "
            f"with {size_name}={size}."
        )


def check_length(name, length, sequence_length):
    """Raises if a sequence is longer than its position table: `ValueError`, or the backend's own error in a graph.

    Args:
        name: the argument's name.
        length: T, an integer, or a scalar tensor where a graph was traced for any length.
        sequence_length: int, the length of the table, or `None` where there is none.

    Returns:
        The length. What is made of it in a graph waits for the check, and so raises no error of its own before.
    """
    if sequence_length is None:
        return length
    message = f"`{name}` must not be longer than the position table. Received: length %s with sequence_length={sequence_length}."
    if isinstance(length, int):
        if length > sequence_length:
            raise ValueError(message % length)
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if tf.is_tensor(length):
            said = tf.debugging.assert_less_equal(length, sequence_length, message=message % "of the batch")
            with tf.control_dependencies([] if said is None else [said]):
                return tf.identity(length)
    return length


def check_positions(where, sequence_length, mask=None):
    """Raises `ValueError` if the position of a real token lies beyond its table, where the values are known."""
    values, real = concrete(where), None if mask is None else concrete(mask)
    if values is not None and real is not None:
        values = values[np.broadcast_to(real, values.shape)]
    if values is not None and values.size and values.max() >= sequence_length:
        raise ValueError(
            f"A sequence must not grow longer than the position table. Received: position {values.max()} (counted from 0) with "
            f"sequence_length={sequence_length}."
        )


def check_count(count, sequence_length):
    """Returns the count of tokens seen, int32 (B,); a TensorFlow graph in which it exceeds the position table fails when run."""
    if sequence_length is None:
        return count
    return when_run(
        count,
        ops.all(count <= sequence_length),
        "A sequence must not grow longer than the position table. Received: tokens of the longest row, sequence_length",
        ops.max(count, initial=0),
        ops.cast(sequence_length, "int32"),
    )


def look_up(embedding, ids, vocabulary_size, offset=0):
    """Returns the rows of an embedding layer, and zeros for ids outside [0, vocabulary_size).

    Args:
        embedding: layer (..., T) -> (..., T, D).
        ids: integer tensor (..., T).
        vocabulary_size: int.
        offset: int, how many rows of the table stand before that of id 0.

    Returns:
        A float tensor (..., T, D).
    """
    known = ops.logical_and(ids >= 0, ids < vocabulary_size)
    places = ops.where(known, ids, ops.zeros_like(ids))
    rows = embedding(places + offset if offset else places)
    return ops.where(known[..., None], rows, ops.zeros((), dtype=rows.dtype))
