"""Distances are those between centres of patches, from the definition in loops; what lies on no grid is refused."""

import keras
import numpy as np
import pytest

from keras_tx import layers
from keras_tx.analysis import attention_distances, attention_maps
from keras_tx.analysis.attention_distances import mean_distance
from keras_tx.applications import Swin, TextClassifier, ViT


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def from_definition(scores, grid, stride, num_tokens=0):
    """(N,) of one example's weights (N, T, T)."""
    centres = [((r + 0.5) * stride[0], (c + 0.5) * stride[1]) for r in range(grid[0]) for c in range(grid[1])]
    found = []
    for head in scores[:, num_tokens:, num_tokens:]:
        each = []
        for weights, (y, x) in zip(head, centres, strict=True):
            distance = sum(w * np.sqrt((y - v) ** 2 + (x - u) ** 2) for w, (v, u) in zip(weights, centres, strict=True))
            each.append(distance / weights.sum())
        found.append(np.mean(each))
    return found


@pytest.mark.once
@pytest.mark.parametrize("distillation_token", [False, True])
def test_vit_on_an_image_that_is_no_square_with_its_tokens_left_out(distillation_token):
    model = ViT((4, 2), 2, 3, 12, 16, image_size=8, num_classes=3, distillation_token=distillation_token)
    images = random(2, 8, 10, 3)
    distances, maps = attention_distances(model, images), attention_maps(model, images)
    assert list(distances) == ["encoder_0", "encoder_1"]
    for name, found in distances.items():
        assert (found.shape, found.dtype) == ((2, 3), np.float32)
        for row, scores in zip(found, maps[name], strict=True):
            expected = from_definition(scores, (2, 5), (4, 2), 2 if distillation_token else 1)
            np.testing.assert_allclose(row, expected, rtol=1e-5)


def test_swin_counts_in_pixels_of_the_image_at_every_stage():
    model = Swin((2, 3), (1, 2), (1, 2), 8, 2, num_classes=3)
    images = random(1, 10, 18, 3)
    distances, maps = attention_distances(model, images), attention_maps(model, images)
    grids = {
        "stage_0_block_0": ((5, 6), (2, 3)),
        "stage_1_block_0": ((3, 3), (4, 6)),
        "stage_1_block_1": ((3, 3), (4, 6)),
    }
    assert list(distances) == list(grids)
    for name, (grid, stride) in grids.items():
        np.testing.assert_allclose(distances[name][0], from_definition(maps[name][0], grid, stride), rtol=1e-5)


@pytest.mark.once
def test_queries_that_attend_to_nothing_do_not_count():
    between = np.array([[0.0, 4.0], [4.0, 0.0]], "float32")
    weights = np.array([[[0.1, 0.3], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]], "float32")
    np.testing.assert_allclose(mean_distance(weights, between), [3.0, np.nan])


@pytest.mark.once
def test_a_model_without_a_grid_is_refused():
    model = TextClassifier(20, 6, hidden_dim=8, num_layers=1, num_heads=2, intermediate_dim=8)
    with pytest.raises(
        ValueError, match=r"attend to patches on a grid.*encoder_0, which attends to 6 .* no layer with"
    ):
        attention_distances(model, np.ones((1, 6), "int32"))


@pytest.mark.once
def test_a_grid_that_another_layer_changed_is_refused():
    images = keras.Input((8, 8, 3))
    x = keras.layers.MaxPooling2D()(layers.PatchEmbedding(2, 8)(images))
    model = keras.Model(images, layers.TransformerEncoder(8, attention=layers.WindowAttention(2, 2), name="block")(x))
    with pytest.raises(ValueError, match=r"block, which attends to 4 positions, on Grid\(rows=4, columns=4"):
        attention_distances(model, random(1, 8, 8, 3))


@pytest.mark.once
@pytest.mark.parametrize("where", ["pooling", "convolution", "permute"])
def test_a_layer_that_moves_pixels_or_patches_and_does_not_tell_is_refused(where):
    images = keras.Input((8, 12, 3))
    x = images
    if where == "pooling":
        x = keras.layers.AveragePooling2D(2, name="pooling")(x)
    if where == "convolution":
        x = keras.layers.Conv2D(3, 3, strides=2, padding="same", name="convolution")(x)
    x = layers.PatchEmbedding(2, 8)(x)
    if where == "permute":
        x = keras.layers.Permute((2, 1, 3), name="permute")(x)
    model = keras.Model(images, layers.TransformerEncoder(8, attention=layers.WindowAttention(2, 2), name="block")(x))
    with pytest.raises(ValueError, match=f"must not move positions.* Received: block, after {where} did"):
        attention_distances(model, random(1, 8, 12, 3))


@pytest.mark.once
def test_layers_that_leave_positions_where_they_are_are_followed():
    images = keras.Input((6, 4, 3))
    x = keras.layers.Conv2D(3, 3, padding="same")(keras.layers.ZeroPadding2D(((0, 2), (0, 0)))(images))
    x = keras.layers.Reshape((-1, 8))(layers.PatchEmbedding(2, 8)(x))
    model = keras.Model(images, keras.layers.Flatten()(layers.MultiHeadSelfAttention(2, name="attention")(x)))
    found, maps = attention_distances(model, random(1, 6, 4, 3)), attention_maps(model, random(1, 6, 4, 3))
    np.testing.assert_allclose(found["attention"][0], from_definition(maps["attention"][0], (4, 2), (2, 2)), rtol=1e-5)
