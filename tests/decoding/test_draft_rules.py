"""Drafts: what is refused, what proposals may cost, and what is reported."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from keras_tx.decoding import Beam, Draft, Greedy, Lookup, Sampler, Session, draft_report, generate, stream
from keras_tx.decoding.decoder import Decoder
from keras_tx.decoding.speculation import reading_cost

from .conftest import own_model, shaken
from .drafters import VOCABULARY, Script, Summed, made, model_with

PROMPT = [3, 4, 5, 3, 4]


@dataclasses.dataclass(frozen=True)
class Stateful(Sampler):
    def advance(self, state, step, request):
        return super().advance(state, step, request)


def without_cache():
    ids = keras.Input((None,), dtype="int32")
    return keras.Model(ids, keras.layers.Dense(VOCABULARY)(keras.layers.Embedding(VOCABULARY, 8)(ids)), name="bare")


@pytest.fixture(scope="module")
def model():
    return made("own")


@pytest.mark.once
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Lookup(0), "`max_ngram` must be a positive integer. Received: max_ngram=0"),
        (lambda: Lookup(2, 0), "`num_tokens` must be a positive integer. Received: num_tokens=0"),
        (lambda: Lookup(2.0), "`max_ngram` must be a positive integer. Received: max_ngram=2.0"),
        (lambda: Draft(own_model(), num_tokens=0), "`num_tokens` must be a positive integer. Received: num_tokens=0"),
    ],
)
def test_numbers_that_drafts_cannot_use_are_named(make, said):
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.once
@pytest.mark.parametrize(
    ("draft", "sampler", "said"),
    [
        (3, None, "`draft` must be a Lookup, a Draft or None. Received: draft=3"),
        (
            Lookup(),
            Beam(3),
            r"`sampler` must choose each token by `choose` alone beside a `draft`.*Beam\(width=3.*`begin`",
        ),
        (Lookup(), Stateful(), r"beside a `draft`.*Stateful\(\), which has a `advance` of its own, draft=Lookup\("),
        (
            lambda: Draft(own_model(12)),
            None,
            "`draft` must be a model of the same vocabulary.*own with 12 .* own with 11",
        ),
        (lambda: Draft(own_model(11, 16)), None, "whose position table holds.*own with sequence_length=16, 17 tokens"),
        (
            lambda: Draft(without_cache()),
            None,
            r"`draft` must be a model that has layers with a cache.*bare with layers",
        ),
        (lambda: Draft(keras.Sequential([keras.layers.Dense(2)])), None, "`model` must be built to be decoded"),
        (
            lambda: Draft("small"),
            None,
            "`model` must be a functional keras.Model to be decoded. Received: model='small'",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(model, draft, sampler, said):
    draft = draft() if callable(draft) else draft
    with pytest.raises(ValueError, match=said):
        generate(model, [PROMPT], 12, sampler, draft=draft)
    if not isinstance(sampler, Beam):
        with pytest.raises(ValueError, match=said):
            stream(model, PROMPT, 12, sampler, draft=draft)


@pytest.mark.once
def test_a_cache_of_another_kind_is_refused_by_the_name_of_its_layer():
    model = shaken(model_with(Summed(name="summed")))
    generate(model, [PROMPT], 3)
    with pytest.raises(
        ValueError, match=r"whose caches are KVCache.*Received: layer 'summed', which holds a tensor of shape \(1, 16\)"
    ):
        generate(model, [PROMPT], 3, draft=Lookup())


@pytest.mark.once
def test_a_cache_whose_tokens_cannot_be_taken_back_is_found_out():
    @keras.saving.register_keras_serializable(package="tests")
    class Tenths(keras.layers.Layer):  # counts in a way of its own: its cache looks like a count of tokens
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.supports_masking = True

        def call(self, inputs, mask=None, cache=None):
            start = 0 if cache is None else cache[:, None]
            real = keras.ops.ones(keras.ops.shape(inputs)[:2], "int32")
            real = real if mask is None else keras.ops.cast(mask, "int32")
            places = start + 10 * (keras.ops.cumsum(real, axis=1) - 1)
            outputs = inputs + keras.ops.cast(places, "float32")[..., None] / 100
            return outputs if cache is None else (outputs, cache + 10 * keras.ops.sum(real, axis=1))

        def init_cache(self, batch_size, max_length, context=None):
            return keras.ops.zeros(batch_size, "int32")

    model = shaken(model_with(Tenths()))
    generate(model, [PROMPT], 3)
    with pytest.raises(ValueError, match="of whose caches tokens can be taken back. Received: .* differ by"):
        generate(model, [PROMPT], 3, draft=Lookup())


@pytest.mark.once
def test_a_session_must_have_room_for_proposals(model):
    session = Session(model, max_length=128)
    with pytest.raises(ValueError, match="`num_tokens` of a `draft` must leave room.*num_tokens=300, 9 tokens"):
        stream(session, PROMPT, 4, draft=Lookup(2, 300))


def test_proposals_that_fail_cost_a_twentieth_at_most_and_right_ones_are_taken_up_again():
    # What a try costs, 1.3 steps, is saved up by 0.03 a token: the first try after the switch comes within 44 tokens.
    model, count, num_tokens = shaken(own_model(VOCABULARY, 256)), 230, 6
    plain = generate(model, [PROMPT], count)
    switch = len(PROMPT) + 140
    draft = Script(np.pad(plain, [(0, 0), (0, 9)]), num_tokens, lambda places, rows: places >= switch)
    totals = []
    for limit in (140 - num_tokens, count):
        before = dict(draft_report().get("own: Script", {}))
        found = generate(model, [PROMPT], limit, draft=draft)
        assert found.tolist() == plain[:, : len(PROMPT) + limit].tolist()
        after = draft_report()["own: Script"]
        totals.append({name: after[name] - before.get(name, 0) for name in after})
    failing, whole = totals
    assert failing["accepted"] == 0
    extra = failing["proposed"] / num_tokens * (float(reading_cost(1, 1 + num_tokens)) - 1)
    assert 0 < extra <= 0.05 * failing["tokens"] + 0.5
    assert whole["tokens"] == count
    assert whole["accepted"] > 20
    assert whole["steps"] == count - whole["accepted"]


@pytest.mark.once
def test_what_follows_the_latest_of_the_longest_is_proposed():
    def proposed(row, draft):
        history = keras.ops.convert_to_tensor(np.array([row + [9] * 3], "int32"))
        lengths = keras.ops.convert_to_tensor(np.array([len(row)], "int32"))
        ids, _ = draft.propose([], history, lengths, None, None, None)
        sure, ready = (bool(draft.is_ready(history, lengths, keras.ops.convert_to_tensor(x))[0]) for x in (True, False))
        return keras.ops.convert_to_numpy(ids)[0].tolist(), sure, ready

    assert proposed([1, 2, 3, 7, 2, 3, 8, 5, 1, 2, 3], Lookup(3, 3)) == ([7, 2, 3], True, True)
    assert proposed([1, 2, 3, 7, 2, 3, 8, 5, 1, 2, 3], Lookup(2, 3)) == ([8, 5, 1], True, True)
    assert proposed([1, 2, 3, 7, 0, 3], Lookup(3, 2)) == ([7, 0], False, True)
    assert proposed([1, 2, 1, 2], Lookup(3, 5)) == (
        [1, 2, 1, 2, 1],
        False,
        True,
    )  # as a text goes on that runs in a circle
    assert proposed([5, 5, 5, 5], Lookup(2, 3)) == ([5, 5, 5], True, True)
    assert proposed([1, 2, 3], Lookup(3, 2)) == ([-1, -1], False, False)
    assert proposed([1], Lookup(3, 2)) == ([-1, -1], False, False)


@pytest.mark.once
def test_keras_serializes_a_lookup():
    draft = Lookup(2, np.int64(5))
    again = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(draft))))
    assert again == draft == Lookup.from_config(draft.get_config())
    assert hash(again) == hash(draft)


@pytest.mark.once
def test_programs_are_shared_and_variables_of_a_draft_are_read_anew(model):
    small = made("own", 1)
    first = generate(model, [PROMPT], 8, draft=Draft(small, 2))
    programs = len(Decoder.of(model).programs)
    again = generate(model, [PROMPT[:3]], 9, Greedy(), stop_ids=2, draft=Draft(small, 2))
    assert len(Decoder.of(model).programs) == programs
    assert again.shape == (1, 12)
    before = draft_report()["own: Draft"]
    small.set_weights(model.get_weights())
    assert generate(model, [PROMPT], 8, draft=Draft(small, 2)).tolist() == first.tolist()
    after = draft_report()["own: Draft"]
    assert after["accepted"] - before["accepted"] == after["proposed"] - before["proposed"] > 0
