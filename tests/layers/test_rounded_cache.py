"""A cache in eight bits: each layer gives what it would give for keys and values that are rounded, and for nothing else."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.ops.attention import KVCache, Rounded, WindowCache, rounded, taking_back

from .contract_rows import stir
from .execution import COMPILES, array, arrays, compiled, quick, tensor
from .steppers import BATCH, CONTEXT, CONTEXT_REAL, FLOATS, LENGTH, SIZE, STEPPERS, WIDTH

ATTENDING = {
    **{name: STEPPERS[name] for name in ("grouped", "rotary", "alibi", "decoder, context")},
    "window": lambda: layers.MultiHeadSelfAttention(4, num_key_value_heads=2, causal=True, window=3),
}
REAL = np.array([[0, 1, 1], [1, 1, 0]], bool)


def made(name):
    layer = ATTENDING[name]()
    layer.build(FLOATS.shape, *([CONTEXT.shape] if name == "decoder, context" else []))
    stir(layer)
    context = {"context": tensor(CONTEXT), "context_mask": tensor(CONTEXT_REAL)} if name == "decoder, context" else {}
    return layer, lambda **asked: layer.init_cache(BATCH, SIZE, **context, **asked)


def caches_of(cache):
    return [cache] if isinstance(cache, (KVCache, WindowCache)) else list(cache)


def in_steps(layer, cache, split=(3, 1, 2), mask=None, inputs=FLOATS):
    """The outputs of the layer step by step, and its cache after that; the mask is one of the first step."""
    step, outputs, start = quick(lambda x, cache, mask: layer(x, cache=cache, mask=mask)), [], 0
    for length in split:
        given = None if mask is None or start else tensor(mask)
        chunk, cache = step(tensor(inputs[:, start : start + length]), cache, given)
        outputs.append(array(chunk))
        start += length
    return np.concatenate(outputs, axis=1), cache


@pytest.mark.parametrize("name", ATTENDING)
def test_outputs_are_those_for_rounded_keys_and_values(name, monkeypatch):
    layer, empty = made(name)
    found, cache = in_steps(layer, empty(cache_dtype="int8"), mask=REAL)
    assert all(isinstance(x, Rounded) for each in caches_of(cache) for x in (each.keys, each.values))
    exact, _ = in_steps(layer, empty(), mask=REAL)
    assert 1e-4 < np.abs(found - exact).max() < 0.1 * np.abs(exact).max()
    # As floats, but rounded before they are written.
    of = Rounded.of
    monkeypatch.setattr(rounded, "as_held", lambda x, held: of(x).floats(x.dtype))
    own = empty()
    if name == "decoder, context":
        own = own[0], own[1]._replace(keys=of(own[1].keys).floats(), values=of(own[1].values).floats())
    expected, _ = in_steps(layer, own, mask=REAL)
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("name", ["rotary", "window"])
def test_steps_of_any_length_give_the_same(name):
    layer, empty = made(name)
    whole, _ = in_steps(layer, empty(cache_dtype="int8"), (LENGTH,))
    pieces, _ = in_steps(layer, empty(cache_dtype="int8"), (2, 1, 1, 2))
    np.testing.assert_allclose(pieces, whole, atol=1e-5)


@pytest.mark.parametrize("name", ["grouped", "window"])
def test_nan_in_padding_reaches_no_later_step(name):
    layer, empty = made(name)
    last = []
    for junk in (0.0, np.nan):
        inputs = FLOATS.copy()
        inputs[:, :3][~REAL] = junk
        outputs, cache = in_steps(layer, empty(cache_dtype="int8"), (3, 1), REAL, inputs)
        assert all(np.isfinite(each).all() for each in keras.tree.flatten(arrays(cache)))
        last.append(outputs[:, 3])
    np.testing.assert_array_equal(last[1], last[0])


@pytest.mark.parametrize("name", ["grouped", "window"])
def test_what_is_not_finite_and_real_is_seen_by_those_that_attend_to_it(name):
    layer, empty = made(name)
    bad = FLOATS.copy()
    bad[0, 0] = np.nan
    outputs, _ = in_steps(layer, empty(cache_dtype="int8"), (3, 1), inputs=bad)
    assert np.isnan(outputs[0, :3]).all()
    assert np.isnan(outputs[0, 3]).all() == (name == "grouped")  # it has left the window of three
    assert np.isfinite(outputs[1]).all()


@pytest.mark.parametrize("window", [None, 3])
def test_tokens_that_are_taken_back_leave_nothing(window):
    layer = layers.MultiHeadSelfAttention(4, num_key_value_heads=2, causal=True, window=window)
    layer.build(FLOATS.shape)
    stir(layer)
    empty = layer.init_cache(BATCH, SIZE, cache_dtype="int8")
    empty = empty if window is None else taking_back.widened(empty, 2)
    whole, _ = in_steps(layer, layer.init_cache(BATCH, SIZE, cache_dtype="int8"), (4, 1))
    _, after = in_steps(layer, empty, (3, 2), inputs=FLOATS[:, [0, 1, 2, 3, 5]])
    kept, real, slots = (ops.convert_to_tensor(np.array(x, "int32")) for x in ([1, 1], [2, 2], 1))
    back = taking_back.without_gaps(taking_back.take_back(after, 2, kept, real, slots))
    outputs, _ = in_steps(layer, back, (1,), inputs=FLOATS[:, 4:])
    np.testing.assert_allclose(outputs, whole[:, 4:], atol=1e-5)


@pytest.mark.parametrize("name", ["grouped", "window"])
@pytest.mark.parametrize("shape", [(0, 2, WIDTH), (2, 0, WIDTH)])
def test_an_empty_batch_and_no_tokens_are_taken_up(name, shape):
    layer, _ = made(name)
    outputs, cache = layer(ops.zeros(shape), cache=layer.init_cache(shape[0], SIZE, cache_dtype="int8"))
    assert tuple(outputs.shape) == shape
    assert isinstance(cache.keys, Rounded)


def test_a_context_of_no_tokens_adds_nothing():
    layer, _ = made("decoder, context")
    found, expected = (
        layer(tensor(FLOATS), cache=layer.init_cache(BATCH, SIZE, tensor(CONTEXT[:, :0]), cache_dtype=cache_dtype))[0]
        for cache_dtype in ("int8", None)
    )
    np.testing.assert_allclose(array(found), array(expected), atol=0.1 * np.abs(array(expected)).max())


@pytest.mark.skipif(not COMPILES, reason="values are known on torch: the tokens are refused")
def test_steps_past_the_end_give_no_numbers_where_they_cannot_be_refused():
    layer, empty = made("grouped")
    cache, step = empty(cache_dtype="int8"), compiled(lambda x, cache: layer(x, cache=cache))
    for index in range(SIZE + 1):
        outputs, cache = step(tensor(FLOATS[:, index % LENGTH : index % LENGTH + 1]), cache)
        assert np.all(np.isnan(array(outputs)) if index >= SIZE else np.isfinite(array(outputs)))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ["grouped", "decoder, context"])
def test_what_is_beside_the_numbers_has_the_compute_dtype(name, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        layer, empty = made(name)
    finally:
        keras.config.set_dtype_policy(before)
    exact, _ = in_steps(layer, empty())
    found, cache = in_steps(layer, empty(cache_dtype="int8"))
    for each in caches_of(cache):
        assert keras.backend.standardize_dtype(each.keys.largest.dtype) == layer.compute_dtype
    assert np.abs(found - exact).max() < 0.1 * np.abs(exact).max()


@pytest.mark.parametrize("layer", [layers.MultiHeadSelfAttention(2), layers.TransformerDecoder(16, 2)])
def test_other_dtypes_are_refused(layer):
    layer(tensor(FLOATS))
    for value in ("float16", "int4", 8, True):
        with pytest.raises(
            ValueError, match=f"`cache_dtype` must be 'int8', or None .*Received: cache_dtype={value!r}"
        ):
            layer.init_cache(BATCH, SIZE, cache_dtype=value)


@keras.saving.register_keras_serializable(package="tests")
class OwnCache(layers.MultiHeadSelfAttention):
    """Chooses by itself how it holds its cache."""

    def init_cache(self, batch_size, max_length, context=None):
        return super().init_cache(batch_size, max_length)


def test_what_stands_in_a_slot_and_knows_no_dtype_keeps_its_own():
    block = layers.TransformerDecoder(16, attention=OwnCache(2, causal=True))
    block(tensor(FLOATS))
    own, _ = block.init_cache(BATCH, SIZE, cache_dtype="int8")
    assert keras.backend.standardize_dtype(own.keys.dtype) == "float32"
