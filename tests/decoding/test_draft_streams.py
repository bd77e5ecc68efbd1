"""Drafts in streams, sessions and SavedModels: what comes is what comes without."""

import keras
import numpy as np
import pytest

from keras_tx import export
from keras_tx.applications import Translator
from keras_tx.decoding import Draft, Lookup, Sample, Session, generate, speculation, stream

from .conftest import own_model, shaken
from .drafters import made

PROMPT = [3, 4, 5, 3, 4]


@pytest.fixture(autouse=True)
def at_any_cost(monkeypatch):
    monkeypatch.setattr(speculation, "_SHARE", 1e6)


@pytest.fixture(scope="module")
def letters():
    keras_hub = pytest.importorskip("keras_hub")
    return keras_hub.tokenizers.ByteTokenizer(lowercase=False, dtype="int32")


def joined(pieces):
    return [token for piece in pieces for token in piece]


@pytest.mark.parametrize("kind", [Lookup, Draft])
def test_the_pieces_together_are_what_generate_gives(kind):
    model = made("own")
    draft = Lookup(2, 5) if kind is Lookup else Draft(made("own", 1), 3)
    for sampler in (None, Sample(1.5, top_k=5, repetition_penalty=1.3)) if kind is Lookup else (None,):
        expected = generate(model, [PROMPT], 20, sampler, seed=5)[0, len(PROMPT) :].tolist()
        for tokens_per_step in (1, 4, 100):
            given = {"sampler": sampler, "seed": 5, "tokens_per_step": tokens_per_step, "draft": draft}
            pieces = list(stream(model, PROMPT, 20, **given))
            assert joined(pieces) == expected
            assert all(tokens_per_step <= len(piece) <= tokens_per_step + 5 for piece in pieces[:-1])
    end = expected.index(expected[7]) + 1
    assert joined(stream(model, PROMPT, 20, sampler, [expected[7]], 5, draft=draft)) == expected[:end]


@pytest.mark.parametrize("name", ["own", "Llama with windows"])
def test_a_session_with_drafts_goes_on_as_one_without(name, as_graphs):
    model = made(name)
    plain, drafted = (Session(model, max_length=100) for _ in range(2))
    drafts = [None, Lookup(2, 5), None, Draft(made(name, 1), 3), Lookup(2, 5), Lookup(2, 5)]
    for turn, draft in enumerate(drafts):
        asked = [*PROMPT, turn]
        told = joined(stream(plain, asked, 8))
        assert joined(stream(drafted, asked, 8, draft=draft)) == told
        assert drafted.ids == plain.ids
        assert drafted.slots <= plain.slots
    # What was said before is found: the text of an earlier turn is proposed.
    before = dict(speculation.draft_report()[f"{model.name}: Lookup"])
    asked = drafted.ids[: len(PROMPT) + 3]
    assert joined(stream(drafted, asked, 8, draft=Lookup(2, 5))) == joined(stream(plain, asked, 8))
    assert speculation.draft_report()[f"{model.name}: Lookup"]["proposed"] > before["proposed"]


def test_a_turn_with_a_draft_is_taken_up_whole_or_not_at_all():
    session = Session(made("own"), max_length=100)
    first = joined(stream(session, PROMPT, 6, draft=Lookup(2, 5)))
    told = session.ids
    pieces = stream(session, [6, 7], 9, tokens_per_step=2, draft=Lookup(2, 5))
    next(pieces)
    pieces.close()
    assert session.ids == told == [*PROMPT, *first]
    expected = generate(session.model, [[*told, 8]], 6)[0, -6:].tolist()
    assert joined(stream(session, [8], 6, draft=Lookup(2, 5))) == expected


def test_nan_ends_a_stream_with_a_draft():
    model = made("own")
    model.get_layer("head").set_weights([each * np.nan for each in model.get_layer("head").get_weights()])
    with pytest.raises(ValueError, match="must give logits that are numbers. Received: NaN from own"):
        joined(stream(model, PROMPT, 6, draft=Lookup(2, 5)))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is written by TensorFlow alone")
class TestServed:
    @pytest.mark.parametrize("kind", [Lookup, Draft])
    def test_texts_are_continued_as_by_generate(self, tmp_path, letters, kind):
        import tensorflow as tf

        model, other = (shaken(own_model(letters.vocabulary_size(), 64), seed) for seed in (0, 1))
        draft = Lookup(2, 4) if kind is Lookup else Draft(other, 3)
        texts = ["abcabcab", "x", "", "to be or not to be or"]
        expected = generate(model, texts, 12, tokenizer=letters)
        export.export_generator(model, tmp_path / "saved", letters, 12, max_prompt_length=30, draft=draft)
        served = tf.saved_model.load(str(tmp_path / "saved"))
        found = [text.decode("utf-8", "replace") for text in served.serve(tf.constant(texts)).numpy()]
        assert found == [text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for text in expected]

    def test_texts_are_answered_as_without_a_draft(self, tmp_path, letters):
        import tensorflow as tf

        size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
        model = shaken(Translator(letters.vocabulary_size(), **size))
        given = {"text_input": "source_ids", "prompt": [1]}
        answers = []
        for draft in (None, Lookup(2, 4)):
            export.export_generator(model, tmp_path / "saved", letters, 12, draft=draft, **given)
            served = tf.saved_model.load(str(tmp_path / "saved"))
            answers.append(served.serve(tf.constant(["abc", "", "to be"])).numpy().tolist())
        assert answers[0] == answers[1]

    def test_a_draft_that_does_not_fit_is_refused(self, tmp_path, letters):
        model = own_model(letters.vocabulary_size(), 64)
        with pytest.raises(ValueError, match="`draft` must be a model of the same vocabulary"):
            export.export_generator(model, tmp_path / "saved", letters, 12, draft=Draft(made("own")))
