"""Attention of Keras' own, and the arrays that tests of a block's slots give it."""

import keras
import numpy as np
from keras import ops

from .execution import array

B, T, S, D, N = 2, 5, 4, 8, 2
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(B, T, D)).astype("float32")
CONTEXT = RANDOM.normal(size=(B, S, D)).astype("float32")
REAL = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)
REAL_CONTEXT = np.array([[1, 1, 0, 0], [1, 1, 1, 1]], bool)
PAIRS = RANDOM.random((B, N, T, T)) < 0.6
PAIRS[:, :, 1, :2] = False  # a query without keys where the order counts


def multi_head(**kwargs):
    return keras.layers.MultiHeadAttention(N, D // N, **kwargs)


def grouped(**kwargs):
    return keras.layers.GroupQueryAttention(D // N, N, 1, **kwargs)


def assert_like(one, other):
    np.testing.assert_allclose(array(one), array(other), rtol=1e-4, atol=1e-5)


@keras.saving.register_keras_serializable(package="keras_attention")
class TakesPairs(keras.layers.Layer):
    """An attention of a caller's own that knows `attention_mask` alone."""

    def call(self, inputs, attention_mask=None):
        scores = ops.matmul(inputs, ops.swapaxes(inputs, -1, -2))
        if attention_mask is not None:
            scores = ops.where(attention_mask, scores, -1e9)
        return ops.matmul(ops.softmax(scores), inputs)
