"""Caches in eight bits, on every way to decode: what comes is what steps with such caches give."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import export, layers
from keras_tx.applications import GPT
from keras_tx.decoding import (
    Beam,
    Draft,
    Lookup,
    Session,
    generate,
    init_caches,
    speculation,
    step,
    stream,
    trace_report,
)
from keras_tx.ops.attention import KVCache, Rounded, WindowCache

from .conftest import own_model, shaken
from .drafters import SMALL, Summed, made, model_with

PROMPTS = [[3, 4, 5, 3, 4], [6, 7, 8, 6, 7]]
CONTEXTS = {"own": None, "Llama with windows": None, "Translator": {"source_ids": np.array([[5, 6, 7], [8, 9, 2]])}}
every_model = pytest.mark.parametrize("name", CONTEXTS)


def numpy(x):
    return ops.convert_to_numpy(ops.cast(x, "float32"))


def keys_and_values(caches):
    """Those of all caches, each a tensor or a `Rounded`."""
    if isinstance(caches, (KVCache, WindowCache)):
        return [caches.keys, caches.values]
    parts = caches.values() if isinstance(caches, dict) else caches if isinstance(caches, (tuple, list)) else ()
    return [each for part in parts for each in keys_and_values(part)]


def dtypes(caches):
    leaves = [leaf for leaf in keras.tree.flatten(caches) if leaf is not None]
    return {keras.backend.standardize_dtype(leaf.dtype) for leaf in leaves if len(leaf.shape) == 3}


def log_probabilities(model, rows, context=None, cache_dtype="int8"):
    """Of each token of the rows (B, T) after those before it, (B, T - 1, V): step by step."""
    caches, found = init_caches(model, len(rows), rows.shape[1], context, cache_dtype=cache_dtype), []
    for index in range(rows.shape[1] - 1):
        logits, caches = step(model, ops.convert_to_tensor(rows[:, index : index + 1]), caches)
        found.append(numpy(ops.log_softmax(logits[:, 0])))
    return np.stack(found, axis=1)


def joined(pieces):
    return [token for piece in pieces for token in piece]


@every_model
def test_caches_are_rounded_in_every_layer_that_holds_keys_and_values(name):
    model, context = made(name), CONTEXTS[name]
    plain, rounded = (init_caches(model, 2, 16, context, cache_dtype=kind) for kind in (None, "int8"))
    plain, rounded = keys_and_values(plain), keys_and_values(rounded)
    assert len(plain) >= 4
    for one, other in zip(plain, rounded, strict=True):
        assert not isinstance(one, Rounded)
        assert isinstance(other, Rounded)
        assert tuple(other.numbers.shape) == tuple(one.shape)


@every_model
def test_the_tokens_are_the_likeliest_by_steps_with_such_caches(name, as_graphs):
    model, context = made(name), CONTEXTS[name]
    rows = generate(model, PROMPTS, 12, context=context, cache_dtype="int8")
    logs = log_probabilities(model, rows, context)
    assert (logs.argmax(-1)[:, 4:] == rows[:, 5:]).all()
    exact = log_probabilities(model, rows, context, None)
    assert 1e-4 < np.abs(logs - exact).max() < 0.5


@pytest.mark.parametrize("name", ["Llama with windows", "Translator"])
def test_beams_carry_their_caches_along(name, as_graphs):
    model, context = made(name), CONTEXTS[name]
    rows, scores = generate(model, PROMPTS, 8, Beam(3), context=context, return_scores=True, cache_dtype="int8")
    logs = log_probabilities(model, rows, context)
    chosen = np.take_along_axis(logs, rows[:, 1:, None], axis=-1)[:, 4:, 0]
    np.testing.assert_allclose(chosen.sum(-1), scores[:, 0], atol=1e-3)


@pytest.mark.parametrize(("name", "kind"), [("Llama with windows", Lookup), ("own", Draft)])
def test_drafts_and_sessions_change_no_token(name, kind, as_graphs, monkeypatch):
    monkeypatch.setattr(speculation, "_SHARE", 1e6)
    model = made(name)
    draft = Lookup(2, 5) if kind is Lookup else Draft(made(name, 1), 3)
    plain, drafted = (Session(model, max_length=60, cache_dtype="int8") for _ in range(2))
    expected = generate(model, PROMPTS, 10, cache_dtype="int8")
    assert generate(model, PROMPTS, 10, cache_dtype="int8", draft=draft).tolist() == expected.tolist()
    assert joined(stream(model, PROMPTS[0], 10, cache_dtype="int8")) == expected[0, 5:].tolist()
    for prompt in PROMPTS:
        told = joined(stream(plain, prompt, 8))
        assert joined(stream(drafted, prompt, 8, draft=draft)) == told
    assert dtypes(drafted.turns.caches) == dtypes(plain.turns.caches) == {"int8", "float32"}
    whole = generate(model, [[*plain.ids[:13], *PROMPTS[1]]], 8, cache_dtype="int8")[0]
    assert plain.ids == whole.tolist()


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="nothing is compiled on torch")
def test_programs_are_compiled_once_for_each_dtype():
    model = own_model(11, 64)
    before = sum(trace_report().values())
    for prompts in ([[3, 4]], [[5, 6, 7]]):
        for cache_dtype in (None, "int8"):
            generate(model, prompts, 4, cache_dtype=cache_dtype)
    assert sum(trace_report().values()) - before == 2


def test_a_layer_that_does_not_know_the_dtype_keeps_its_cache():
    model = model_with(Summed(name="summed"))
    assert dtypes(init_caches(model, 2, 8, cache_dtype="int8")) == {"int8", "float32"}
    rows = generate(model, PROMPTS, 4, cache_dtype="int8")
    assert (log_probabilities(model, rows).argmax(-1)[:, 4:] == rows[:, 5:]).all()


def test_a_layer_that_hands_on_whatever_it_is_given_holds_its_cache_in_that_dtype():
    class Handing(layers.MultiHeadSelfAttention):
        def init_cache(self, *arguments, **options):
            return super().init_cache(*arguments, **options)

    model = model_with(Handing(2, causal=True))
    caches = init_caches(model, 2, 8, cache_dtype="int8")
    assert [type(each) for each in keys_and_values(caches)] == 4 * [Rounded]


def test_models_without_a_cache_in_that_dtype_are_refused():
    ids = keras.Input((None,), dtype="int32")
    model = keras.Model(ids, keras.layers.Dense(11)(Summed()(keras.layers.Embedding(11, 16)(ids))), name="sums")
    said = r"`cache_dtype` must be None for a model of which no layer .*Received: cache_dtype='int8', sums .*Summed"
    for run in (
        lambda: init_caches(model, 1, 4, cache_dtype="int8"),
        lambda: generate(model, [[3, 4]], 2, cache_dtype="int8"),
        lambda: Session(model, 16, cache_dtype="int8"),
    ):
        with pytest.raises(ValueError, match=said):
            run()


@pytest.mark.parametrize("value", ["float16", "int4", 8, False])
def test_other_dtypes_are_refused(value):
    model = made("own")
    for run in (
        lambda: init_caches(model, 1, 4, cache_dtype=value),
        lambda: generate(model, [[3, 4]], 0, cache_dtype=value),
        lambda: stream(model, [3, 4], 2, cache_dtype=value),
        lambda: Session(model, cache_dtype=value),
    ):
        with pytest.raises(
            ValueError, match=f"`cache_dtype` must be 'int8', or None .*Received: cache_dtype={value!r}"
        ):
            run()
    with pytest.raises(
        ValueError, match="`cache_dtype` must be None for a session, which has its own. Received: .*int8"
    ):
        stream(Session(model), [3, 4], 2, cache_dtype="int8")


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is written by TensorFlow alone")
class TestServed:
    def test_all_endpoints_hold_such_caches(self, tmp_path):
        import tensorflow as tf

        keras_hub = pytest.importorskip("keras_hub")
        letters = keras_hub.tokenizers.ByteTokenizer(lowercase=False, dtype="int32")
        model = shaken(GPT(letters.vocabulary_size(), 64, **SMALL))
        options = {"max_new_tokens": 12, "max_prompt_length": 30, "cache_dtype": "int8"}
        export.export_saved_model(model, tmp_path / "saved", letters, generate=options)
        served = tf.saved_model.load(str(tmp_path / "saved"))
        texts = ["abcabcab", "x", ""]
        expected = generate(model, texts, 12, tokenizer=letters, cache_dtype="int8")
        found = [text.decode("utf-8", "replace") for text in served.serve(tf.constant(texts)).numpy()]
        assert found == [text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for text in expected]
        ids = np.array([[97, 98, 99, 100]], "int32")
        prefill, one_step = served.signatures["prefill"], served.signatures["step"]
        outputs = dict(prefill(token_ids=tf.constant(ids[:, :3]), mask=tf.ones((1, 3), tf.bool)))
        outputs.pop("logits")
        assert {"int8", "float32"} <= {leaf.dtype.name for leaf in outputs.values()}
        logits = one_step(token_ids=tf.constant(ids[:, 3:]), **outputs)["logits"].numpy()
        _, caches = step(model, ids[:, :3], init_caches(model, 1, 42, cache_dtype="int8"))
        own, _ = step(model, ids[:, 3:], caches)
        np.testing.assert_allclose(logits, own, atol=1e-4 * np.abs(own).max())

    def test_other_dtypes_are_refused(self, tmp_path):
        keras_hub = pytest.importorskip("keras_hub")
        letters = keras_hub.tokenizers.ByteTokenizer(lowercase=False, dtype="int32")
        with pytest.raises(ValueError, match="`cache_dtype` must be 'int8', or None .*Received: cache_dtype='int4'"):
            export.export_generator(own_model(256, 64), tmp_path / "saved", letters, 12, cache_dtype="int4")
