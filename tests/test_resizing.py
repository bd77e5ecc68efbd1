"""Windows of another size: what is kept, and how the tables of bias are resampled."""

import keras
import numpy as np
import pytest

from keras_tx import layers
from keras_tx.resizing import resize_windows

from .layers.contract_rows import stir
from .layers.execution import array


def windowed(window=(3, 3), shift=(1, 1)):
    inputs = keras.Input((None, None, 8))
    inner_inputs = keras.Input((None, None, 8))
    attention = layers.WindowAttention(2, window, shift, name="attention")
    inner = keras.Model(inner_inputs, layers.WindowAttention(2, window, name="plain")(inner_inputs), name="inner")
    x = layers.TransformerEncoder(8, attention=attention, name="block")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3)(inner(x)))
    stir(model)
    return model


def test_windows_of_the_same_size_change_nothing():
    model, x = windowed(), np.random.default_rng(0).normal(size=(1, 5, 4, 8)).astype("float32")
    np.testing.assert_array_equal(array(resize_windows(model, 3)(x)), array(model(x)))


def test_every_window_and_shift_gets_the_new_size_and_every_other_weight_is_kept():
    model = windowed()
    copy = resize_windows(model, (6, 5))
    attention = copy.get_layer("block").attention
    assert (attention.window_size, attention.shift_size) == ((6, 5), (3, 2))
    assert copy.get_layer("inner").get_layer("plain").window_size == (6, 5)
    assert copy.get_layer("inner").get_layer("plain").shift_size == (0, 0)
    assert [weight.path for weight in copy.weights] == [weight.path for weight in model.weights]
    kept = [pair for pair in zip(model.weights, copy.weights, strict=True) if pair[0].name != "bias_table"]
    assert len(kept) == len(model.weights) - 2
    for old, new in kept:
        np.testing.assert_array_equal(array(new), array(old))
    assert array(copy(np.ones((1, 7, 9, 8), "float32"))).shape == (1, 7, 9, 3)


def test_a_bias_that_is_linear_in_the_offset_stays_linear():
    """Offsets of the same share of the window keep their bias, away from the border, where the table is repeated."""
    model = windowed((9, 9), (0, 0))
    table = model.get_layer("block").attention.attention.position_bias.bias_table
    offsets = np.arange(-8, 9) / 17
    grid = 2.0 * offsets[:, None] + 3.0 * offsets[None]
    table.assign(np.stack([grid, -grid], axis=-1).reshape(-1, 2))
    found = array(resize_windows(model, 13).get_layer("block").attention.attention.position_bias.bias_table)
    offsets = np.arange(-12, 13) / 25
    wanted = 2.0 * offsets[:, None] + 3.0 * offsets[None]
    found = found.reshape(25, 25, 2)
    np.testing.assert_allclose(found[3:-3, 3:-3, 0], wanted[3:-3, 3:-3], atol=0.02)
    np.testing.assert_allclose(found[..., 1], -found[..., 0], atol=1e-6)


def test_what_has_no_windows_is_refused():
    inputs = keras.Input((4, 8))
    with pytest.raises(ValueError, match="`model` must have a WindowAttention"):
        resize_windows(keras.Model(inputs, layers.TransformerEncoder(8, 2)(inputs)), 3)
    with pytest.raises(ValueError, match="`model` must be a built keras.Model"):
        resize_windows(layers.WindowAttention(2, 3), 3)
    with pytest.raises(ValueError, match="`window_size` must be a positive integer"):
        resize_windows(windowed(), 0)


def test_no_shift_stays_none_along_each_axis():
    attention = resize_windows(windowed((3, 1), (1, 0)), 4).get_layer("block").attention
    assert (attention.window_size, attention.shift_size) == ((4, 4), (2, 0))


@pytest.mark.parametrize(("least", "wanted"), [((3, 2), (5, 5)), ((2, 2), (2, 2)), (None, None)])
def test_the_least_grid_of_patches_follows_the_windows_whose_size_it_has(least, wanted):
    images = keras.Input((None, None, 3))
    x = layers.PatchEmbedding(2, 8, min_grid_size=least, name="patches")(images)
    model = keras.Model(images, layers.WindowAttention(2, (3, 2))(x))
    assert resize_windows(model, 5).get_layer("patches").min_grid_size == wanted


@keras.saving.register_keras_serializable(package="keras_tx_tests")
class OtherWindows(layers.WindowAttention):
    pass


@keras.saving.register_keras_serializable(package="keras_tx_tests")
class OwnWindows(keras.layers.Layer):
    """A layer whose config does not tell of the windows in it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.windows = layers.WindowAttention(2, 3, name="windows")

    def build(self, input_shape):
        self.windows.build(input_shape)

    def call(self, inputs):
        return self.windows(inputs)


def test_windows_that_no_config_gives_and_adapters_in_blocks_are_refused():
    adapted = windowed()
    adapted.get_layer("block").attention.attention.query.enable_lora(2)
    with pytest.raises(ValueError, match="resize it before `enable_lora`.* does not give .*query/lora_kernel_a"):
        resize_windows(adapted, 4)
    inputs, fixed = keras.Input((None, None, 8)), keras.Input((4, 4, 8))
    with pytest.raises(ValueError, match="not in a layer of your own.* does not give .*bias_table"):
        resize_windows(keras.Model(fixed, OwnWindows()(fixed)), 4)
    with pytest.raises(ValueError, match="not of a subclass.* in which .*other is of class OtherWindows"):
        resize_windows(keras.Model(inputs, OtherWindows(2, 3, name="other")(inputs)), 4)
