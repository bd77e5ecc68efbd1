"""Vectors at any depth, and which are nearest; where padding is, there is nothing."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.analysis import similarity

IDS = np.array([[3, 4, 5, 0], [5, 6, 7, 8], [3, 4, 5, 9]], "int32")


def model_of(length=4):
    ids = keras.Input((length,), dtype="int32")
    x = layers.TokenAndPositionEmbedding(12, 6, 8, mask_zero=True, name="embedding")(ids)
    for index in range(2):
        x = layers.TransformerEncoder(16, 2, name=f"block_{index}")(x)
    return keras.Model(ids, keras.layers.Dense(3, name="head")(layers.MaskedMeanPooling(name="pooling")(x)))


def test_vectors_are_what_the_layers_give_and_pooled_over_real_positions():
    model = model_of()
    found = similarity(model, IDS)
    assert list(found.tokens) == ["embedding", "block_0", "block_1"]
    part = keras.Model(model.input, model.get_layer("block_1").output)
    expected = ops.convert_to_numpy(part(IDS))
    real = IDS != 0
    np.testing.assert_allclose(found.tokens["block_1"][real], expected[real], atol=1e-5)
    assert np.array_equal(found.mask, real)
    np.testing.assert_allclose(found.pooled["block_1"][0], expected[0, :3].mean(axis=0), atol=1e-5)


@pytest.mark.once
def test_nearest_are_those_of_the_largest_cosine():
    found = similarity(model_of(), IDS, layer="block_1")
    assert list(found.tokens) == ["block_1"]
    vectors = found.tokens["block_1"]
    own = vectors[1, 0]
    cosines = {
        (row, place): float(vectors[row, place] @ own / np.linalg.norm(vectors[row, place]) / np.linalg.norm(own))
        for row in range(3)
        for place in range(4)
        if IDS[row, place] and (row, place) != (1, 0)
    }
    ranked = sorted(cosines, key=cosines.get, reverse=True)
    near = found.neighbours("block_1", 1, 0, count=4)
    assert [place[:2] for place in near] == ranked[:4]
    np.testing.assert_allclose([place[2] for place in near], [cosines[place] for place in ranked[:4]], atol=1e-5)
    assert len(found.neighbours("block_1", 1, 0, count=99)) == 10
    texts = found.neighbours("block_1", row=0)
    assert len(texts) == 2
    assert texts[0][1] >= texts[1][1]
    assert 0 not in [row for row, _ in texts]


@pytest.mark.once
def test_one_token_drifts_apart_with_its_sentence_by_depth():
    found = similarity(model_of(), np.array([[5, 4, 6, 7], [5, 8, 9, 10]]))
    by_depth = found.between((0, 0), (1, 0))
    assert list(by_depth) == ["embedding", "block_0", "block_1"]
    assert by_depth["embedding"] == pytest.approx(1.0, abs=1e-6)
    assert by_depth["block_1"] < 0.999


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer": "block_7"}, "must name layers of the model, of embedding, .*'block_7'"),
        ({"layer": []}, "at least one layer"),
        ({"layer": "pooling"}, r"give vectors \(B, T, D\). Received: pooling, which gives \(3, 8\)"),
        ({"mask": np.zeros((3, 4), bool)}, "`mask` must be booleans .* with a True in each row"),
        ({"mask": np.ones((3, 4))}, "`mask` must be booleans"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        similarity(model_of(), IDS, **arguments)


@pytest.mark.once
def test_places_that_are_not_there_are_refused():
    found = similarity(model_of(), IDS)
    for place in ((0, 3), (3, 0), (-1, 0), (0, 0.5), (0,)):
        with pytest.raises(ValueError, match="`second` must be a row and a position of a real token"):
            found.between((0, 0), place)
    with pytest.raises(ValueError, match="`layer` must be one of embedding"):
        found.neighbours("block_7", 0, 0)
    with pytest.raises(ValueError, match="`row` must be an integer from 0 to 2"):
        found.neighbours("block_0", 3)
    with pytest.raises(ValueError, match="`count`"):
        found.neighbours("block_0", 0, 0, count=0)


@pytest.mark.once
def test_a_model_in_which_no_layer_attends_is_asked_for_a_layer():
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, keras.layers.Dense(2, name="dense")(inputs))
    x = np.ones((1, 4, 3), "float32")
    with pytest.raises(ValueError, match="no layer attends or mixes, of dense"):
        similarity(model, x)
    assert similarity(model, x, layer="dense").tokens["dense"].shape == (1, 4, 2)
