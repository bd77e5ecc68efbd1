"""A cache is a value, and a layer that is given one says of each token what it says of the whole sequence at once."""

import functools

import keras
import numpy as np
import pytest

from keras_tx import layers
from keras_tx.layers import cache_protocol

from .contract_rows import stir
from .execution import BACKEND, COMPILES, array, arrays, compiled, quick, tensor
from .steppers import BATCH, BIAS, CONTEXT, CONTEXT_REAL, FLOATS, IDS, LENGTH, SIZE, STEPPERS

ATTENDING = [name for name in STEPPERS if "positions" not in name]
SPLITS = [(1,) * LENGTH, (3, 1, 2)]

build = functools.cache(lambda name: Stepper(name))
every_stepper = pytest.mark.parametrize("name", STEPPERS, scope="module")
every_attention = pytest.mark.parametrize("name", ATTENDING, scope="module")


class Stepper:
    """A built layer with its inputs, its context where it has one, and both ways of running it."""

    def __init__(self, name):
        self.layer = STEPPERS[name]()
        self.inputs = IDS if name == "learned positions" else FLOATS
        self.context = {}
        if name == "decoder, context":
            self.context = {"context": tensor(CONTEXT), "context_mask": tensor(CONTEXT_REAL)}
        self.layer.build(self.inputs.shape, *([CONTEXT.shape] if self.context else []))
        self.beside = {"distance_bias": tensor(BIAS)} if "distance bias" in name else {}
        stir(self.layer)
        self.traced = []
        self.compiled_step = compiled(self._traced_step)
        self._step = self.compiled_step if BACKEND == "jax" else self._run_step
        self._full = quick(lambda inputs: self.layer(inputs, **self.context, **self.beside))

    def _run_step(self, inputs, cache, mask):
        return self.layer(inputs, cache=cache, mask=mask, **self.beside)

    def _traced_step(self, inputs, cache, mask):
        self.traced.append((inputs.shape[1], mask is not None))
        return self._run_step(inputs, cache, mask)

    @functools.cached_property
    def whole(self):
        """The outputs for the whole sequence, without a cache."""
        return array(self._full(tensor(self.inputs)))

    def empty(self, size=SIZE):
        return self.layer.init_cache(BATCH, size, **self.context)

    def step(self, inputs, cache, mask=None):
        return self._step(tensor(inputs), cache, None if mask is None else tensor(mask))


@every_stepper
def test_layers_with_a_cache_keep_the_protocol(name):
    assert cache_protocol.is_cached_layer(build(name).layer)


@every_stepper
@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_cached_outputs_are_those_of_the_whole_sequence(name, split):
    stepper = build(name)
    cache, outputs, start = stepper.empty(), [], 0
    for length in split:
        chunk, cache = stepper.step(stepper.inputs[:, start : start + length], cache)
        outputs.append(array(chunk))
        start += length
    np.testing.assert_allclose(np.concatenate(outputs, axis=1), stepper.whole, atol=1e-5)


@pytest.mark.parametrize("name", ["rotary", "decoder, context", "learned positions", "sine positions"], scope="module")
def test_compiled_steps_are_traced_once_a_length_and_agree_with_the_whole_sequence(name):
    stepper = Stepper(name)  # of its own: what is traced for a cache of another size counts too
    cache, outputs = stepper.empty(), []
    for start, stop in [(0, 3), (3, 4), (4, 5), (5, 6)]:
        chunk, cache = stepper.compiled_step(tensor(stepper.inputs[:, start:stop]), cache, None)
        outputs.append(array(chunk))
    np.testing.assert_allclose(np.concatenate(outputs, axis=1), stepper.whole, atol=1e-5)
    if COMPILES:
        assert stepper.traced.count((1, False)) == stepper.traced.count((3, False)) == 1


@every_stepper
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_prompts_continue_as_each_would_alone(name, side):
    stepper = build(name)
    prompt, lengths = 3, (1, 3)
    order = np.arange(prompt)
    real = np.stack([order >= prompt - n if side == "left" else order < n for n in lengths])
    padded = np.full_like(stepper.inputs[:, :prompt], 3)
    for row, n in enumerate(lengths):
        padded[row, real[row]] = stepper.inputs[row, :n]

    outputs, cache = stepper.step(padded, stepper.empty(), mask=real)
    found = [[array(outputs)[row, real[row]]] for row in range(BATCH)]
    for after in range(2):
        following = np.stack([stepper.inputs[row, n + after] for row, n in enumerate(lengths)])[:, None]
        outputs, cache = stepper.step(following, cache)
        for row in range(BATCH):
            found[row].append(array(outputs)[row])
    for row, n in enumerate(lengths):
        # What a row without padding gives: its first outputs do not depend on what follows.
        np.testing.assert_allclose(np.concatenate(found[row]), stepper.whole[row, : n + 2], atol=1e-5)


@every_attention
def test_nan_in_the_padding_of_a_prompt_never_reaches_a_later_step(name):
    stepper = build(name)
    real = np.array([[0, 1, 1], [1, 1, 0]], bool)
    last = []
    for junk in (0.0, np.nan):
        prompt = np.where(real[..., None], stepper.inputs[:, :3], np.float32(junk))
        _, cache = stepper.step(prompt, stepper.empty(), mask=real)
        outputs, cache = stepper.step(stepper.inputs[:, 3:4], cache)
        assert all(np.all(np.isfinite(each)) for each in keras.tree.flatten(arrays(cache)) if each is not None)
        last.append(array(outputs))
    np.testing.assert_array_equal(last[1], last[0])
    assert np.all(np.isfinite(last[1]))


@every_stepper
def test_cache_is_a_value_that_a_call_does_not_change(name):
    stepper = build(name)
    _, cache = stepper.step(stepper.inputs[:, :1], stepper.empty())
    before = keras.tree.flatten(arrays(cache))
    first, _ = stepper.step(stepper.inputs[:, 1:2], cache)
    stepper.step(stepper.inputs[:, 2:3], cache)
    again, _ = stepper.step(stepper.inputs[:, 1:2], cache)
    np.testing.assert_array_equal(array(again), array(first))
    for ours, theirs in zip(before, keras.tree.flatten(arrays(cache)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@every_attention
def test_scores_with_a_cache_are_those_of_the_whole_sequence(name):
    stepper = build(name)
    _, cache = stepper.step(stepper.inputs[:, :3], stepper.empty())
    following = tensor(stepper.inputs[:, 3:])
    plain, _ = stepper.step(stepper.inputs[:, 3:], cache)
    ask = quick(lambda *args, **kwargs: stepper.layer(*args, **kwargs, **stepper.beside, return_attention_scores=True))
    outputs, new_cache, scores = ask(following, cache=cache)
    np.testing.assert_array_equal(array(outputs), array(plain))
    assert int(array(keras.tree.flatten(new_cache)[3])) == LENGTH
    _, whole = ask(tensor(stepper.inputs), **stepper.context)
    if stepper.context:
        np.testing.assert_allclose(array(scores[1]), array(whole[1])[:, :, 3:], atol=1e-5)
        scores, whole = scores[0], whole[0]
    scores = array(scores)
    assert scores.shape[-1] == SIZE
    np.testing.assert_allclose(scores[..., :LENGTH], array(whole)[:, :, 3:], atol=1e-5)
    assert np.all(scores[..., LENGTH:] == 0)


@pytest.mark.parametrize("name", ["rotary", "decoder, context"], scope="module")
def test_cache_that_overflows_names_both_numbers(name):
    stepper = build(name)
    _, cache = stepper.step(stepper.inputs[:, :3], stepper.empty(size=5))
    with pytest.raises(ValueError, match=r"room for every token\. Received: 3 more tokens, with 3 of 5 slots in use"):
        stepper.layer(tensor(stepper.inputs[:, 3:]), cache=cache)


def test_position_table_that_overflows_names_both_numbers():
    stepper = build("learned positions")
    _, cache = stepper.step(stepper.inputs, stepper.empty())
    with pytest.raises(ValueError, match=rf"position {SIZE} .*sequence_length={SIZE}"):
        stepper.layer(tensor(stepper.inputs[:, :3]), cache=cache)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_cache_holds_the_compute_dtype(policy):
    layer = layers.MultiHeadSelfAttention(2, causal=True, dtype=policy)
    whole = array(layer(tensor(FLOATS)))
    outputs, cache = layer(tensor(FLOATS), cache=layer.init_cache(BATCH, SIZE))
    assert keras.backend.standardize_dtype(cache.keys.dtype) == layer.compute_dtype
    assert keras.backend.standardize_dtype(outputs.dtype) == layer.compute_dtype
    np.testing.assert_allclose(array(outputs), whole, atol=0.02)


def test_cross_attention_reads_its_context_from_the_cache():
    layer = layers.MultiHeadCrossAttention(2)
    layer(tensor(FLOATS), tensor(CONTEXT))
    stir(layer)
    whole = array(layer(tensor(FLOATS), tensor(CONTEXT), context_mask=tensor(CONTEXT_REAL)))
    junk = np.where(CONTEXT_REAL[..., None], CONTEXT, np.nan).astype("float32")
    cache = layer.init_cache(BATCH, LENGTH, tensor(junk), tensor(CONTEXT_REAL))
    outputs, same = layer(tensor(FLOATS), cache=cache)
    np.testing.assert_allclose(array(outputs), whole, atol=1e-6)
    for ours, theirs in zip(cache, same, strict=True):
        np.testing.assert_array_equal(array(ours), array(theirs))


@pytest.mark.skipif(not COMPILES, reason="values are known on torch: the tokens are refused")
@pytest.mark.parametrize("name", ["rotary", "decoder, context"], scope="module")
def test_steps_past_the_end_of_a_cache_give_no_numbers_where_they_cannot_be_refused(name):
    stepper = build(name)
    _, cache = stepper.compiled_step(tensor(stepper.inputs[:, :3]), stepper.empty(), None)
    for index in range(3, SIZE + 2):
        place = index % LENGTH
        outputs, cache = stepper.compiled_step(tensor(stepper.inputs[:, place : place + 1]), cache, None)
        assert np.all(np.isnan(array(outputs)) if index >= SIZE else np.isfinite(array(outputs)))
