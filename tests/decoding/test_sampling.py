"""Each rule on numbers worked out by hand, and the draw's frequencies."""

import numpy as np
import pytest
from keras import ops

from keras_tx.decoding import Sample, sampling

LOGITS = np.log(np.array([[0.5, 0.25, 0.15, 0.1], [0.1, 0.2, 0.3, 0.4]], "float32"))


def kept(logits):
    return (ops.convert_to_numpy(logits) > -1e30).tolist()


def test_top_k_keeps_the_largest():
    assert kept(sampling.top_k(LOGITS, 2)) == [[True, True, False, False], [False, False, True, True]]


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
    assert kept(sampling.top_p(LOGITS, p)) == expected


def test_min_p_keeps_what_is_likely_beside_the_likeliest():
    assert kept(sampling.min_p(LOGITS, 0.4)) == [[True, True, False, False], [False, True, True, True]]


def test_repetition_penalty_lowers_what_was_seen():
    logits = np.array([[2.0, -2.0, 1.0]], "float32")
    seen = np.array([[True, True, False]])
    assert ops.convert_to_numpy(sampling.repetition_penalty(logits, seen, 2.0)).tolist() == [[1.0, -4.0, 1.0]]


def test_temperature_divides():
    assert ops.convert_to_numpy(sampling.temperature(np.array([[2.0, 4.0]], "float32"), 2.0)).tolist() == [[1.0, 2.0]]


def test_draws_have_the_frequencies_of_the_distribution():
    rows = 40_000
    logits = ops.convert_to_tensor(np.repeat(LOGITS[:1], rows, axis=0))
    drawn = ops.convert_to_numpy(sampling.draw(logits, np.array([7, 3], "int32")))
    counts = np.bincount(drawn, minlength=4)
    expected = rows * np.exp(LOGITS[0])
    assert ((counts - expected) ** 2 / expected).sum() < 16.3  # chi-square, 3 degrees of freedom, p = 0.001


def test_excluded_tokens_are_never_drawn():
    logits = ops.convert_to_tensor(np.repeat(LOGITS[:1], 5_000, axis=0))
    drawn = ops.convert_to_numpy(sampling.draw(sampling.top_k(logits, 2), np.array([1, 1], "int32")))
    assert set(drawn.tolist()) == {0, 1}


def test_a_k_beyond_the_vocabulary_keeps_all():
    ids = ops.convert_to_numpy(
        Sample(top_k=100).choose(ops.convert_to_tensor(LOGITS), {"temperature": 1.0}, None, [1, 2])
    )
    assert ids.shape == (2,)
