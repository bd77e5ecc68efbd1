"""A single row takes another way through a product, and arrives at the same place."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.layers import TiedLogits, TokenAndPositionEmbedding
from keras_tx.layers.dense import Dense, EinsumDense
from keras_tx.ops import linear

INTO, OUT = "btd,dhk->bthk", "bthk,hkd->btd"
rng = np.random.default_rng(0)


def made(kind, use_bias):
    if kind == "dense":
        return Dense(6, "relu", use_bias=use_bias, bias_initializer="normal"), (8,)
    equation, shape, inputs = (INTO, (None, 3, 5), (8,)) if kind == "into heads" else (OUT, (None, 7), (2, 4))
    axes = equation.split("->")[1][2:] if use_bias else None
    return EinsumDense(equation, shape, bias_axes=axes, bias_initializer="normal"), inputs


@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("kind", ["dense", "into heads", "out of heads"])
def test_a_row_alone_gives_what_it_gives_among_others(kind, use_bias):
    layer, shape = made(kind, use_bias)
    rows = ops.convert_to_tensor(rng.standard_normal((2, 3, *shape)), dtype="float32")
    together = ops.convert_to_numpy(layer(rows))
    alone = ops.convert_to_numpy(layer(rows[1:, 2:]))
    assert linear.is_one_row(rows[1:, 2:], len(shape)) == (keras.backend.backend() == "tensorflow")
    assert not linear.is_one_row(rows, len(shape))
    np.testing.assert_allclose(alone, together[1:, 2:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_logits_of_a_row_alone_are_those_it_has_among_others(dtype):
    embedding = TokenAndPositionEmbedding(11, 6, 8, dtype=dtype)
    embedding(np.zeros((1, 3), "int32"))
    logits = TiedLogits(embedding, use_bias=True, dtype=dtype)
    rows = ops.convert_to_tensor(rng.standard_normal((2, 3, 8)), dtype=logits.compute_dtype)
    together, alone = (ops.convert_to_numpy(ops.cast(logits(x), "float32")) for x in (rows, rows[1:, 2:]))
    table = ops.convert_to_numpy(embedding.token_embedding.embeddings)
    tolerance = 1e-5 if dtype == "float32" else 0.1
    expected = ops.convert_to_numpy(ops.cast(rows, "float32")) @ table.T
    np.testing.assert_allclose(together, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(alone, together[1:, 2:], rtol=tolerance, atol=tolerance)


def test_a_soft_cap_holds_as_keras_has_it():
    table = keras.layers.ReversibleEmbedding(11, 8, logit_soft_cap=0.5, embeddings_initializer="normal")
    table(np.zeros((1, 3), "int32"))
    x = ops.convert_to_tensor(100 * rng.standard_normal((2, 3, 8)), dtype="float32")
    ours, theirs = (ops.convert_to_numpy(each) for each in (TiedLogits(table)(x), table(x, reverse=True)))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert np.abs(ours).max() <= 0.5
