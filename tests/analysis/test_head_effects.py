"""What gradients tell of heads is what switching them off does: exactly where outputs are linear and one number a row."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.analysis import attention_maps, attention_patterns
from keras_tx.applications import GPT


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def effects(model, inputs, way, **settings):
    return attention_patterns(model, inputs, effects="all", effects_by=way, **settings).effects


def one_number(x):
    return keras.layers.Dense(1)(keras.layers.Flatten()(x))


def of_windows():
    images = keras.Input((5, 6, 8))
    return keras.Model(images, one_number(layers.WindowAttention(2, 3, name="own")(images))), random(3, 5, 6, 8)


def of_a_context():
    a, b = keras.Input((4, 8)), keras.Input((3, 8))
    x = layers.MultiHeadCrossAttention(2, name="own")(a, context=b)
    return keras.Model([a, b], one_number(x)), [random(3, 4, 8), random(3, 3, 8, seed=1)]


def of_keras():
    inputs = keras.Input((4, 8))
    x = keras.layers.MultiHeadAttention(2, 4, name="own")(inputs, inputs)
    return keras.Model(inputs, one_number(x)), random(3, 4, 8)


@pytest.mark.parametrize("make", [of_windows, of_a_context, of_keras])
def test_a_gradient_is_the_change_where_outputs_are_linear_and_one_number_a_row(make):
    model, inputs = make()
    found = [effects(model, inputs, way)["own"] for way in ("ablation", "gradient")]
    assert np.all(found[0] > 0)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)


def test_a_head_of_little_weight_in_a_decoder_has_the_effect_that_its_gradient_tells():
    a, b = keras.Input((4, 8)), keras.Input((3, 8))
    block = layers.TransformerDecoder(16, 2, name="decoder")
    model = keras.Model([a, b], one_number(block(a, b)))
    for attention in (block.attention, block.cross_attention):
        kernel = attention.attention_output.kernel
        kernel.assign(1e-3 * ops.convert_to_numpy(kernel))
    inputs = [random(2, 4, 8), random(2, 3, 8, seed=1)]
    found = [effects(model, inputs, way) for way in ("ablation", "gradient")]
    for name in ("decoder", "decoder/cross_attention"):
        assert np.all(found[0][name] < 0.01)
        np.testing.assert_allclose(found[1][name], found[0][name], rtol=0.1)


IDS = np.random.default_rng(0).integers(0, 20, (4, 6))


def gpt(**settings):
    return GPT(20, 8, num_layers=1, num_heads=3, hidden_dim=12, intermediate_dim=8, **settings)


@pytest.fixture(scope="module")
def plain():
    """A model of weights as large as trained ones, and the effects of its heads by their gradients."""
    model, rng = gpt(), np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(0.3 * rng.standard_normal(weight.shape) + (1.0 if "gamma" in weight.path else 0.0))
    return model, effects(model, IDS, "gradient")["decoder_0"]


def test_many_outputs_a_row_are_told_of_by_random_signs(plain):
    """6 x 20 numbers a row and 4 rows: an error of about an eighth, and more from what bends; no head is far off."""
    model, found = plain
    ratios = found / effects(model, IDS, "ablation")["decoder_0"]
    assert np.all((ratios > 0.5) & (ratios < 2.0)), ratios


def test_blocks_that_compute_again_do_not_hide_their_heads(plain):
    model, found = plain
    again = gpt(recompute=True)
    again.set_weights(model.get_weights())
    np.testing.assert_allclose(effects(again, IDS, "gradient")["decoder_0"], found, rtol=1e-3)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method implemented:UserWarning")
def test_a_gradient_passes_through_quantized_layers(plain):
    model, found = plain
    small = gpt()
    small.set_weights(model.get_weights())
    small.quantize("int8")
    np.testing.assert_allclose(effects(small, IDS, "gradient")["decoder_0"], found, rtol=0.2)


def test_the_call_that_is_named_is_the_one_whose_heads_count():
    inputs = keras.Input((4, 8))
    shared = layers.MultiHeadSelfAttention(2, name="shared")
    model = keras.Model(inputs, one_number(shared(shared(inputs))))
    x = random(3, 4, 8)
    found = [effects(model, x, way) for way in ("ablation", "gradient")]
    np.testing.assert_allclose(found[1]["shared#2"], found[0]["shared#2"], rtol=1e-4)
    assert np.abs(found[1]["shared"] - found[1]["shared#2"]).max() > 1e-3
    assert list(attention_maps(model, x)) == list(found[1])


@pytest.mark.once
@pytest.mark.parametrize("way", ["ablation", "gradient"])
def test_outputs_of_integers_tell_of_no_effect_and_are_refused(way):
    inputs = keras.Input((4, 8))
    x = ops.argmax(layers.MultiHeadSelfAttention(2, name="own")(inputs), axis=-1)
    model = keras.Model(inputs, x)
    with pytest.raises(ValueError, match=r"`model` must have an output of floats.* dtypes \['int32'\]"):
        effects(model, random(1, 4, 8), way)
    assert np.isnan(attention_patterns(model, random(1, 4, 8), effects=None).effects["own"]).all()


@pytest.mark.once
def test_heads_without_an_axis_of_rows_are_refused():
    inputs = keras.Input((4, 8), batch_size=3)
    x = ops.sum(inputs, axis=0, keepdims=True)
    model = keras.Model(inputs, layers.MultiHeadSelfAttention(2, name="own")(x))
    with pytest.raises(ValueError, match=r"`effects_by` may be 'gradient' where .* own with heads .* for a batch of 3"):
        effects(model, random(3, 4, 8), "gradient")
