"""Attention maps come from a walk over any functional model, and looking changes nothing."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.analysis import attention_maps
from keras_tx.applications import TextClassifier


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def test_maps_of_a_users_own_model_are_weights_and_leave_its_logits_bit_identical():
    ids = keras.Input((None,), dtype="int32")
    x = layers.TokenAndPositionEmbedding(20, 12, 16, mask_zero=True)(ids)
    x = layers.MultiHeadSelfAttention(2, name="first")(x)
    x = layers.TransformerEncoder(32, 4, dropout=0.5, name="second")(x)
    x = layers.TransformerDecoder(32, 2, name="third")(x)
    model = keras.Model(ids, keras.layers.Dense(3)(x))
    given = np.array([[3, 4, 5, 6, 0, 0], [7, 8, 9, 10, 11, 12]])
    maps, outputs = attention_maps(model, given, return_outputs=True)
    assert {name: scores.shape for name, scores in maps.items()} == {
        "first": (2, 2, 6, 6),
        "second": (2, 4, 6, 6),
        "third": (2, 2, 6, 6),
    }
    assert np.array_equal(ops.convert_to_numpy(outputs), ops.convert_to_numpy(model(given)))
    for scores in maps.values():
        assert np.all(scores[0, :, :, 4:] == 0)  # nobody attends to padding
        np.testing.assert_allclose(scores[:, :, :4].sum(-1), 1.0, atol=1e-6)
    assert np.all(np.triu(maps["third"][1, 0], 1) == 0)


def test_maps_are_those_that_the_layer_itself_returns():
    inputs = keras.Input((5, 8))
    layer = layers.MultiHeadSelfAttention(2, name="attention")
    model = keras.Model(inputs, layer(inputs))
    x = random(2, 5, 8)
    _, scores = layer(x, return_attention_scores=True)
    assert np.array_equal(attention_maps(model, x)["attention"], ops.convert_to_numpy(scores))


@pytest.mark.once
def test_a_decoder_with_a_context_has_two_maps():
    a, b = keras.Input((4, 8)), keras.Input((3, 8))
    model = keras.Model([a, b], layers.TransformerDecoder(16, 2, name="decoder")(a, b))
    maps = attention_maps(model, [random(2, 4, 8), random(2, 3, 8)])
    assert {name: scores.shape for name, scores in maps.items()} == {
        "decoder": (2, 2, 4, 4),
        "decoder/cross_attention": (2, 2, 4, 3),
    }


@pytest.mark.once
def test_maps_of_nested_models_are_named_by_path():
    classifier = TextClassifier(10, 6, hidden_dim=8, num_layers=2, num_heads=2, intermediate_dim=8, name="inner")
    ids = keras.Input((6,), dtype="int32")
    model = keras.Model(ids, classifier(ids))
    assert list(attention_maps(model, np.ones((1, 6), "int32"))) == ["inner/encoder_0", "inner/encoder_1"]


@pytest.mark.once
def test_a_model_that_was_built_to_return_scores_still_does():
    inputs = keras.Input((4, 8))
    y, scores = layers.TransformerEncoder(16, 2, name="block")(inputs, return_attention_scores=True)
    model = keras.Model(inputs, [y, scores])
    maps, outputs = attention_maps(model, random(1, 4, 8), return_outputs=True)
    assert np.array_equal(maps["block"], ops.convert_to_numpy(outputs[1]))


@pytest.mark.once
def test_a_model_without_attention_is_refused_with_its_layers():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2, name="only")(inputs), name="plain")
    with pytest.raises(ValueError, match=r"must have a layer that attends.*plain.*'only'"):
        attention_maps(model, random(1, 4))
