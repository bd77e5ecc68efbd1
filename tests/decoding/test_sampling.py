"""Each rule on numbers worked out by hand, and the draw's frequencies."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.decoding import Beam, Greedy, Sample, programs
from keras_tx.decoding.decoder import Decoder
from keras_tx.decoding.samplers import rules

LOGITS = np.log(np.array([[0.5, 0.25, 0.15, 0.1], [0.1, 0.2, 0.3, 0.4]], "float32"))


def kept(logits):
    return (ops.convert_to_numpy(logits) > -1e30).tolist()


def test_top_k_keeps_the_largest():
    assert kept(rules.top_k(LOGITS, 2)) == [[True, True, False, False], [False, False, True, True]]


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (0.5, [[True, False, False, False], [False, False, True, True]]),
        (0.69, [[True, True, False, False], [False, False, True, True]]),
        (0.01, [[True, False, False, False], [False, False, False, True]]),
        (1.0, [[True] * 4, [True] * 4]),
    ],
)
def test_top_p_keeps_the_fewest_that_reach_it(p, expected):
    assert kept(rules.top_p(LOGITS, p)) == expected


def test_min_p_keeps_what_is_likely_beside_the_likeliest():
    assert kept(rules.min_p(LOGITS, 0.4)) == [[True, True, False, False], [False, True, True, True]]


def test_repetition_penalty_lowers_what_was_seen():
    logits = np.array([[2.0, -2.0, 1.0]], "float32")
    seen = np.array([[True, True, False]])
    assert ops.convert_to_numpy(rules.repetition_penalty(logits, seen, 2.0)).tolist() == [[1.0, -4.0, 1.0]]


def test_temperature_divides():
    assert ops.convert_to_numpy(rules.temperature(np.array([[2.0, 4.0]], "float32"), 2.0)).tolist() == [[1.0, 2.0]]


def test_draws_have_the_frequencies_of_the_distribution():
    rows = 40_000
    logits = ops.convert_to_tensor(np.repeat(LOGITS[:1], rows, axis=0))
    drawn = ops.convert_to_numpy(rules.draw(logits, np.array([7, 3], "int32")))
    counts = np.bincount(drawn, minlength=4)
    expected = rows * np.exp(LOGITS[0])
    assert ((counts - expected) ** 2 / expected).sum() < 16.3  # chi-square, 3 degrees of freedom, p = 0.001


def test_excluded_tokens_are_never_drawn():
    logits = ops.convert_to_tensor(np.repeat(LOGITS[:1], 5_000, axis=0))
    drawn = ops.convert_to_numpy(rules.draw(rules.top_k(logits, 2), np.array([1, 1], "int32")))
    assert set(drawn.tolist()) == {0, 1}


def test_a_k_beyond_the_vocabulary_keeps_all():
    ids = ops.convert_to_numpy(
        Sample(top_k=100).choose(ops.convert_to_tensor(LOGITS), {"temperature": 1.0}, None, [1, 2])
    )
    assert ids.shape == (2,)


MODEL = keras.Sequential([keras.Input((4,)), keras.layers.Identity()])


def chosen(sampler, logits, count=50):
    """What a sampler takes from logits (4,), compiled as `generate` compiles it, as a set of `count` draws."""
    settings = {name: np.float32(value) for name, value in sampler.settings().items()}
    key = (("sampler", type(sampler).__name__), ("rules", tuple(settings)), ("top_k", getattr(sampler, "top_k", None)))

    def choose(decoder, logits, settings, seed):
        settings = {name: ops.convert_to_tensor(value) for name, value in settings.items()}
        rows = ops.repeat(ops.convert_to_tensor(logits)[None], count, axis=0)
        seen = ops.repeat(ops.convert_to_tensor([[True, False, True, False]]), count, axis=0)
        return sampler.choose(rows, settings, seen, seed)

    arguments = (np.array(logits, "float32"), settings, np.array([1, 2], "int32"))
    return set(ops.convert_to_numpy(programs.run(Decoder.of(MODEL), "choose", key, choose, *arguments)).tolist())


class TestNumbersThatFloat32DoesNotHold:
    """Below 1.2e-38 XLA takes a number for 0, and above 3.4e38 it is infinite."""

    LOGITS = [-1.0, 0.5, 2.0, 1.9]

    @pytest.mark.parametrize("tiny", [1e-37, 1e-38, 1e-44, 1e-46, 5e-324])
    def test_tiny_ones_keep_the_likeliest_alone_or_change_nothing(self, tiny):
        assert chosen(Sample(top_p=tiny), self.LOGITS) == {2}
        assert chosen(Sample(temperature=tiny), self.LOGITS) == {2}
        assert chosen(Sample(temperature=tiny, top_k=2, top_p=tiny, min_p=tiny), self.LOGITS) == {2}
        assert chosen(Sample(min_p=tiny), self.LOGITS) == chosen(Sample(), self.LOGITS)

    @pytest.mark.parametrize("huge", [1e30, 1e38, 1e39, 1e300])
    def test_huge_temperatures_draw_evenly_and_leave_out_what_the_model_does(self, huge):
        assert chosen(Sample(temperature=huge), [5.0, -np.inf, 0.0, -1e30]) == {0, 2, 3}

    @pytest.mark.parametrize("penalty", [1e-46, 1e-39, 1e39, 1e300])
    def test_a_penalty_says_which_tokens_come_whatever_its_size(self, penalty):
        # Tokens 0 and 2 were seen; a logit of 0 stays 0.
        for sampler in (Sample(0, repetition_penalty=penalty), Sample(1e-46, repetition_penalty=penalty)):
            assert chosen(sampler, [4.0, 1.0, 5.0, 2.0]) == ({2} if penalty < 1 else {3})
            assert chosen(sampler, [-4.0, -1.0, 0.0, -2.0]) == {2} if penalty > 1 else {0, 2}

    @pytest.mark.parametrize("sampler", [Greedy(), Sample(0), Sample(1e-3), Sample(top_p=0.5)])
    def test_logits_of_any_size(self, sampler):
        assert chosen(sampler, [-np.inf, -3e38, 3.4e38, 0.0]) == {2}
        assert chosen(sampler, [-np.inf, -1e9, np.inf, 3e38]) == {2}

    def test_all_tokens_are_kept_where_their_sum_rounds(self):
        logits = np.random.default_rng(0).standard_normal((3, 50_000)).astype("float32")
        assert np.all(kept(rules.top_p(logits, 1.0)))

    def test_a_token_that_was_excluded_is_not_drawn_at_the_end_of_the_generators_range(self, monkeypatch):
        # The largest of the 2**24 numbers, and half a step, round to 1.
        monkeypatch.setattr(
            rules.random_bits, "top_bits", lambda shape, seed, bits: ops.cast([[2**24 - 1, 2**23, 0]], "uint32")
        )
        logits = ops.convert_to_tensor(np.array([[-1e9, 0.0, -1.0]], "float32"))
        assert ops.convert_to_numpy(rules.draw(logits, [1, 2])).tolist() == [1]


SAMPLERS = [
    Greedy(),
    Sample(),
    Sample(0.7, 5, 0.9, 0.05, 1.2),
    Sample(np.float32(0.7), np.int64(5), np.float64(0.9), min_p=np.float16(0.5), repetition_penalty=np.int32(2)),
    Beam(),
    Beam(np.int64(3), np.float32(0.6), np.int8(2), np.int16(0)),
]


@pytest.mark.once
@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_keras_serializes_samplers(sampler):
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(sampler)))
    again = keras.saving.deserialize_keras_object(config)
    assert again == sampler
    assert hash(again) == hash(sampler)
    assert type(again) is type(sampler)
    assert again.settings() == sampler.settings()
    assert config["registered_name"] == f"keras_tx>{type(sampler).__name__}"
    assert type(sampler).from_config(sampler.get_config()) == sampler
    with pytest.raises(dataclasses.FrozenInstanceError):
        sampler.temperature = 2.0


@pytest.mark.once
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sample("1"), "`temperature` must be a number of at least 0. Received: temperature='1'"),
        (lambda: Sample(top_k=True), "`top_k` must be a positive integer or None. Received: top_k=True"),
        (lambda: Sample(top_p=1e-400), "`top_p` must be a number in .* top_p=0.0"),
        (lambda: Beam(2.0), "`width` must be a positive integer. Received: width=2.0"),
        (lambda: Beam(length_offset=1e39), "`length_offset` must be a number from 0 to 1e30. Received: .*1e.39"),
        (lambda: Beam(length_penalty=20.0).check_limit(1000), "divide a score by more than 1e30.*max_new_tokens=1000"),
        (lambda: Beam(length_penalty=60.0, length_offset=0).check_limit(4), "more than 1e30.*length_penalty=60.0"),
    ],
)
def test_numbers_that_samplers_cannot_use_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.once
def test_penalties_that_float32_holds_are_taken():
    for sampler in (Beam(length_penalty=10.0), Beam(length_penalty=1e30, length_offset=1e30), Beam(length_penalty=0)):
        sampler.check_limit(1000)
    Beam(length_penalty=1e30).check_limit(1)
