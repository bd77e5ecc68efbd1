"""Samplers of one's own: taken where ours are, and compiled for what they are."""

import collections
import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.decoding import Sampler, generate, stream, trace_report
from keras_tx.decoding.samplers import TokenState


def make_ranked():
    """A new class of the same name each time, as a notebook makes it when a cell is run again."""

    @keras.saving.register_keras_serializable(package="tests")
    @dataclasses.dataclass(frozen=True)
    class Ranked(Sampler):
        rank: int = 0
        bonus: float = 0.0

        def settings(self):
            return {"bonus": self.bonus}

        def needs_seen(self):
            return True

        def choose(self, logits, settings, seen, seed):
            logits = logits + ops.where(seen, settings["bonus"], 0.0)
            return ops.top_k(logits, self.rank + 1)[1][:, self.rank]

    return Ranked


Ranked = make_ranked()


class Logits(Sampler):
    def choose(self, logits, settings, seen, seed):
        return logits


Alternating = collections.namedtuple("Alternating", ("turn", *TokenState._fields))


@dataclasses.dataclass(frozen=True)
class InTurns(Sampler):
    """Takes the likeliest token and the second in turns, and keeps in its state whose turn it is."""

    def begin(self, *arguments):
        state = super().begin(*arguments)
        return Alternating(ops.zeros_like(state.done, "int32"), *state)

    def advance(self, state, step, request):
        ranked = ops.top_k(state.logits, 2)[1]
        chosen = ops.take_along_axis(ranked, state.turn[:, None], axis=1)
        taken = ops.arange(state.logits.shape[-1])[None] == chosen
        new = super().advance(state._replace(logits=ops.where(taken, state.logits, -1e30)), step, request)
        return new._replace(turn=1 - state.turn)

    def choose(self, logits, settings, seen, seed):
        return ops.argmax(logits, axis=-1)


def by_hand(model, prompt, count, rank, bonus):
    ids = list(prompt)
    for _ in range(count):
        row = np.zeros((1, 64), "int32")  # one shape to compile; what follows a position does not reach it
        row[0, : len(ids)] = ids
        logits = model.predict_on_batch(row)[0, len(ids) - 1]
        logits[sorted(set(ids))] += bonus
        ids.append(int(np.argsort(-logits)[rank]))
    return ids


@pytest.mark.parametrize(("rank", "bonus"), [(1, 0.0), (1, -2.5)])
def test_it_chooses_and_other_fields_give_other_tokens(own, rank, bonus):
    tokens = generate(own, [[3, 4, 5], [6, 7]], 4, sampler=Ranked(rank, bonus))
    expected = [by_hand(own, prompt, 4, rank, bonus) for prompt in ([3, 4, 5], [6, 7])]
    assert tokens[0].tolist() == expected[0]
    assert tokens[1, :6].tolist() == expected[1]


def test_it_streams(own):
    pieces = list(stream(own, [3, 4, 5], 4, sampler=Ranked(1), tokens_per_step=2))
    assert [3, 4, 5] + pieces[0] + pieces[1] == by_hand(own, [3, 4, 5], 4, 1, 0.0)


def test_one_with_a_state_of_its_own_generates_and_streams(own):
    expected = [3, 4, 5]
    for rank in (0, 1, 0, 1):
        expected = by_hand(own, expected, 1, rank, 0.0)
    tokens = generate(own, [[6, 7], [3, 4, 5]], 4, sampler=InTurns())
    assert tokens[1].tolist() == expected
    pieces = list(stream(own, [3, 4, 5], 4, sampler=InTurns(), tokens_per_step=2))
    assert [3, 4, 5, *pieces[0], *pieces[1]] == expected


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="nothing is compiled")
def test_settings_share_a_program_and_classes_of_one_name_do_not(own):
    def traces(sampler):
        before = sum(trace_report().values())
        generate(own, [[3, 4, 5], [6, 7]], 4, sampler=sampler)
        return sum(trace_report().values()) - before

    traces(Ranked(1, 0.5))
    assert traces(Ranked(1, 0.25)) == 0
    assert traces(make_ranked()(1, 0.5)) == 1


@pytest.mark.once
def test_it_is_serialized_and_what_no_program_can_be_kept_for_is_named(own):
    config = keras.saving.serialize_keras_object(Ranked(1, 0.5))
    again = keras.saving.deserialize_keras_object(config, custom_objects={"Ranked": Ranked})
    assert (again.rank, again.bonus) == (1, 0.5)
    with pytest.raises(ValueError, match=r"`rank` of a sampler must be hashable.*rank=\[1\]"):
        generate(own, [[3]], 1, sampler=Ranked([1]))
    with pytest.raises(NotImplementedError, match="Sampler has no `choose`"):
        generate(own, [[3]], 1, sampler=Sampler())
    with pytest.raises(ValueError, match=r"`choose` must return one token id for each row.*from Logits"):
        generate(own, [[3]], 1, sampler=Logits())
