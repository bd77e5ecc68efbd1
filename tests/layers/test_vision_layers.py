"""Patches, positions on a grid, class tokens and merging, against plain numpy, and what they refuse."""

import re

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers

from .contract_rows import stir
from .execution import array, compiled, quick

MASK = np.zeros((2, 5, 7), dtype=bool)
MASK[0, :4, :3] = MASK[1, 1:, 2:] = True


def built(layer, channels=3):
    layer.build((None, None, None, channels))
    stir(layer)
    return layer


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def patches_of(images, patch):
    """(B, Y', X', rows * columns * C), one patch at a time, zeros where there is no image."""
    (batch, height, width, channels), (rows, columns) = images.shape, patch
    found = np.zeros((batch, -(-height // rows), -(-width // columns), rows, columns, channels), dtype="float32")
    for y in range(height):
        for x in range(width):
            found[:, y // rows, x // columns, y % rows, x % columns] = images[:, y, x]
    return found.reshape(*found.shape[:3], -1)


@pytest.mark.parametrize(
    ("patch", "size", "padding"),
    [(2, (4, 6), "refuse"), ((2, 3), (4, 9), "refuse"), ((3, 2), (7, 5), "keep"), (4, (5, 9), "mask")],
)
def test_patches_are_reshape_and_product(patch, size, padding):
    layer, images = built(layers.PatchEmbedding(patch, 5, padding)), drawn(2, *size, 3)
    wanted = patches_of(images, layer.patch_size) @ array(layer.projection.kernel) + array(layer.projection.bias)
    np.testing.assert_allclose(array(quick(layer)(images)), wanted, atol=1e-5)
    assert layer.compute_output_shape(images.shape) == wanted.shape


def test_patches_are_a_convolution_whose_stride_is_its_kernel():
    layer, images = built(layers.PatchEmbedding((2, 3), 5)), drawn(2, 4, 9, 3)
    kernel = ops.reshape(layer.projection.kernel, (2, 3, 3, 5))
    wanted = (
        ops.conv(images, kernel, strides=(2, 3), padding="valid", data_format="channels_last") + layer.projection.bias
    )
    np.testing.assert_allclose(array(layer(images)), array(wanted), atol=1e-5)


@pytest.mark.parametrize(
    ("padding", "pixels", "wanted"),
    [
        ("keep", False, None),
        ("mask", False, [[True, True, False], [True, True, False], [False, False, False]]),
        ("keep", True, [[True, True, False], [True, True, False], [False, False, False]]),
        ("mask", True, [[True, False, False], [True, False, False], [False, False, False]]),
    ],
)
def test_the_mask_says_which_patches_are_real(padding, pixels, wanted):
    layer, images = built(layers.PatchEmbedding((2, 2), 4, padding)), drawn(2, 5, 5, 3)
    real = np.zeros((2, 5, 5), dtype=bool)
    real[:, :4, :3] = True
    spoilt = np.where(real[..., None], images, np.nan).astype("float32")
    outputs = layer(spoilt, mask=ops.convert_to_tensor(real)) if pixels else layer(images)
    mask = getattr(outputs, "_keras_mask", None)
    assert (mask is None) == (wanted is None)
    if wanted is not None:
        np.testing.assert_array_equal(array(mask), [wanted, wanted])
    if pixels:
        assert np.isfinite(array(outputs)).all()


def vision_model(padding="mask"):
    """Every layer that hands a mask on, in one functional model for images of any size."""
    images = keras.Input((None, None, 3))
    x = layers.PatchEmbedding(2, 8, padding)(images)
    x = layers.GridPositionEncoding((3, 3), "normal")(x)
    attention = layers.WindowAttention(2, 2, 1)
    x = layers.TransformerEncoder(8, attention=attention, normalize_first=True)(x)
    x = layers.PatchMerging()(x)
    x = layers.ClassToken(initializer="normal")(x)
    x = layers.TransformerEncoder(8, num_heads=2)(x)
    return keras.Model(images, [layers.MaskedMeanPooling()(x), x])


def test_masks_pass_through_a_functional_model():
    """With "mask" the filled up rows and columns count for nothing: they are as good as cut off."""
    model, images = vision_model(), drawn(2, 11, 9, 3)
    pooled = quick(lambda images: model(images)[0])(images)
    cut = vision_model("refuse")
    cut.set_weights(model.get_weights())
    # 5 x 4 of 6 x 5 patches are whole, and of these the merged map has 3 x 2 positions; the positions of both grids differ.
    for each in (model, cut):
        each.layers[2].position_table.assign(0.0 * each.layers[2].position_table)
    pooled = quick(lambda images: model(images)[0])(images)
    np.testing.assert_allclose(
        array(pooled), array(quick(lambda images: cut(images)[0])(images[:, :10, :8])), atol=1e-5
    )


def test_a_model_for_any_size_runs_compiled():
    model = vision_model("keep")
    run = compiled(lambda images: model(images)[0])
    for size in [(6, 6), (5, 9)]:
        images = drawn(1, *size, 3)
        np.testing.assert_allclose(array(run(images)), array(model(images)[0]), atol=1e-5)


def test_positions_at_the_native_size_are_the_table_to_the_last_bit():
    layer = built(layers.GridPositionEncoding((3, 4)), 6)
    zeros = np.zeros((1, 3, 4, 6), dtype="float32")
    np.testing.assert_array_equal(array(layer(zeros))[0], array(layer.position_table))


def test_positions_are_resampled_by_cubic_convolution():
    table, new = drawn(3, 5, 2), (4, 7)
    layer = built(layers.GridPositionEncoding((3, 5)), 2)
    layer.position_table.assign(table)
    found = array(layer(np.zeros((1, *new, 2), dtype="float32")))[0]

    def kernel(x, a=-0.75):
        x = abs(x)
        return (a + 2) * x**3 - (a + 3) * x**2 + 1 if x <= 1 else a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0

    wanted = np.zeros((*new, 2))
    for y in range(4):
        for x in range(7):
            at, left = (y + 0.5) * 3 / 4 - 0.5, (x + 0.5) * 5 / 7 - 0.5
            for row in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
                for column in range(int(np.floor(left)) - 1, int(np.floor(left)) + 3):
                    weight = kernel(at - row) * kernel(left - column)
                    wanted[y, x] += weight * table[np.clip(row, 0, 2), np.clip(column, 0, 4)]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 3, 2, 6), (2, 6, 6)])
def test_class_tokens_stand_before_the_positions_in_row_major_order(shape):
    layer, x = layers.ClassToken(2, initializer="normal"), drawn(*shape)
    layer.build(shape)
    stir(layer)
    outputs = array(layer(x))
    np.testing.assert_array_equal(outputs[:, 2:], x.reshape(2, 6, 6))
    np.testing.assert_allclose(outputs[1, :2], array(layer.token) + array(layer.position), atol=1e-7)
    assert layer.compute_output_shape(shape) == outputs.shape
    assert layer.compute_output_shape((None, *shape[1:-1], 6)) == (None, 8, 6)
    assert layer.compute_output_shape((None, None, 6)) == (None, None, 6)


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 1)])
def test_merging_takes_two_by_two(size):
    layer, x = built(layers.PatchMerging(), 4), drawn(2, *size, 4)
    rows, columns = -(-size[0] // 2), -(-size[1] // 2)
    filled = np.zeros((2, 2 * rows, 2 * columns, 4), dtype="float32")
    filled[:, : size[0], : size[1]] = x
    parts = np.concatenate([filled[:, row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))], axis=-1)
    wanted = array(layer.norm(parts)) @ array(layer.reduction.kernel)
    np.testing.assert_allclose(array(quick(layer)(x)), wanted, atol=1e-5)
    assert layer.compute_output_shape(x.shape) == wanted.shape


def test_merging_heeds_the_mask():
    layer, x = built(layers.PatchMerging(), 4), drawn(2, 5, 7, 4)
    zeroed, spoilt = (np.where(MASK[..., None], x, filling).astype("float32") for filling in (0.0, np.nan))
    outputs = layer(spoilt, mask=ops.convert_to_tensor(MASK))
    np.testing.assert_array_equal(array(outputs), array(layer(zeroed)))
    wanted = [[[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]], [[0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]]]
    np.testing.assert_array_equal(array(outputs._keras_mask), np.array(wanted, dtype=bool))


def test_the_mean_of_a_map_is_over_its_real_positions():
    x = drawn(2, 5, 7, 4)
    spoilt = np.where(MASK[..., None], x, np.nan).astype("float32")
    pooled = array(layers.MaskedMeanPooling()(spoilt, mask=ops.convert_to_tensor(MASK)))
    np.testing.assert_allclose(pooled, [x[n][MASK[n]].mean(axis=0) for n in range(2)], atol=1e-6)
    np.testing.assert_allclose(array(layers.MaskedMeanPooling()(x)), x.mean(axis=(1, 2)), atol=1e-6)


def test_the_mean_of_a_sequence_may_leave_out_what_stands_first():
    x, mask = drawn(2, 5, 4), np.array([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]], bool)
    pooled = array(layers.MaskedMeanPooling(skip=1)(x, mask=ops.convert_to_tensor(mask)))
    np.testing.assert_allclose(pooled, [x[0, 1:3].mean(axis=0), np.zeros(4)], atol=1e-6)
    with pytest.raises(ValueError, match="`inputs` must have 3 axes where `skip` is set"):
        layers.MaskedMeanPooling(skip=1)(drawn(2, 5, 7, 4))


@pytest.mark.parametrize(
    ("options", "images", "message"),
    [
        ({}, np.zeros((1, 4, 6, 4), "float32"), "`inputs` must have 4 axes, the last of size 3 as built"),
        ({}, np.zeros((4, 6, 3), "float32"), "`inputs` must have 4 axes, the last of size 3 as built"),
        ({}, np.zeros((1, 4, 6, 3), "uint8"), "`inputs` must hold float pixels"),
        (
            {},
            np.zeros((1, 5, 6, 3), "float32"),
            "`patch_size` must divide the image, unless `padding` is 'keep' or 'mask'",
        ),
        (
            {"padding": "keep"},
            np.zeros((1, 1, 6, 3), "float32"),
            "must have at least 2 rows of pixels (1 patches of 2)",
        ),
        ({"min_grid_size": (1, 4)}, np.zeros((1, 4, 6, 3), "float32"), "must have at least 8 columns of pixels"),
    ],
)
def test_images_that_do_not_fit_are_refused(options, images, message):
    layer = built(layers.PatchEmbedding(2, 5, **options))
    with pytest.raises(ValueError, match=re.escape(message)):
        layer(images)


MAPPED = {
    "tokens": layers.ClassToken,
    "positions": lambda: layers.GridPositionEncoding(2),
    "merging": layers.PatchMerging,
    "windows": lambda: layers.WindowAttention(1, 2),
    "patches": lambda: layers.PatchEmbedding(1, 4),
    "pooling": layers.MaskedMeanPooling,
}


@pytest.mark.parametrize("name", MAPPED)
def test_what_is_no_map_is_refused(name):
    layer = MAPPED[name]()
    layer(drawn(1, 4, 4, 3))
    for value in (drawn(4, 3), drawn(3), np.zeros((1, 4, 4, 3), "int32"), None, keras.KerasTensor((4, 3))):
        with pytest.raises(ValueError, match=r"`inputs` must (be|have|hold) .* Received: inputs of "):
            layer(value)
    if name != "pooling":
        with pytest.raises(ValueError, match="the last of size 3 as built. Received: inputs of shape"):
            layer(drawn(1, 4, 4, 5))
        with pytest.raises(ValueError, match="a last axis of known, positive size"):
            MAPPED[name]()(keras.KerasTensor((1, 4, 4, None)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.PatchEmbedding(0, 4), "`patch_size` must be a positive integer, or a pair"),
        (lambda: layers.PatchEmbedding((2, 0), 4), "`patch_size` must be a positive integer, or a pair"),
        (lambda: layers.PatchEmbedding(2, 4, padding="same"), "`padding` must be one of 'refuse', 'keep', 'mask'"),
        (lambda: layers.PatchEmbedding(2, 4, min_grid_size=0), "`min_grid_size` must be a positive integer"),
        (lambda: layers.GridPositionEncoding((2, 2, 2)), "`grid_size` must be a positive integer, or a pair"),
        (lambda: layers.ClassToken()(drawn(2, 4)), "`inputs` must have 3 or 4 axes"),
        (lambda: built(layers.GridPositionEncoding(2))(drawn(1, 4, 3)), "`inputs` must have 4 axes"),
        (lambda: built(layers.PatchMerging())(drawn(1, 4, 3)), "`inputs` must have 4 axes"),
        (
            lambda: built(layers.WindowPositionBias(2, 3))(np.arange(10), np.arange(9)),
            "`query_positions` must lie in the window",
        ),
        (
            lambda: built(layers.WindowPositionBias(2, 3))(drawn(9), np.arange(9)),
            "`query_positions` must hold integer positions",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
