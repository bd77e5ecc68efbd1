"""Streams and sessions beside a context: what comes is what `generate` gives, and the context is read once."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.applications import T5, Translator
from keras_tx.decoding import Lookup, Sample, Session, generate, stream, trace_report
from keras_tx.graph import pack_inputs

from .conftest import shaken

SIZE = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
SOURCE, OTHER, START = [3, 4, 5, 3, 4, 5, 9], [7] * 40, [1, 4]


pytestmark = pytest.mark.usefixtures("as_graphs")


class Letters:
    """A tokenizer of letters, id 1 being 'a'."""

    def tokenize(self, text):
        return np.array([ord(letter) - 96 for letter in text], "int32")

    def detokenize(self, ids):
        return "".join(chr(96 + int(i)) for i in ids)


def own_model():
    """What a user writes: an attention to the source, and a summary of it at every token."""
    source, ids = (
        keras.Input((None,), dtype="int32", name="source_ids"),
        keras.Input((None,), dtype="int32", name="ids"),
    )
    embedding = layers.TokenAndPositionEmbedding(11, 64, 8, name="embedding")
    mask = ops.not_equal(source, 0)
    context = embedding(source)
    summary = layers.MaskedMeanPooling(name="summary")(context, mask=mask)
    x = embedding(ids) + ops.expand_dims(summary, 1)
    x = layers.MultiHeadSelfAttention(2, causal=True, window=5, name="attention")(x)
    x = layers.TransformerDecoder(16, 2, name="block")(x, context, context_mask=mask)
    return keras.Model([source, ids], keras.layers.Dense(11, name="head")(x), name="own")


@pytest.fixture(scope="module")
def models():
    keras.utils.set_random_seed(0)
    made = {"translator": Translator(11, **SIZE, copies=True), "own": own_model(), "t5": T5(11, **SIZE)}
    return {name: shaken(model) for name, model in made.items()}


def joined(pieces):
    return [token for piece in pieces for token in piece]


def given(source):
    return {"source_ids": [source]}


def expected(model, source, prompt, count, *args, **kwargs):
    return generate(model, [prompt], count, *args, context=given(source), **kwargs)[0, len(prompt) :].tolist()


@pytest.mark.parametrize(
    ("name", "sampler"),
    [("translator", None), ("t5", None), ("own", None), ("own", Sample(1.5, top_k=5, repetition_penalty=1.3))],
)
def test_the_pieces_together_are_what_generate_gives(models, name, sampler):
    model = models[name]
    for source in (SOURCE, OTHER):
        found = list(stream(model, START, 10, sampler, seed=5, tokens_per_step=4, context=given(source)))
        assert [len(piece) for piece in found] == [4, 4, 2]
        assert joined(found) == expected(model, source, START, 10, sampler, seed=5)


def test_contexts_matter(models):
    for model in models.values():
        (ids,) = {each.name for each in model.inputs} - {"source_ids"}
        one, other = (
            ops.convert_to_numpy(model(pack_inputs(model, {"source_ids": np.array([each]), ids: np.array([START])})))
            for each in (SOURCE, OTHER)
        )
        assert np.abs(one - other).max() > 0.01


@pytest.mark.parametrize("name", ["translator", "own"])
def test_turns_of_a_session_have_its_context(models, name):
    model = models[name]
    session = Session(model, max_length=32, context=given(SOURCE))
    first = joined(stream(session, START, 5))
    second = joined(stream(session, [6, 7], 5))
    whole = [*START, *first, 6, 7]
    assert first == expected(model, SOURCE, START, 5)
    assert second == expected(model, SOURCE, whole, 5)
    for _ in range(3):  # the prompts' chunks fill the cache: all is read again
        session.reset()
        assert joined(stream(session, START, 5)) == first
        assert joined(stream(session, [6, 7], 5)) == second
        for count in range(4):
            joined(stream(session, [count + 2], 1))
        assert session.num_tokens == 22


def test_sessions_of_several_contexts_share_programs(models):
    model, before = models["translator"], sum(trace_report().values())
    for source in (SOURCE, [8, 7, 6], [2] * 30):
        session = Session(model, max_length=32, context=given(source))
        assert joined(stream(session, START, 6, tokens_per_step=3)) == expected(model, source, START, 6)
    assert sum(trace_report().values()) - before <= 4  # three of a session, one of `generate`


def test_eight_bits_and_drafts(models):
    model = models["translator"]
    rounded = expected(model, SOURCE, START, 10, cache_dtype="int8")
    assert joined(stream(model, START, 10, cache_dtype="int8", context=given(SOURCE))) == rounded
    plain = expected(model, SOURCE, START, 10)
    session = Session(model, 64, context=given(SOURCE))
    assert joined(stream(session, START, 10, draft=Lookup(1, 3), tokens_per_step=2)) == plain
    assert joined(stream(session, [5], 6, draft=Lookup(1, 3))) == expected(model, SOURCE, [*START, *plain, 5], 6)


def test_text_beside_text(models):
    model = models["translator"]
    ids = expected(model, SOURCE, [1], 8)
    text = {"source_ids": [Letters().detokenize(SOURCE)]}
    found = stream(model, [1], 8, tokenizer=Letters(), context=text)
    assert "".join(found) == Letters().detokenize(ids)
    session = Session(model, 32, context=text, tokenizer=Letters())
    assert joined(stream(session, [1], 8)) == ids


def test_what_does_not_fit_is_refused_by_name(models):
    model = models["translator"]
    with pytest.raises(ValueError, match="`context` must hold every input of the model but one.* context of \\[\\]"):
        stream(model, START, 3)
    with pytest.raises(ValueError, match="`context` must be a dict"):
        Session(model, context=[SOURCE])
    with pytest.raises(ValueError, match="Received: 2 rows of 'source_ids', 1 prompts"):
        Session(model, context={"source_ids": [SOURCE, SOURCE]})
    with pytest.raises(ValueError, match="ids from 3 to 11 in 'source_ids', with vocabulary_size=11"):
        stream(model, START, 3, context=given([3, 11]))
    with pytest.raises(ValueError, match="`context` must be None for a session, which has its own"):
        stream(Session(model, context=given(SOURCE)), START, 3, context=given(SOURCE))
    with pytest.raises(ValueError, match="`pad_id` must be None for a session, which has its own. Received: pad_id=0"):
        stream(Session(model, context=given(SOURCE)), START, 3, pad_id=0)
    with pytest.raises(ValueError, match="`prompts` must hold what the answers start with beside a `context`"):
        stream(model, "", 3, tokenizer=Letters(), context=given(SOURCE))
    with pytest.raises(ValueError, match="Received: strings for 'source_ids', and no tokenizer"):
        Session(model, context={"source_ids": ["abc"]})
