"""Rows of unequal length come in several forms, and inputs of fixed length are filled up where the model ignores padding."""

import keras
import numpy as np
import pytest

from keras_tx import layers
from keras_tx.decoding import generate

SOURCES = [[3, 4, 5], [6], [7, 8, 9, 2, 1, 3]]


class Ragged:
    """As much of a ragged tensor as its rows need, for backends that have none."""

    def __init__(self, rows):
        self.rows = rows

    def to_list(self):
        return self.rows


def ragged(rows):
    if keras.backend.backend() != "tensorflow":
        return Ragged(rows)
    import tensorflow as tf

    return tf.ragged.constant(rows)


def model_of(length, mask_zero=True, reshaped=False, dtype="int32"):
    source, ids = keras.Input((length,), dtype=dtype, name="source"), keras.Input((None,), dtype="int32", name="ids")
    context = keras.layers.Embedding(11, 8, mask_zero=mask_zero)(source)
    context = layers.TransformerEncoder(16, 2)(context)
    if reshaped:
        context = keras.layers.Reshape((2, 4 * length))(context)
    embedding = layers.TokenAndPositionEmbedding(11, 12, 8)
    x = layers.TransformerDecoder(16, 2)(embedding(ids), context)
    return keras.Model([source, ids], layers.TiedLogits(embedding)(x))


@pytest.fixture(scope="module")
def fixed(shake):
    return shake(model_of(8))


def padded(rows, length=8):
    return np.array([[*row, *[0] * (length - len(row))] for row in rows])


def test_an_input_of_fixed_length_is_filled_up(fixed):
    expected = generate(fixed, [[1]] * 3, 4, context={"source": padded(SOURCES)})
    for rows in (SOURCES, ragged(SOURCES), padded(SOURCES, 6), [np.array(row, "int8") for row in SOURCES]):
        assert generate(fixed, [[1]] * 3, 4, context={"source": rows}).tolist() == expected.tolist()


def test_ragged_prompts_are_lists(fixed):
    prompts, context = [[1, 2], [3], [4, 5, 6]], {"source": padded(SOURCES)}
    expected = generate(fixed, prompts, 3, context=context)
    assert generate(fixed, ragged(prompts), 3, context=context).tolist() == expected.tolist()


@pytest.mark.once
@pytest.mark.parametrize("options", [{"mask_zero": False}, {"reshaped": True, "mask_zero": False}])
def test_an_input_of_fixed_length_is_not_filled_up_with_what_the_model_sees(options):
    model = model_of(8, **options)
    with pytest.raises(
        ValueError, match="must have rows of the length that its input has.* 6 tokens of 'source', which takes 8"
    ):
        generate(model, [[1]] * 3, 2, context={"source": padded(SOURCES, 6)})
    with pytest.raises(
        ValueError, match="must have rows of one length, or `pad_id` be padding .* 1 to 6 tokens of 'source'"
    ):
        generate(model, [[1]] * 3, 2, context={"source": SOURCES})


@pytest.mark.once
def test_a_mask_may_be_rows_of_unequal_length(shake):
    source, ids = keras.Input((None,), dtype="int32", name="source"), keras.Input((None,), dtype="int32", name="ids")
    real = keras.Input((None,), dtype="bool", name="real")
    embedding = layers.TokenAndPositionEmbedding(11, 12, 8)
    x = layers.TransformerDecoder(16, 2)(embedding(ids), keras.layers.Embedding(11, 8)(source), context_mask=real)
    model = shake(keras.Model([source, real, ids], layers.TiedLogits(embedding)(x)))
    masks = [[True] * len(row) for row in SOURCES]
    expected = generate(
        model, [[1]] * 3, 3, context={"source": padded(SOURCES, 6), "real": padded(masks, 6).astype(bool)}
    )
    assert generate(model, [[1]] * 3, 3, context={"source": SOURCES, "real": masks}).tolist() == expected.tolist()


@pytest.mark.once
def test_lists_of_numbers_of_unequal_length_are_refused_by_name():
    values, ids = keras.Input((None, 8), name="values"), keras.Input((None,), dtype="int32", name="ids")
    x = layers.TransformerDecoder(16, 2)(layers.TokenAndPositionEmbedding(11, 12, 8)(ids), values)
    model = keras.Model([values, ids], keras.layers.Dense(11)(x))
    rows = [np.ones((2, 8)).tolist(), np.ones((3, 8)).tolist()]
    with pytest.raises(
        ValueError, match="`context` must be an array; .* Received: lists of unequal lengths for 'values'"
    ):
        generate(model, [[1]] * 2, 2, context={"values": rows})
