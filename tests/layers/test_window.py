"""A window: what it shows is counted in real tokens, on every path, and a cache holds no more than it."""

import functools

import keras
import numpy as np
import pytest

from keras_tx import decoding, layers
from keras_tx.ops.attention import KVCache, WindowCache, dot_product, fused

from .attention_reference import attended
from .contract_rows import reloaded, stir
from .execution import COMPILES, array, arrays, compiled, quick, tensor

B, T, D, N, WINDOW = 3, 9, 8, 2, 3
_RANDOM = np.random.default_rng(6)
X = _RANDOM.normal(size=(B, T, D)).astype("float32")
REAL = np.array([[1] * 9, [0, 1, 0, 1, 1, 1, 0, 1, 1], [1, 1, 0, 0, 0, 1, 1, 1, 0]], bool)


def made(causal=True, window=WINDOW, **settings):
    layer = layers.MultiHeadSelfAttention(N, causal=causal, window=window, bias_initializer="normal", **settings)
    layer.build((B, T, D))
    stir(layer)
    return layer


def seen_by(real, causal, window=WINDOW):
    """The pairs (T, T) that meet, said of the row without its padding."""
    places = np.flatnonzero(real)
    allowed = np.zeros((len(real), len(real)), bool)
    for rank, query in enumerate(places):
        first, end = max(rank - window + 1, 0), rank + 1 if causal else rank + window
        allowed[query, places[first:end]] = True
    return allowed


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("blocks", [False, True], ids=["", "blocks"])
def test_a_window_shows_the_nearest_real_tokens(causal, blocks, monkeypatch):
    if blocks:
        monkeypatch.setattr(dot_product, "LONG", 1)
        monkeypatch.setattr(fused, "supports", lambda *args: False)
        small = functools.partial(dot_product.blockwise_attention, block=2)
        monkeypatch.setattr(dot_product, "blockwise_attention", small)
    layer = made(causal, num_key_value_heads=1, scale=0.7, query_norm=keras.layers.RMSNormalization())
    junk = np.where(REAL[..., None], X, np.nan).astype("float32")
    found = array(layer(tensor(junk), mask=tensor(REAL)))
    whole = array(layer(tensor(X)))
    for row in range(B):
        np.testing.assert_allclose(found[row], attended(layer, X[row], X[row], seen_by(REAL[row], causal)), atol=1e-5)
        np.testing.assert_allclose(whole[row], attended(layer, X[row], X[row], seen_by(REAL[0], causal)), atol=1e-5)
    _, scores = arrays(layer(tensor(junk), mask=tensor(REAL), return_attention_scores=True))
    for row in range(B):
        assert np.all((scores[row] > 0) == seen_by(REAL[row], causal))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [T, T + 1, 1000])
def test_a_window_that_all_are_in_changes_nothing(causal, window):
    layer, plain = made(causal, window), made(causal, None)
    plain.set_weights(layer.get_weights())
    np.testing.assert_array_equal(array(layer(tensor(X))), array(plain(tensor(X))))
    assert layer.init_cache(B, T).keys.shape[1] == T


class Distance(keras.layers.Layer):
    """A bias of the distance between two positions."""

    num_heads = N

    def call(self, queries, keys):
        distance = keras.ops.cast(keys[..., None, :] - queries[..., None], "float32")
        return keras.ops.stack([distance / 3, -distance / 5], axis=-3)


STEPS = [(1,) * T, (5, 1, 3), (1, 7, 1)]
KINDS = {
    "plain": lambda: made(),
    "rotary": lambda: made(window=1, rotary=layers.RotaryEmbedding(100.0), num_key_value_heads=1),
    "alibi": lambda: made(window=4, position_bias=layers.AlibiBias(N)),
    "position bias": lambda: made(window=4, position_bias=Distance()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_cached_steps_are_the_whole_sequence_whatever_padding_lies_between(kind):
    layer = KINDS[kind]()
    call = quick(lambda x, cache, mask: layer(x, cache=cache, mask=mask))
    alone = [array(quick(layer)(tensor(X[row : row + 1, REAL[row]])))[0] for row in range(B)]
    for steps in STEPS:
        cache, outputs, start = layer.init_cache(B, T), [], 0
        assert isinstance(cache, WindowCache)
        assert cache.keys.shape[1] == layer.window
        for count in steps:
            part = slice(start, start + count)
            junk = np.where(REAL[:, part, None], X[:, part], np.nan).astype("float32")
            found, cache = call(tensor(junk), cache, tensor(REAL[:, part]))
            outputs.append(array(found))
            start += count
        outputs = np.concatenate(outputs, axis=1)
        for row in range(B):
            np.testing.assert_allclose(outputs[row, REAL[row]], alone[row], atol=1e-5)
            assert np.all(outputs[row, ~REAL[row]] == 0)
        np.testing.assert_array_equal(array(cache.num_tokens), REAL.sum(1))


def test_rows_of_a_cache_can_be_chosen_anew_and_scores_are_those_of_the_slots():
    layer = made()
    _, cache = layer(tensor(X[:, :5]), cache=layer.init_cache(B, T))
    order = np.array([2, 0, 0])
    heads = (order[:, None] * N + np.arange(N)).reshape(-1)
    rows = ((cache.keys, heads), (cache.values, heads), (cache.num_tokens, order))
    chosen = WindowCache(*(keras.ops.take(x, tensor(which), axis=0) for x, which in rows), *cache[3:])
    following = tensor(X[order, 5:6])
    outputs, _, scores = layer(following, cache=chosen, return_attention_scores=True)
    whole, whole_scores = layer(tensor(X[order]), return_attention_scores=True)
    np.testing.assert_allclose(array(outputs)[:, 0], array(whole)[:, 5], atol=1e-5)
    # Slot s holds token 3 + s.
    np.testing.assert_allclose(array(scores)[:, :, 0], array(whole_scores)[:, :, 5, 3:6], atol=1e-5)
    _, _, scores = layer(tensor(X[order, 5:7]), cache=chosen, return_attention_scores=True)
    assert scores.shape == (B, N, 2, WINDOW + 2)


def test_more_tokens_than_the_cache_is_for_are_refused_or_give_no_numbers():
    layer = made()
    _, cache = layer(tensor(X[:, :4]), cache=layer.init_cache(B, 6))
    with pytest.raises(ValueError, match="room for every token. Received: 3 more tokens, with 4 of 6 slots in use"):
        layer(tensor(X[:, :3]), cache=cache)
    if COMPILES:
        step = compiled(lambda x, cache: layer(x, cache=cache))
        for place in range(4, 8):
            outputs, cache = step(tensor(X[:, place : place + 1]), cache)
            assert np.all(np.isnan(array(outputs)) if place >= 6 else np.isfinite(array(outputs)))


def test_what_a_ring_cannot_take_is_refused():
    layer = made()
    cache = layer.init_cache(B, T)
    pairs = np.ones((B, T, WINDOW + T), bool)
    for name, value in (("mask", pairs), ("attention_mask", pairs), ("attention_bias", pairs[0] * 1.0)):
        with pytest.raises(ValueError, match=rf"`{name}` must not be given beside the cache of a window.* of shape"):
            layer(tensor(X), cache=cache, **{name: tensor(value)})
    with pytest.raises(ValueError, match="`cache` must be a KVCache"):
        made(window=None)(tensor(X), cache=cache)
    with pytest.raises(ValueError, match="`cache` must come from this layer's .* window=4"):
        made(window=4)(tensor(X), cache=cache)
    plain, _ = layer(tensor(X), cache=made(window=None).init_cache(B, T))
    np.testing.assert_allclose(array(plain), array(layer(tensor(X))), atol=1e-5)


def model_of(window):
    ids = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(13, D)(ids)
    for number in range(2):
        rotary = layers.RotaryEmbedding(100.0, rotary_dim=2, scaling={"type": "linear", "factor": 2.0})
        attention = layers.MultiHeadSelfAttention(
            N, causal=True, window=window if number else None, rotary=rotary, key_norm=keras.layers.RMSNormalization()
        )
        x = layers.TransformerDecoder(16, attention=attention)(x)
    model = keras.Model(ids, keras.layers.Dense(13)(x))
    random = np.random.default_rng(4)
    for weight in model.weights:
        if len(weight.shape) > 1:
            weight.assign(random.normal(0, 1, weight.shape))
    return model


def greedy(run, prompt, count):
    """The prompt and the likeliest next tokens; padding behind it changes nothing before."""
    for _ in range(count):
        padded = np.array([prompt + [0] * (64 - len(prompt))])
        prompt = [*prompt, int(np.argmax(array(run(tensor(padded)))[0, len(prompt) - 1]))]
    return prompt


PROMPTS = [[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8], [2, 7], list(range(1, 12)) * 4]


def test_generation_goes_by_the_window():
    model, new = model_of(5), set()
    run = quick(model)
    for prompt, found in zip(PROMPTS, decoding.generate(model, PROMPTS, max_new_tokens=6), strict=True):
        found = found[: len(prompt) + 6].tolist()
        assert found == greedy(run, prompt, 6)
        new |= set(found[len(prompt) :])
    assert len(new) > 2


@pytest.mark.once
def test_sessions_and_beams_go_by_the_window(tmp_path, monkeypatch):
    model = model_of(5)
    session = decoding.Session(model, max_length=128)
    said = []
    for turn in ([3, 1, 4], [1, 5]):
        said += turn
        answer = [token for piece in decoding.stream(session, turn, max_new_tokens=4) for token in np.ravel(piece)]
        said = said + answer
        assert said == greedy(model, said[:-4], 4)
    copy = reloaded(model, tmp_path)
    assert copy.layers[-2].attention.window == 5
    beams = decoding.generate(model, PROMPTS[:2], 5, decoding.Beam(3))
    # One of all tokens, of which the window is not known by the slots.
    monkeypatch.setattr(WindowCache, "empty", lambda *settings, **beside: KVCache.empty(*settings[:-1], **beside))
    for ours, theirs in zip(beams, decoding.generate(copy, PROMPTS[:2], 5, decoding.Beam(3)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.once
def test_served_steps_of_any_length_go_by_the_window():
    import tensorflow as tf

    from keras_tx.decoding.decoder import Decoder
    from keras_tx.export.endpoints import cache_endpoints

    model = model_of(3)
    prefill, step, specs = cache_endpoints(Decoder.of(model), 12)
    ids, mask = tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None, None), tf.bool)
    prefill = tf.function(prefill, input_signature=[ids, mask])
    step = tf.function(step).get_concrete_function(token_ids=ids, **specs)
    prompt = np.array([[0, 0, 3, 1, 4], [2, 7, 1, 8, 2]], "int32")
    real = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], bool)
    following = np.array([[5, 9, 2], [6, 5, 3]], "int32")
    answer = dict(prefill(tf.constant(prompt), tf.constant(real)))
    found = [answer.pop("logits").numpy()[:, -1:]]
    for part in (following[:, :1], following[:, 1:]):
        answer = dict(step(token_ids=tf.constant(part), **answer))
        found.append(answer.pop("logits").numpy())
    found = np.concatenate(found, axis=1)
    for row in range(2):
        alone = array(model(np.array([[*prompt[row, real[row]], *following[row]]])))[0, -4:]
        np.testing.assert_allclose(found[row], alone, atol=1e-4)
    with pytest.raises(tf.errors.InvalidArgumentError, match="The cache must have room for every token"):
        step(token_ids=tf.constant(np.ones((2, 5), "int32")), **answer)
