"""Distances over a text are those of the closed forms, with padding left out; what has no place in a text is refused."""

import keras
import numpy as np
import pytest

from keras_tx import layers
from keras_tx.analysis import attention_maps, token_distances
from keras_tx.applications import DETR, GPT, Translator, ViT, convolutional_stem

T = 7
STEP = np.arange(T) - np.arange(T)[:, None]
# Where each head looks: everywhere, at itself, three to the right and left and at both ends of the text where there are none.
MADE = (STEP == STEP, STEP == 0, np.isin(STEP, (-3, 3)))


def made(causal=False, window=None, mask_zero=True):
    """Ids and scores to vectors, by one attention whose weights are the softmax of the scores."""
    ids, scores = keras.Input((T,), dtype="int32", name="ids"), keras.Input((len(MADE), T, T), name="scores")
    x = layers.TokenAndPositionEmbedding(9, T, 6, mask_zero=mask_zero)(ids)
    attention = layers.MultiHeadSelfAttention(
        len(MADE), query_initializer="zeros", causal=causal, window=window, name="made"
    )
    return keras.Model({"ids": ids, "scores": scores}, attention(x, attention_bias=scores))


def given(*lengths):
    ids = (np.arange(T) < np.array(lengths)[:, None]).astype("int32")
    return {"ids": ids, "scores": 50.0 * np.stack([MADE] * len(lengths)).astype("float32")}


def test_even_heads_and_heads_on_one_distance_have_the_closed_forms():
    found = token_distances(made(), given(T, 5, 1))["made"]
    assert (found.shape, found.dtype) == ((3, 3), np.float32)
    even = [(length**2 - 1) / (3 * length) for length in (T, 5, 1)]
    np.testing.assert_allclose(found[:, 0], even, atol=1e-5)
    np.testing.assert_allclose(found[:, 1], 0.0, atol=1e-5)
    # Of 5 tokens the third has no token at distance 3, and attends to all alike: (2 + 1 + 0 + 1 + 2) / 5.
    np.testing.assert_allclose(found[:, 2], [3.0, (4 * 3 + 6 / 5) / 5, 0.0], atol=1e-5)


def test_causal_order_and_windows():
    found = token_distances(made(causal=True), given(T, 4))["made"]
    np.testing.assert_allclose(found[:, 0], [(T - 1) / 4, 3 / 4], atol=1e-5)
    within = token_distances(made(causal=True, window=2), given(T))["made"]
    np.testing.assert_allclose(within[0, 0], (T - 1) / T / 2, atol=1e-5)  # half on the token before, but of the first


def test_a_mask_leaves_out_padding_that_the_model_does_not_know_of():
    inputs = given(T, 5)
    model, mask = made(mask_zero=False), inputs["ids"] > 0
    found = token_distances(model, inputs, mask)["made"]
    np.testing.assert_allclose(found[:, 0], [(T**2 - 1) / (3 * T), 24 / 15], atol=1e-5)
    assert token_distances(model, inputs)["made"][1, 0] > 2  # with padding
    nothing = token_distances(model, inputs, np.zeros((2, T), bool))["made"]
    assert np.isnan(nothing).all()


def test_each_sequence_of_an_encoder_decoder_has_its_own_and_its_context_none():
    model = Translator(30, 1, 2, 8, 8)
    inputs = {"source_ids": np.array([[3, 4, 5, 6, 0]]), "target_ids": np.array([[1, 7, 8]])}
    found = token_distances(model, inputs)
    maps = attention_maps(model, inputs)
    assert len(maps) == 3
    assert list(found) == [name for name in maps if not name.endswith("/cross_attention")]
    for name, distances in found.items():
        weights, place = maps[name][0], np.arange(maps[name].shape[-1])
        real = 4 if len(place) == 5 else 3
        each = (weights * np.abs(place - place[:, None])).sum(axis=-1)[:, :real]
        np.testing.assert_allclose(distances[0], each.mean(axis=-1), rtol=1e-5)


@pytest.mark.once
def test_what_has_no_place_in_a_text_is_refused():
    vit = ViT(4, 1, 2, 8, 8, image_size=8, num_classes=3)
    with pytest.raises(ValueError, match="must attend to texts; .*`attention_distances`.* Received: vit with "):
        token_distances(vit, np.zeros((1, 8, 8, 3), "float32"))
    detr = DETR(3, convolutional_stem((4,)), num_queries=2, num_layers=1, num_heads=1, hidden_dim=4, intermediate_dim=4)
    with pytest.raises(ValueError, match="must attend to texts alone.* of class MapToSequence"):
        token_distances(detr, np.zeros((1, 8, 8, 3), "float32"))
    a, b = keras.Input((4, 8)), keras.Input((3, 8))
    crossing = keras.Model([a, b], layers.MultiHeadCrossAttention(2, name="cross")(a, context=b))
    with pytest.raises(ValueError, match=r"must attend to its own sequences.* and to others in \['cross'\]"):
        token_distances(crossing, [np.zeros((1, 4, 8)), np.zeros((1, 3, 8))])
    nested = keras.Input((2, 4, 8))
    folded = keras.Model(nested, layers.MultiHeadSelfAttention(2, name="folded")(nested))
    with pytest.raises(ValueError, match=r"of one batch axis.*'folded': \(1, 2, 2, 4, 4\)"):
        token_distances(folded, np.zeros((1, 2, 4, 8)))
    gpt, ids = GPT(9, 8, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=8), np.ones((1, 5), "int32")
    with pytest.raises(ValueError, match="`mask` must have the shape of the positions"):
        token_distances(gpt, ids, np.ones((1, 4), bool))
    with pytest.raises(ValueError, match="`mask` must be booleans"):
        token_distances(gpt, ids, np.ones((1, 5)))
