"""What DETR does to maps: padding of pixels, positions by sines, maps in a row, learned queries, frozen norms; against numpy."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers

from .execution import SeenMask, array, compiled, quick, tensor

PIXELS = np.zeros((2, 9, 7), dtype=bool)
PIXELS[0], PIXELS[1, :6, :3] = True, True
ROWS, COLUMNS = [0, 2, 4, 6], [0, 1, 2, 4, 5]  # of 4 x 5 positions of a map of 9 x 7 pixels


def drawn(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def test_a_map_gets_the_mask_of_the_pixels_it_was_made_of():
    x, seen = drawn(2, 4, 5, 8), SeenMask()
    x[1, 3], x[1, :, 3:] = np.nan, np.inf
    layer = layers.PixelMask(resample=True)
    outputs = seen(layer(x, PIXELS))
    wanted = PIXELS[:, ROWS][:, :, COLUMNS]
    assert wanted[1].sum() == 9  # 3 rows and 3 columns
    np.testing.assert_array_equal(array(seen.mask), wanted)
    np.testing.assert_array_equal(array(outputs), np.where(wanted[..., None], x, 0.0))
    np.testing.assert_array_equal(array(quick(layer)(x, PIXELS.astype("float32"))), array(outputs))


def test_images_lose_what_stands_in_their_padding_and_carry_no_mask():
    images, seen, layer = drawn(2, 9, 7, 3), SeenMask(), layers.PixelMask()
    np.testing.assert_array_equal(array(seen(layer(images, PIXELS))), np.where(PIXELS[..., None], images, 0.0))
    assert seen.mask is None
    np.testing.assert_array_equal(array(layer(images)), images)


@pytest.mark.parametrize("mask", [np.ones((2, 8, 7)), np.ones((1, 2, 9, 7)), np.ones((3, 9, 7))])
def test_a_mask_of_other_images_is_refused(mask):
    with pytest.raises(ValueError, match=r"`pixel_mask` must have shape \(2, 9, 7\). Received: pixel_mask of shape"):
        layers.PixelMask()(drawn(2, 9, 7, 3), mask)
    if mask.shape[1] != 8:
        with pytest.raises(ValueError, match=r"`pixel_mask` must have shape \(2, any, any\). Received: pixel_mask"):
            layers.PixelMask(resample=True)(drawn(2, 3, 3, 8), mask)


def test_a_mask_of_other_numbers_than_0_and_1_is_refused():
    with pytest.raises(ValueError, match="`pixel_mask` must be boolean.* Received: pixel_mask .* that holds 0.5"):
        layers.PixelMask()(drawn(2, 9, 7, 3), np.full((2, 9, 7), 0.5, dtype="float32"))


def sines(places, dim):
    """(...) -> (..., dim): sine and cosine side by side."""
    angles = np.asarray(places, "float64")[..., None] / 10_000 ** (np.arange(0, dim, 2) / dim)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(*np.shape(places), dim)


@pytest.mark.parametrize("masked", [False, True])
def test_positions_are_sines_of_the_fractions_of_the_real_map(masked):
    mask = PIXELS if masked else np.ones_like(PIXELS)
    count = mask.astype("float64")
    rows, columns = (np.cumsum(count, axis=axis) for axis in (1, 2))
    rows = 2 * np.pi * rows / (rows[:, -1:] + 1e-6)
    columns = 2 * np.pi * columns / (columns[:, :, -1:] + 1e-6)
    wanted = np.concatenate([sines(rows, 6), sines(columns, 6)], axis=-1).reshape(2, 63, 12)
    layer, given = layers.SinusoidalGridPositions(), {"mask": ops.convert_to_tensor(mask)} if masked else {}
    outputs = layer(np.zeros((2, 9, 7, 12)), **given)
    np.testing.assert_allclose(array(outputs), wanted, atol=2e-6)
    outputs = compiled(lambda x: layer(x, **given))(ops.zeros((2, 9, 7, 12)))
    np.testing.assert_allclose(array(outputs), wanted, atol=2e-6)


def test_positions_need_a_sine_and_a_cosine_of_rows_and_columns():
    with pytest.raises(ValueError, match=r"`inputs` must have a last axis that 4 divides.* Received: .*\(2, 3, 4, 6\)"):
        layers.SinusoidalGridPositions()(ops.zeros((2, 3, 4, 6)))


def test_a_map_is_laid_out_row_by_row_with_its_mask():
    x, seen = drawn(2, 9, 7, 4), SeenMask()
    outputs = seen(layers.MapToSequence()(x, mask=ops.convert_to_tensor(PIXELS)))
    np.testing.assert_array_equal(array(outputs), x.reshape(2, 63, 4))
    np.testing.assert_array_equal(array(seen.mask), PIXELS.reshape(2, 63))


@pytest.mark.parametrize("layer", [layers.MapToSequence, layers.PixelMask, layers.SinusoidalGridPositions])
def test_what_is_no_map_of_floats_or_of_another_width_is_refused(layer):
    with pytest.raises(ValueError, match=r"`inputs` must have 4 axes. Received: inputs of shape \(2, 3, 4\)"):
        layer()(ops.zeros((2, 3, 4)))
    layer = layer()
    layer.build((None, None, None, 8))
    for inputs in (ops.zeros((2, 3, 4)), ops.zeros((2, 3, 4, 7)), keras.KerasTensor((None, 3, 4, 7))):
        with pytest.raises(
            ValueError, match="`inputs` must have 4 axes, the last of size 8 as built. Received: inputs of"
        ):
            layer(inputs)
    with pytest.raises(ValueError, match="`inputs` must be a float tensor. Received: inputs of dtype int32"):
        layer(ops.zeros((2, 3, 4, 8), dtype="int32"))


def test_queries_are_the_same_for_each_sample():
    layer = layers.LearnedQueries(3)
    outputs = array(layer(drawn(2, 5, 4)))
    assert outputs.shape == (2, 3, 4)
    np.testing.assert_array_equal(outputs[0], array(layer.queries))
    np.testing.assert_array_equal(outputs[1], outputs[0])


def test_a_frozen_norm_is_that_of_keras_and_never_learns():
    x, layer = drawn(2, 3, 4, 5), layers.FrozenBatchNormalization(epsilon=1e-3)
    theirs = keras.layers.BatchNormalization(epsilon=1e-3)
    for norm in (layer, theirs):
        norm.build(x.shape)
        norm.set_weights([drawn(4, 5)[index] ** 2 for index in range(4)])
    layer.trainable = True
    assert layer.trainable_weights == []
    for training in (False, True):
        np.testing.assert_allclose(array(layer(x, training=training)), array(theirs(x, training=False)), atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_frozen_norm_of_half_floats_is_rounded_once(policy):
    """Formed as factor and offset in half floats it overflows, or loses what is small beside the mean."""
    layer = layers.FrozenBatchNormalization(epsilon=1e-5, dtype=policy)
    layer.build((1, 1))
    layer.set_weights([np.ones(1), np.zeros(1), np.full(1, 10_000.0), np.full(1, 1e-3)])
    x = tensor(np.array([[10_000.0]]), layer.compute_dtype)  # 9,984 in bfloat16
    np.testing.assert_allclose(array(layer(x)), (array(x) - 10_000.0) / np.sqrt(1e-3 + 1e-5), rtol=5e-3)
