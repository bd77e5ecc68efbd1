"""Token ids and positions as indices into a table: checked where values are known, defined where they are not."""

import keras
import numpy as np
from keras import ops

from . import sizes
from .concrete import check_tensor, concrete, is_placeholder
from .run_checks import when_run

# Up to which size each dtype holds every whole number.
_EXACT = {"float16": 2**11, "bfloat16": 2**8, "float32": 2**24}


def check(name, ids, size, rank=None, size_name="vocabulary_size", what="token ids"):
    """Returns the ids as integers; raises `ValueError` unless they are whole, inside [0, size) and of the given rank.

    Values are judged where they are known, which they are not inside a compiled function and while Keras builds.

    Args:
        name: str, the argument's name.
        ids: tensor of integers, or of whole numbers in floats.
        size: int, or `None` where it is not known.
        rank: int, or `None` for at least 2.
        size_name: str, what the message calls the size.
        what: str, what the message calls the integers.

    Returns:
        An integer tensor. A fraction, NaN or an infinity in a compiled function is -1: an id outside [0, size).
    """
    check_whole(name, ids, size, what)
    if len(ids.shape) != (rank or max(2, len(ids.shape))):
        axes = "at least 2" if rank is None else rank
        raise ValueError(f"`{name}` must have {axes} axes. Received: {name} of shape {tuple(ids.shape)}.")
    ids = as_integers(ids)
    values = concrete(ids) if isinstance(size, int) else None
    if values is not None and values.size and not 0 <= values.min() <= values.max() < size:
        raise ValueError(
            f"`{name}` must hold {what} in [0, {size_name}). Received: {what.split()[-1]} from {values.min()} to {values.max()} "
            f"with {size_name}={size}."
        )
    return ids


def check_whole(name, numbers, size=None, what="positions"):
    """Raises `ValueError` unless a tensor holds integers, or whole numbers in floats that hold all those below `size`."""
    check_tensor(name, numbers)
    dtype = keras.backend.standardize_dtype(numbers.dtype)
    if "int" in dtype:
        return
    if "float" not in dtype:
        raise ValueError(
            f"`{name}` must hold integer {what}; a keras.Input for them needs dtype='int32'. Received: {name} of dtype "
            f"{dtype}."
        )
    if is_placeholder(numbers):
        return
    if isinstance(size, int) and size > _EXACT.get(dtype, size) + 1:
        raise ValueError(
            f"`{name}` must hold integer {what}, of which {dtype} rounds those above {_EXACT[dtype]}; a keras.Input for them "
            f"needs dtype='int32'. Received: {name} of dtype {dtype} for {what} below {size}."
        )
    values = concrete(ops.cast(numbers, keras.backend.result_type(dtype, "float32")))
    wrong = [] if values is None else values[~((np.floor(values) == values) & (np.abs(values) < 2.0**31))]
    if len(wrong):
        raise ValueError(f"`{name}` must hold integer {what}. Received: {wrong[0]} in {name} of dtype {dtype}.")


def as_integers(numbers):
    """Returns int32 and int64 as they are, and other numbers as int32, with -1 for what is not a whole one.

    Fewer bits need not hold what is made of ids and positions (the size of a table, a row after an offset, a place in a batch),
    nor do unsigned ones hold a difference.
    """
    dtype = keras.backend.standardize_dtype(numbers.dtype)
    if dtype in ("int32", "int64"):
        return numbers
    if isinstance(numbers, keras.KerasTensor):
        return keras.KerasTensor(numbers.shape, dtype="int32")
    if "int" in dtype:
        return ops.cast(numbers, "int32")
    numbers = ops.cast(numbers, keras.backend.result_type(dtype, "float32"))  # in which 2**31 is finite
    whole = ops.logical_and(ops.equal(ops.floor(numbers), numbers), ops.abs(numbers) < 2.0**31)
    return ops.cast(ops.where(whole, numbers, -ops.ones_like(numbers)), "int32")


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
    if sizes.known(length) is not None:
        if length > sequence_length and not is_placeholder(length):
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
    if sequence_length is None or keras.backend.backend() != "tensorflow":
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
    return ops.where(ops.expand_dims(known, -1), rows, ops.zeros((), dtype=rows.dtype))
