"""Window attention against a plain numpy reference, for windows and maps of any shape."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers

from .contract_rows import stir
from .execution import BACKEND, array, compiled, quick
from .window_reference import window_attention

WIDTH, HEADS = 8, 2


def made(window, shift, **options):
    layer = layers.WindowAttention(HEADS, window, shift, **options)
    layer.build((None, None, None, WIDTH))
    stir(layer)
    return layer


def weights_of(layer):
    inner = layer.attention
    found = {
        name: (array(getattr(inner, name).kernel), array(getattr(inner, name).bias))
        for name in ("query", "key", "value", "attention_output")
    }
    return found | {"bias_table": array(inner.position_bias.bias_table)}


def drawn(batch, rows, columns, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, rows, columns, WIDTH)).astype("float32")


def cases(count=10):
    """Windows, shifts and maps, drawn once: taller than wide and the reverse, smaller than the window, divided or not."""
    random = np.random.default_rng(6)
    for _ in range(count):
        window = tuple(int(n) for n in random.integers(1, 5, 2))
        shift = tuple(int(random.integers(0, n)) for n in window)
        yield window, shift, tuple(int(n) for n in random.integers(1, 9, 2)), bool(random.integers(0, 2))


@pytest.mark.parametrize(("window", "shift", "size", "masked"), list(cases()))
def test_outputs_and_scores_are_those_of_the_definition(window, shift, size, masked):
    layer, x = made(window, shift), drawn(2, *size)
    real = np.random.default_rng(1).random((2, *size)) < (0.7 if masked else 2.0)

    @quick
    def run(x, real):
        real = real if masked else None
        return *layer(x, mask=real, return_attention_scores=True), layer(x, mask=real)

    outputs, scores, without_scores = (array(each) for each in run(x, ops.convert_to_tensor(real)))
    wanted, wanted_scores = window_attention(x, real, weights_of(layer), window, shift)
    np.testing.assert_allclose(scores, wanted_scores, atol=2e-6)
    np.testing.assert_allclose(outputs, wanted, atol=2e-5)
    np.testing.assert_array_equal(without_scores, outputs)


@pytest.mark.parametrize("size", [(5, 7), (4, 3)])
def test_one_window_over_the_map_is_global_attention_with_the_same_bias(size):
    layer, x = made((5, 7), (2, 3)), drawn(2, *size)
    rows, columns = size
    where = np.arange(rows)[:, None] * 7 + np.arange(columns)[None]  # the places of the map in the window
    bias = layer.attention.position_bias(where.reshape(-1).astype("int32"), where.reshape(-1).astype("int32"))
    alone = layers.MultiHeadSelfAttention(HEADS)
    alone.build((None, None, WIDTH))
    for name in ("query", "key", "value", "attention_output"):
        for mine, its in zip(getattr(alone, name).weights, getattr(layer.attention, name).weights, strict=True):
            mine.assign(its)
    wanted, wanted_scores = alone(x.reshape(2, -1, WIDTH), attention_bias=bias[None], return_attention_scores=True)
    outputs, scores = layer(x, return_attention_scores=True)
    np.testing.assert_allclose(array(outputs).reshape(2, -1, WIDTH), array(wanted), atol=1e-6)
    np.testing.assert_allclose(array(scores), array(wanted_scores), atol=1e-6)


@pytest.mark.parametrize("shift", [0, 1])
def test_what_a_mask_rules_out_may_hold_anything(shift):
    layer, x = made((2, 3), shift), drawn(1, 5, 4)
    real = np.ones((1, 5, 4), dtype=bool)
    real[:, 3:, 2:] = False
    spoilt = np.where(real[..., None], x, np.nan).astype("float32")
    outputs = array(layer(x, mask=ops.convert_to_tensor(real)))
    np.testing.assert_array_equal(array(layer(spoilt, mask=ops.convert_to_tensor(real))), outputs)
    assert not outputs[~real].any()


def test_a_nan_reaches_its_own_window_alone():
    x = drawn(1, 5, 4)
    x[0, 0, 0] = np.nan
    outputs = array(made(2, 1)(x))
    assert np.isnan(outputs[0, 0, 0]).all()
    assert np.isfinite(outputs[0].reshape(-1, WIDTH)[1:]).all()  # shifted by 1, its window is itself


@pytest.mark.parametrize("mask_padding", [True, False])
def test_a_function_compiled_for_any_size_gives_what_eager_calls_give(mask_padding):
    layer = made((3, 2), (2, 1), mask_padding=mask_padding)
    runs = [for_any_size(layer, jit) for jit in (True, False)]
    for size in [(7, 5), (2, 6)]:
        x = drawn(2, *size)
        for run in runs:
            np.testing.assert_allclose(array(run(x)), array(layer(x)), atol=1e-6)


def for_any_size(function, jit):
    """The function traced once for maps of any size on TensorFlow, compiled for each elsewhere."""
    if keras.backend.backend() != "tensorflow":
        return compiled(function)
    import tensorflow as tf

    spec = tf.TensorSpec((None, None, None, WIDTH), "float32")
    return tf.function(function, input_signature=[spec], jit_compile=jit, autograph=False)


def test_the_published_behaviour_lets_the_filling_take_part():
    x = drawn(1, 3, 3)
    masked, published = made(2, 0), made(2, 0, mask_padding=False)
    published.set_weights(masked.get_weights())
    assert np.abs(array(masked(x)) - array(published(x)))[0, :2, :2].max() == 0
    assert np.abs(array(masked(x)) - array(published(x)))[0, 2, 2].max() > 1e-3


def test_it_stands_in_the_slot_of_an_encoder_block():
    inputs = keras.Input((None, None, WIDTH))
    attention = layers.WindowAttention(HEADS, (2, 3), (1, 2), name="attention")
    block = layers.TransformerEncoder(16, attention=attention, normalize_first=True, drop_path=0.1)
    model = keras.Model(inputs, block(inputs))
    assert "/attention/attention/position_bias/bias_table" in " ".join(weight.path for weight in model.weights)
    again = keras.models.clone_model(model)
    again.set_weights(model.get_weights())
    x = drawn(2, 5, 7)
    np.testing.assert_allclose(array(again(x)), array(model(x)), rtol=1e-5, atol=1e-6)
    assert array(model(x)).shape == x.shape


def test_a_gradient_reaches_every_weight():
    inputs = keras.Input((5, 5, WIDTH))
    model = keras.Model(inputs, layers.WindowAttention(HEADS, 3, 1)(inputs))
    before = [array(weight) for weight in model.weights]
    model.compile(keras.optimizers.SGD(1.0), "mse", run_eagerly=BACKEND == "tensorflow")
    model.fit(drawn(4, 5, 5), drawn(4, 5, 5, seed=1), epochs=1, verbose=0)
    moved = {weight.path: np.abs(array(weight) - old).max() for weight, old in zip(model.weights, before, strict=True)}
    # A bias of the keys adds the same to every score of a query, and so has no gradient.
    assert all(step > 0 for path, step in moved.items() if "key/bias" not in path), moved


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window_size": 0}, "`window_size` must be a positive integer"),
        ({"window_size": (3, 0)}, "`window_size` must be a positive integer"),
        ({"window_size": (3, 3, 3)}, "`window_size` must be a positive integer"),
        ({"window_size": 3, "shift_size": 3}, "`shift_size` must be smaller than the window"),
        ({"window_size": (4, 2), "shift_size": 2}, "`shift_size` must be smaller than the window"),
        ({"window_size": 3, "shift_size": -1}, "`shift_size` must be an integer of at least 0"),
    ],
)
def test_sizes_that_make_no_window_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        layers.WindowAttention(HEADS, **options)


@pytest.mark.parametrize("shape", [(2, 5, WIDTH), (2, 5, 5, WIDTH + 2), (2, 5, 5, 5, WIDTH)])
def test_inputs_that_are_no_map_of_the_width_are_refused(shape):
    with pytest.raises(ValueError, match="`inputs` must have 4 axes, the last of size 8"):
        made(2, 0)(np.zeros(shape, dtype="float32"))


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"`mask` must have shape \(2, 5, 5\)"):
        made(2, 0)(drawn(2, 5, 5), mask=ops.ones((2, 25), dtype="bool"))


def test_a_bias_for_other_heads_is_refused():
    with pytest.raises(ValueError, match="as many heads"):
        layers.MultiHeadSelfAttention(4, position_bias=layers.WindowPositionBias(2, 3))


@pytest.mark.parametrize(("size", "alike"), [((4, 5), True), ((3, 3), False)])
def test_the_size_of_the_map_decides_the_shift_and_not_its_mask(size, alike):
    layer, x = made(3, 1), drawn(1, *size)
    filled, real = np.full((1, 6, 5, WIDTH), np.nan, "float32"), np.zeros((1, 6, 5), bool)
    filled[:, : size[0], : size[1]], real[:, : size[0], : size[1]] = x, True
    found = array(layer(filled, mask=ops.convert_to_tensor(real)))[:, : size[0], : size[1]]
    assert np.allclose(found, array(layer(x)), atol=1e-5) == alike
