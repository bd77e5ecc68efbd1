"""Rollout is the product of the layers' attention, from the definition in loops; what it cannot follow is refused."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.analysis import attention_maps, attention_rollout
from keras_tx.applications import Swin, TextClassifier, ViT


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def from_definition(maps, merge_after=None, sizes=None):
    """The rollout of one example from its maps [(N, T, T)], with the map of `sizes` merged 2 x 2 after the first."""
    total = np.eye(maps[0].shape[-1])
    for index, scores in enumerate(maps):
        mixed = np.zeros(scores.shape[1:])
        for t in range(len(mixed)):
            for s in range(len(mixed)):
                mixed[t, s] = 0.5 * np.mean([head[t, s] for head in scores]) + 0.5 * (t == s)
            mixed[t] /= mixed[t].sum()
        total = mixed @ total
        if index == merge_after:
            rows, columns = sizes
            merged = []
            for row in range(0, rows, 2):
                for column in range(0, columns, 2):
                    places = [(r, c) for r in (row, row + 1) for c in (column, column + 1) if r < rows and c < columns]
                    merged.append(np.mean([total[r * columns + c] for r, c in places], axis=0))
            total = np.array(merged)
    return total


def swin_like(size):
    images = keras.Input((*size, 3))
    x = layers.PatchEmbedding(2, 8, padding="keep")(images)
    x = layers.TransformerEncoder(16, attention=layers.WindowAttention(2, (2, 3)), name="first")(x)
    x = layers.PatchMerging()(x)
    x = layers.TransformerEncoder(16, attention=layers.WindowAttention(2, 2, shift_size=1), name="second")(x)
    return keras.Model(images, layers.MaskedMeanPooling()(x))


def test_text_follows_the_definition_and_padding_keeps_its_own():
    model = TextClassifier(20, 6, hidden_dim=8, num_layers=3, num_heads=2, intermediate_dim=8)
    ids = np.array([[3, 4, 5, 6, 0, 0], [7, 8, 9, 10, 11, 12]])
    rollout = attention_rollout(model, ids)
    assert (rollout.shape, rollout.dtype) == ((2, 6, 6), np.float32)
    np.testing.assert_allclose(rollout.sum(-1), 1.0, atol=1e-6)
    assert np.all(rollout[0, :4, 4:] == 0)
    maps = attention_maps(model, ids)
    for index in range(2):
        np.testing.assert_allclose(rollout[index], from_definition([m[index] for m in maps.values()]), atol=1e-6)


@pytest.mark.once
def test_a_query_without_keys_keeps_what_it_has():
    x = keras.Input((4, 8))
    pairs = np.ones((4, 4), bool)
    pairs[2] = False
    y = layers.MultiHeadSelfAttention(2)(x, attention_mask=ops.convert_to_tensor(pairs))
    rollout = attention_rollout(keras.Model(x, y), random(1, 4, 8))
    assert np.array_equal(rollout[0, 2], [0, 0, 1, 0])


@pytest.mark.once
@pytest.mark.parametrize("size", [(12, 8), (10, 6)])  # the second has a map of 5 x 3
def test_merged_positions_are_the_mean_of_those_they_cover(size):
    model, images = swin_like(size), random(2, *size, 3)
    maps = attention_maps(model, images)
    grid = (size[0] // 2, size[1] // 2)
    rollout = attention_rollout(model, images)
    for index in range(2):
        expected = from_definition([m[index] for m in maps.values()], merge_after=0, sizes=grid)
        np.testing.assert_allclose(rollout[index], expected, atol=1e-6)


def test_vit_and_swin_are_followed():
    vit = ViT(4, 2, 2, 8, 16, image_size=8, num_classes=3)
    assert attention_rollout(vit, random(1, 8, 12, 3)).shape == (1, 7, 7)
    swin = Swin(2, (1, 2), (1, 2), 8, 2, num_classes=3)
    assert attention_rollout(swin, random(1, 12, 8, 3)).shape == (1, 6, 24)


@pytest.mark.once
def test_only_real_positions_count_in_a_merged_one():
    x = keras.Input((2, 4, 8))
    real = np.array([[[True, True, True, False], [True, True, True, False]]])
    mask = keras.Input((2, 4), dtype="bool")
    y = layers.WindowAttention(2, 1)(x, mask=mask)  # each position attends to itself
    model = keras.Model([x, mask], layers.WindowAttention(2, 1)(layers.PatchMerging()(y, mask=mask)))
    rollout = attention_rollout(model, [random(1, 2, 4, 8), real])
    expected = np.array([[1, 1, 0, 0, 1, 1, 0, 0], [0, 0, 2, 0, 0, 0, 2, 0]]) / 4
    np.testing.assert_allclose(rollout[0], expected, atol=1e-6)


@pytest.mark.once
class TestRefusals:
    def test_branches(self):
        x = keras.Input((4, 8))
        a, b = (layers.MultiHeadSelfAttention(2, name=name)(x) for name in ("left", "right"))
        model = keras.Model(x, keras.layers.Add()([a, b]), name="forked")
        with pytest.raises(ValueError, match=r"not in branches. Received: forked, in which \w+ does not depend on"):
            attention_rollout(model, random(1, 4, 8))

    @pytest.mark.parametrize("whole_block", [True, False])
    def test_attention_to_another_sequence(self, whole_block):
        a, b = keras.Input((4, 8)), keras.Input((4, 8))
        layer = (layers.TransformerDecoder if whole_block else layers.MultiHeadCrossAttention)(
            *((16, 2) if whole_block else (2,)), name="crossing"
        )
        with pytest.raises(ValueError, match=r"attend to its own sequence. Received: crossing"):
            attention_rollout(keras.Model([a, b], layer(a, b)), [random(1, 4, 8), random(1, 4, 8)])

    def test_positions_that_no_layer_told_of(self):
        x = keras.Input((4, 8))
        y = keras.layers.AveragePooling1D(2)(layers.MultiHeadSelfAttention(2)(x))
        model = keras.Model(x, layers.MultiHeadSelfAttention(2, name="later")(y))
        with pytest.raises(ValueError, match=r"Received: later on 2 positions after 4"):
            attention_rollout(model, random(1, 4, 8))

    def test_positions_in_another_order(self):
        x = keras.Input((2, 2, 8))
        y = keras.layers.Permute((2, 1, 3), name="turned")(layers.WindowAttention(2, 2)(x))
        model = keras.Model(x, layers.WindowAttention(2, 2, name="later")(y))
        with pytest.raises(
            ValueError, match="in the order of the layer before. Received: later, after turned moved them"
        ):
            attention_rollout(model, random(1, 2, 2, 8))

    def test_no_attention_at_all(self):
        x = keras.Input((4,))
        with pytest.raises(ValueError, match=r"must have a layer that attends.*'only'"):
            attention_rollout(keras.Model(x, keras.layers.Dense(2, name="only")(x)), random(1, 4))

    @pytest.mark.parametrize("shape", [(0, 4, 8), ()])
    def test_no_inputs(self, shape):
        x = keras.Input((4, 8))
        with pytest.raises(ValueError, match="`inputs` must hold arrays of one batch size, at least 1. Received"):
            attention_rollout(keras.Model(x, layers.MultiHeadSelfAttention(2)(x)), np.zeros(shape))


def test_attention_of_keras_itself_is_followed():
    x = keras.Input((4, 8))
    model = keras.Model(x, keras.layers.MultiHeadAttention(2, 4)(x, x))
    rollout = attention_rollout(model, random(1, 4, 8))
    np.testing.assert_allclose(rollout.sum(-1), 1.0, atol=1e-6)
