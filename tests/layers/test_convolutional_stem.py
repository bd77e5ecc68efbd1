"""Convolutions before an image is cut into patches: their values, padded images, the slot, and what it refuses."""

import re

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import analysis, applications, layers

from .contract_rows import stir
from .execution import array, gradients, quick, tensor, weighted_sum


def built(layer, channels=3):
    layer.build((None, None, None, channels))
    stir(layer)
    return layer


def drawn(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def stemmed(patch=4, padding="keep", **options):
    stem = layers.ConvolutionalStem((4, 6), (1, 2), **options)
    return built(layers.PatchEmbedding(patch, 5, padding, stem=stem))


def convolved(x, stem):
    """What a stem gives of images (B, Y, X, C), one place at a time."""
    for convolution, norm, stride in zip(stem.convolutions, stem.norms, stem.strides, strict=True):
        kernel = array(convolution.kernel)
        filled = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        rows, columns = (-(-size // stride) for size in x.shape[1:3])
        x = np.zeros((len(x), rows, columns, kernel.shape[-1]))
        for row in range(rows):
            for column in range(columns):
                near = filled[:, stride * row : stride * row + 3, stride * column : stride * column + 3]
                x[:, row, column] = np.einsum("byxc,yxcf->bf", near, kernel)
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + stem.layer_norm_epsilon)
        x = np.maximum(x * array(norm.gamma) + array(norm.beta), 0)
    return x


@pytest.mark.parametrize(("strides", "size"), [(2, (8, 8)), ((1, 2), (7, 5)), ((3, 1), (5, 1)), ((2, 3), (6, 7))])
def test_values_are_those_of_convolutions_place_by_place(strides, size):
    stem, images = built(layers.ConvolutionalStem((4, 6), strides)), drawn(2, *size, 3)
    wanted = convolved(images, stem)
    np.testing.assert_allclose(array(quick(stem)(images)), wanted, atol=1e-4)
    assert stem.compute_output_shape(images.shape) == wanted.shape
    assert stem.position_stride == (np.prod(stem.strides),) * 2


@pytest.mark.parametrize("size", [(8, 8), (7, 5)])
def test_what_a_stem_leaves_of_a_patch_is_made_one_vector(size):
    layer, images = stemmed(), drawn(2, *size, 3)
    assert layer.position_stride == (4, 4)
    maps = convolved(images, layer.stem)  # (2, 4, 4, 6), or (2, 4, 3, 6), which zeros fill up
    maps = np.pad(maps, ((0, 0), (0, 0), (0, 4 - maps.shape[2]), (0, 0)))
    patches = maps.reshape(2, 2, 2, 2, 2, 6).transpose(0, 1, 3, 2, 4, 5).reshape(2, 2, 2, 24)
    wanted = patches @ array(layer.projection.kernel) + array(layer.projection.bias)
    np.testing.assert_allclose(array(quick(layer)(images)), wanted, atol=1e-4)


@pytest.mark.parametrize("padding", ["keep", "mask"])
@pytest.mark.parametrize("size", [(8, 8), (7, 5), (6, 9), (4, 4)])
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])  # which is not 0 at 0
def test_an_image_gives_the_same_alone_and_filled_up(padding, size, activation):
    layer, image = stemmed(padding=padding, activation=activation), drawn(1, *size, 3)
    real = np.zeros((2, 13, 12), dtype=bool)
    real[0, : size[0], : size[1]] = True  # the second image has no real pixel
    spoilt = np.full((2, 13, 12, 3), np.nan, "float32")
    spoilt[0, : size[0], : size[1]] = image[0]
    alone, filled = layer(image), layer(spoilt, mask=ops.convert_to_tensor(real))
    rows, columns = alone.shape[1:3]
    np.testing.assert_allclose(array(filled)[:1, :rows, :columns], array(alone), atol=1e-6)
    assert np.isfinite(array(filled)).all()
    plain = built(layers.PatchEmbedding(4, 5, padding))
    np.testing.assert_array_equal(
        array(filled._keras_mask), array(plain(spoilt, mask=ops.convert_to_tensor(real))._keras_mask)
    )


def test_a_stem_by_itself_hands_a_mask_on_and_has_zeros_where_nothing_is_real():
    stem, images = built(layers.ConvolutionalStem((4,), activation="sigmoid")), drawn(1, 5, 6, 3)
    real = np.zeros((1, 5, 6), dtype=bool)
    real[:, 1:4, 3] = True
    outputs = stem(np.where(real[..., None], images, np.nan).astype("float32"), mask=ops.convert_to_tensor(real))
    wanted = np.zeros((1, 3, 3), dtype=bool)
    wanted[:, :2, 1] = True
    np.testing.assert_array_equal(array(outputs._keras_mask), wanted)
    np.testing.assert_array_equal(np.any(array(outputs) != 0, axis=-1), wanted)
    np.testing.assert_allclose(
        array(outputs)[wanted], array(stem(np.where(real[..., None], images, 0)))[wanted], atol=1e-6
    )
    assert getattr(stem(images), "_keras_mask", None) is None


def test_padding_that_holds_nan_spoils_no_gradient():
    layer = stemmed()
    real = np.zeros((1, 8, 8), dtype=bool)
    real[:, :5, :7] = True
    spoilt = np.where(real[..., None], drawn(1, 8, 8, 3), np.nan).astype("float32")
    found = gradients(lambda x, mask: weighted_sum(layer(x, mask=mask)), layer.trainable_variables)(
        tensor(spoilt), tensor(real)
    )
    assert len(found) == 8
    assert all(np.isfinite(each).all() and np.any(each) for each in found)


@pytest.mark.once
def test_a_config_from_before_there_were_stems_still_loads():
    config = layers.PatchEmbedding(2, 4).get_config()
    assert config.pop("stem") is None
    assert layers.PatchEmbedding.from_config(config).stem is None


@keras.saving.register_keras_serializable(package="test_stem")
class Pooled(keras.layers.Layer):
    """A stem of the caller's, which leaves it to its owner what is not real."""

    position_stride = (2, 1)

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs, mask=None):
        return keras.layers.AveragePooling2D((2, 1), padding="same", data_format="channels_last")(inputs)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[1] and -(-input_shape[1] // 2), *input_shape[2:])


def test_a_stem_may_be_a_layer_of_the_callers_own():
    layer, images = built(layers.PatchEmbedding((4, 3), 5, "keep", stem=Pooled())), drawn(2, 6, 5, 3)
    assert layer.projection.kernel.shape == (2 * 3 * 3, 5)
    real = np.ones((2, 6, 5), dtype=bool)
    real[:, 4:] = False
    spoilt = np.where(real[..., None], images, np.nan).astype("float32")
    found = array(layer(spoilt, mask=ops.convert_to_tensor(real)))
    np.testing.assert_allclose(found[:, :1], array(layer(images[:, :4])), atol=1e-6)
    copy = layers.PatchEmbedding.from_config(layer.get_config())
    assert type(copy.stem) is Pooled


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.ConvolutionalStem(()), "`filters` must be a tuple of positive integers, one for each"),
        (lambda: layers.ConvolutionalStem(8), "`filters` must be a tuple of positive integers"),
        (lambda: layers.ConvolutionalStem((8, 0)), "`filters` must be a positive integer. Received: filters=0"),
        (
            lambda: layers.ConvolutionalStem((8, 8), (2,)),
            "as long as `filters`. Received: strides=(2,), filters=(8, 8)",
        ),
        (lambda: layers.ConvolutionalStem((8,), 4), "`strides` must be an integer from 1 to 3. Received: strides=4"),
        (lambda: layers.ConvolutionalStem((8,), "2"), "`strides` must be an integer or a tuple of integers"),
        (lambda: layers.ConvolutionalStem((8,), None), "`strides` must be an integer or a tuple of integers"),
        (lambda: built(layers.ConvolutionalStem((8,)))(drawn(1, 4, 3)), "`inputs` must have 4 axes"),
        (lambda: built(layers.ConvolutionalStem((8,)))(drawn(1, 4, 4, 2)), "the last of size 3 as built"),
        (
            lambda: built(layers.ConvolutionalStem((8,)))(np.zeros((1, 4, 4, 3), "uint8")),
            "`inputs` must be a float tensor. Received: inputs of dtype uint8",
        ),
        (
            lambda: layers.PatchEmbedding(6, 4, stem=layers.ConvolutionalStem((8, 8))),
            "that divides `patch_size`. Received: stem with position_stride=(4, 4), patch_size=(6, 6)",
        ),
        (
            lambda: layers.PatchEmbedding(2, 4, stem=keras.layers.Conv2D(4, 2)),
            "`stem` must be a layer with `position_stride` that is called as (x, mask=None)",
        ),
        (
            lambda: built(layers.ConvolutionalStem((8,)))(drawn(1, 0, 4, 3)),
            "`inputs` must have at least a row and a column",
        ),
        (lambda: stemmed(padding="refuse")(drawn(1, 6, 8, 3)), "`patch_size` must divide the image"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


@pytest.mark.parametrize("kind", ["ViT", "Swin"])
def test_models_hand_a_stem_on_and_come_back_with_it(kind, tmp_path):
    options = {
        "ViT": {
            "patch_size": 4,
            "num_layers": 1,
            "num_heads": 1,
            "hidden_dim": 4,
            "intermediate_dim": 4,
            "padding": "keep",
        },
        "Swin": {"patch_size": 4, "num_layers": (1,), "num_heads": (1,), "hidden_dim": 4, "window_size": 2},
    }[kind]
    stem = layers.ConvolutionalStem((3, 4), name="stem")
    model = getattr(applications, kind)(**options, num_classes=3, stem=stem)
    stir(model)
    stem.trainable = False
    images = 255 * drawn(2, 10, 9, 3)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(array(quick(copy)(images)), array(quick(model)(images)))
    assert [weight.path for weight in copy.weights] == [weight.path for weight in model.weights]
    kept = copy.get_layer("patch_embedding").stem
    assert (kept.filters, kept.strides, kept.trainable, kept.convolutions[0].trainable) == (
        (3, 4),
        (2, 2),
        False,
        False,
    )
    assert len(analysis.attention_distances(model, images)) == 1


@pytest.mark.once
def test_costs_are_the_products_of_the_convolutions_and_of_what_is_left_of_a_patch():
    layer, images = stemmed(), keras.KerasTensor((2, 7, 5, 3))
    found = analysis.layer_costs(layer, images)
    convolutions = 7 * 5 * 9 * 3 * 4 + 4 * 3 * 9 * 4 * 6
    assert found.macs == {"convolution": 2 * (convolutions + 2 * 2 * (2 * 2 * 6) * 5)}
    assert found.normalized == 2 * (7 * 5 * 4 + 4 * 3 * 6)
