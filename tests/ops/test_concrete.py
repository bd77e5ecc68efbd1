"""Values are told from what is only being traced."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.ops.concrete import check_tensor, concrete

BACKEND = keras.backend.backend()


def seen_while_traced(*arguments):
    """What `concrete` says of the arguments inside a function that the backend traces."""
    said = []

    def function(*tensors):
        said.extend(concrete(tensor) for tensor in tensors)
        return tensors[0] + 0

    if BACKEND == "tensorflow":
        import tensorflow as tf

        tf.function(function)(*arguments)
    elif BACKEND == "jax":
        import jax

        jax.jit(function)(*arguments)
    else:
        import torch

        with torch.device("meta"):
            function(*(torch.empty_like(argument, device="meta") for argument in arguments))
    return said


@pytest.mark.parametrize(
    "value",
    [
        ops.convert_to_tensor([[1, 2], [3, 4]], dtype="int32"),
        np.array([[1, 2], [3, 4]]),
        keras.Variable(np.array([[1, 2], [3, 4]]), dtype="int32", trainable=False),
    ],
    ids=["tensor", "array", "variable"],
)
def test_what_has_values_gives_them(value):
    values = concrete(value)
    assert isinstance(values, np.ndarray)
    np.testing.assert_array_equal(values, [[1, 2], [3, 4]])


def test_a_number_gives_itself():
    assert concrete(7) == 7


def test_a_symbolic_tensor_has_no_values():
    assert concrete(keras.KerasTensor((2, 3))) is None
    assert concrete(keras.Input((3,))) is None


def test_a_traced_tensor_has_no_values():
    assert seen_while_traced(ops.ones((2, 3))) == [None]


def test_a_tensor_that_needs_gradients_has_values():
    variable = keras.Variable(np.ones((2,)))
    np.testing.assert_array_equal(concrete(variable.value), [1, 1])


def test_a_placeholder_has_no_values():
    assert concrete(keras.KerasTensor((2,))) is None
    with keras.SymbolicScope():  # in which Keras builds, with real tensors where a backend has no others
        assert concrete(ops.ones((2,))) is None


@pytest.mark.once
def test_a_ragged_tensor_is_refused_with_the_way_out():
    import tensorflow as tf

    with pytest.raises(ValueError, match=r"`x` must be dense.*`to_tensor\(\)`. Received: x as a RaggedTensor"):
        check_tensor("x", tf.ragged.constant([[1], [2, 3]]))
