"""Dropout and DropPath: Keras' constructor, the same masks on every backend, other masks at each call."""

import hashlib
import inspect
import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.layers import Dropout, DropPath, MultiHeadSelfAttention, TransformerDecoder, TransformerEncoder

from .execution import BACKEND, array, compiled, input_gradient, tensor

SIGMAS = 5.5


def drawn(layer, shape=(64, 64)):
    """Where the next call keeps its inputs."""
    return array(layer(ops.ones(shape), training=True)) != 0


def correlation(first, second, rate):
    """How many standard deviations two masks, each True at 1 - rate, are from being independent."""
    both = np.count_nonzero(first & second) - np.count_nonzero(first) * np.mean(second)
    return both / np.sqrt(first.size) / (rate * (1 - rate))


def step(layer, compile_with=lambda function: function):
    """Returns a function of inputs that calls the layer in training and advances its seed."""
    state = layer.seed_generator.state
    if BACKEND != "jax":
        return compile_with(lambda x: layer(x, training=True))

    def pure(x, seed):
        with keras.StatelessScope(state_mapping=[(state, seed)]) as scope:
            outputs = layer(x, training=True)
        return outputs, scope.get_current_value(state)

    run = compile_with(pure)

    def call(x):
        outputs, seed = run(x, state.value)
        state.assign(seed)
        return outputs

    return call


def test_the_constructor_is_that_of_keras():
    def names(layer):
        return list(inspect.signature(layer.__init__).parameters)

    assert names(Dropout) == names(keras.layers.Dropout)
    theirs = keras.layers.Dropout(0.25, (None, 1, 3), 4, name="drop", dtype="mixed_float16")
    ours = Dropout.from_config(theirs.get_config())
    assert (ours.rate, ours.noise_shape, ours.seed, ours.name) == (0.25, (None, 1, 3), 4, "drop")
    assert ours.dtype_policy.name == "mixed_float16"
    assert ours.get_config() == theirs.get_config()


@pytest.mark.parametrize("training", [False, None])
def test_outside_training_the_inputs_come_back_and_the_seed_stays(training):
    layer = Dropout(0.5, seed=1)
    before = array(layer.seed_generator.state)
    inputs = tensor(np.arange(12.0, dtype="float32").reshape(3, 4))
    np.testing.assert_array_equal(array(layer(inputs, training=training)), array(inputs))
    np.testing.assert_array_equal(array(layer.seed_generator.state), before)


def test_at_rate_zero_the_inputs_come_back_and_there_is_no_seed():
    layer = Dropout(0.0)
    inputs = tensor(np.arange(12.0, dtype="float32"))
    np.testing.assert_array_equal(array(layer(inputs, training=True)), array(inputs))
    assert layer.variables == []


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_what_is_kept_is_scaled_and_the_rest_is_zero_whatever_it_was(rate):
    numbers = np.random.default_rng(0).normal(size=(200, 50)).astype("float32")
    numbers[::3] = np.nan
    layer, twin = Dropout(rate, seed=2), Dropout(rate, seed=2)
    keep = drawn(twin, numbers.shape)
    expected = np.where(keep, numbers * np.float32(1 / (1 - rate)), np.float32(0))
    np.testing.assert_array_equal(array(layer(tensor(numbers), training=True)), expected)


@pytest.mark.parametrize("rate", [1e-3, 0.1, 0.5, 0.9])
def test_the_layer_meets_its_rate(rate):
    dropped = np.count_nonzero(~drawn(Dropout(rate, seed=3), (2500, 4096)))
    count = 2500 * 4096
    assert abs(dropped - count * rate) < SIGMAS * np.sqrt(count * rate * (1 - rate))


@pytest.mark.parametrize("policy", ["float32", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16"])
def test_the_mask_does_not_depend_on_the_dtype(policy):
    layer = Dropout(0.5, seed=4, dtype=policy)
    outputs = layer(ops.ones((32, 32)), training=True)
    assert keras.backend.standardize_dtype(outputs.dtype) == layer.compute_dtype
    assert set(np.unique(array(outputs))) == {0.0, 2.0}
    np.testing.assert_array_equal(array(outputs) != 0, drawn(Dropout(0.5, seed=4), (32, 32)))


def test_masks_are_the_same_on_every_backend():
    layer = Dropout(0.3, seed=7)
    masks = [np.packbits(drawn(layer, (33, 65))) for _ in range(2)]
    assert [hashlib.sha256(mask.tobytes()).hexdigest()[:32] for mask in masks] == [
        "1778c06572dd38365d58e73f99d580aa",
        "ede6d26c79b11d8c7756263e53a4b9f2",
    ]


@pytest.mark.parametrize(
    ("noise_shape", "drawn_shape"),
    [
        ((None, 1, None), (8, 1, 32)),
        ([8, 16, 1], (8, 16, 1)),
        ((1, 1, 32), (1, 1, 32)),
        ((None, None, None), (8, 16, 32)),
        ((None, 1, 1), (8, 1, 1)),
    ],
)
def test_one_draw_is_shared_along_an_axis_of_size_one(noise_shape, drawn_shape):
    keep = drawn(Dropout(0.5, noise_shape, seed=5), (8, 16, 32))
    np.testing.assert_array_equal(keep, np.broadcast_to(drawn(Dropout(0.5, seed=5), drawn_shape), (8, 16, 32)))


def test_each_call_draws_another_mask():
    layer = Dropout(0.5, seed=6)
    for first, second in itertools.combinations([drawn(layer, (128, 128)) for _ in range(5)], 2):
        assert abs(correlation(first, second, 0.5)) < SIGMAS


@pytest.mark.parametrize("noise_shape", [None, (None, 1)])
def test_compiled_calls_draw_the_masks_that_eager_ones_do(noise_shape):
    inputs = ops.ones((50, 40))
    eager, jitted = (Dropout(0.4, noise_shape, seed=8) for _ in range(2))
    run = step(jitted, compiled)
    masks = [array(run(inputs)) for _ in range(3)]
    for mask in masks:
        np.testing.assert_array_equal(mask, array(eager(inputs, training=True)))
    assert (masks[0] != masks[1]).any()
    assert (masks[1] != masks[2]).any()


def test_the_gradient_is_the_mask_times_the_scale():
    layer, twin = Dropout(0.2, seed=9), Dropout(0.2, seed=9)
    inputs = tensor(np.random.default_rng(1).normal(size=(20, 30)).astype("float32"))
    gradient = input_gradient(lambda x: ops.sum(layer(x, training=True)), inputs)
    np.testing.assert_array_equal(gradient, drawn(twin, (20, 30)) * np.float32(1.25))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_each_step_of_fit_draws_another_mask(jit_compile):
    # The loss is the sum of what the dropout let through, so each step moves the kernel by that step's mask.
    width, steps = 2000, 3
    inputs = keras.Input((width,))
    dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Model(inputs, dense(Dropout(0.5, seed=10)(inputs)))
    jit_compile = jit_compile and BACKEND != "torch"
    model.compile(keras.optimizers.SGD(1.0), loss=lambda y, z: -z, jit_compile=jit_compile)
    model.fit(np.ones((steps, width)), np.zeros((steps, 1)), batch_size=1, verbose=0)
    times_kept = array(dense.kernel)[:, 0] / 2
    found = np.bincount(np.rint(times_kept).astype(int), minlength=steps + 1)
    np.testing.assert_allclose(times_kept, np.rint(times_kept))
    expected = width * np.array([1, 3, 3, 1]) / 8
    assert (np.abs(found - expected) < SIGMAS * np.sqrt(expected)).all(), found


def test_equal_seeds_give_equal_masks_and_no_seed_gives_another_mask_to_each_layer():
    np.testing.assert_array_equal(drawn(Dropout(0.5, seed=11)), drawn(Dropout(0.5, seed=11)))
    layers = [Dropout(0.5, seed=11), Dropout(0.5, seed=12), *(Dropout(0.5) for _ in range(4))]
    for first, second in itertools.combinations([drawn(layer, (512, 512)) for layer in layers], 2):
        assert abs(correlation(first, second, 0.5)) < SIGMAS


def test_setting_keras_random_seed_repeats_the_masks_of_unseeded_layers():
    masks = []
    for _ in range(2):
        keras.utils.set_random_seed(13)
        masks.append(drawn(Dropout(0.5)))
    np.testing.assert_array_equal(*masks)


def test_a_reloaded_model_goes_on_where_the_saved_one_stood(tmp_path):
    inputs = keras.Input((64,))
    model = keras.Model(inputs, DropPath(0.5)(Dropout(0.5)(inputs)))
    for _ in range(3):
        model(ops.ones((64, 64)), training=True)
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    for _ in range(2):
        mine, theirs = (array(each(ops.ones((64, 64)), training=True)) for each in (model, reloaded))
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(("saved_rate", "rate"), [(0.0, 0.5), (0.5, 0.0), (0.5, 0.1)])
def test_weights_load_into_a_model_with_another_rate(tmp_path, saved_rate, rate):
    def model(rate):
        inputs = keras.Input((8,))
        return keras.Model(inputs, Dropout(rate)(keras.layers.Dense(4)(inputs)))

    first, second = model(saved_rate), model(rate)
    first.save_weights(tmp_path / "model.weights.h5")
    second.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(array(first(ops.ones((2, 8)))), array(second(ops.ones((2, 8)))))


@pytest.mark.parametrize("layer", [Dropout, DropPath])
@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_seeds_up_to_31_bits_work(layer, seed):
    assert 0 < np.mean(drawn(layer(0.5, seed=seed), (256, 2))) < 1


@pytest.mark.parametrize("layer", [Dropout, DropPath])
@pytest.mark.parametrize("seed", [-1, 2**31, 2**31 + 5, 2**64, 1.0, "1", True])
def test_seeds_that_no_state_holds_on_every_backend_are_refused(layer, seed):
    with pytest.raises(ValueError, match=r"`seed` must be an integer in \[0, 2\*\*31\) or None. Received: seed="):
        layer(0.5, seed=seed)


@pytest.mark.parametrize("shape", [(2000,), (2000, 3), (2000, 2, 2, 2)])
def test_drop_path_drops_whole_samples_at_its_rate(shape):
    outputs = array(DropPath(0.2, seed=14)(ops.ones(shape), training=True)).reshape(shape[0], -1)
    assert (outputs == outputs[:, :1]).all()
    assert set(np.unique(outputs)) == {0.0, 1.25}
    assert abs(np.count_nonzero(outputs[:, 0] == 0) - 400) < SIGMAS * np.sqrt(2000 * 0.2 * 0.8)


def test_drop_path_hands_its_inputs_on_outside_training():
    np.testing.assert_array_equal(array(DropPath(0.9)(ops.ones((4, 3)))), np.ones((4, 3)))


@pytest.mark.once
@pytest.mark.parametrize(
    ("own", "expected"), [({}, 0.1), ({"attention_dropout": 0.2}, 0.2), ({"attention_dropout": 0.0}, 0.0)]
)
def test_the_attentions_of_a_block_may_have_a_rate_of_their_own(own, expected):
    encoder = TransformerEncoder(8, 2, 0.1, **own)
    decoder = TransformerDecoder(8, 2, 0.1, **own)
    decoder.build((1, 3, 4), (1, 3, 4))
    # A cross-attention that the block makes beside an attention in its slot.
    beside = TransformerDecoder(8, 2, 0.1, attention=MultiHeadSelfAttention(2, causal=True, dropout=expected), **own)
    beside.build((1, 3, 4), (1, 3, 4))
    blocks = [encoder, decoder, beside]
    attentions = [encoder.attention, decoder.attention, decoder.cross_attention, beside.cross_attention]
    assert {attention.attention_dropout.rate for attention in attentions} == {expected}
    assert {drops[0].rate for block in blocks for drops in (block.attention_drops, block.feed_forward_drops)} == {0.1}
    assert {block.cross_attention_drops[0].rate for block in (decoder, beside)} == {0.1}
