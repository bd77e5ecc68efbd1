"""The two ways of a call that is refused: with values, and while a graph is built."""

import keras
import pytest
from keras import ops


def symbol(shape, dtype="float32"):
    return keras.KerasTensor(shape, dtype)


# Shapes of symbols are Keras' own on every backend; that they are refused there too, `test_bad_positions.py` tries on each.
WAYS = pytest.mark.parametrize(
    "make", [ops.zeros, pytest.param(symbol, marks=pytest.mark.once)], ids=["eager", "symbolic"]
)
