"""Beam search equals brute force, and finished beams collect nothing more."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.decoding import Beam, Greedy, generate

STOP, VOCABULARY, LIMIT = 2, 4, 4
WIDE = VOCABULARY**LIMIT // 4  # no sequence falls out
PROMPTS = [[1, 2, 3], [3]]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    ids = keras.Input((None,), dtype="int32")
    wide = keras.initializers.RandomNormal(stddev=1.0)
    x = layers.TokenAndPositionEmbedding(VOCABULARY, 32, 8, embeddings_initializer=wide)(ids)
    x = layers.TransformerDecoder(16, 2)(x)
    return keras.Model(ids, keras.layers.Dense(VOCABULARY, kernel_initializer=wide)(x))


def brute_force(model, prompt, length_penalty):
    """All sequences that end with the stop or at the limit, best first, as (score, tokens)."""
    found, alive = [], [([], 0.0)]
    while alive:
        ids = np.zeros((VOCABULARY**LIMIT, len(PROMPTS[0]) + LIMIT), "int32")  # of one shape, to be compiled once
        last = len(prompt) + len(alive[0][0]) - 1
        ids[: len(alive), : last + 1] = [prompt + tokens for tokens, _ in alive]
        steps = ops.convert_to_numpy(ops.log_softmax(model.predict_on_batch(ids)[:, last]))
        longer = [
            ([*tokens, token], log_p + float(step))
            for (tokens, log_p), row in zip(alive, steps, strict=False)
            for token, step in enumerate(row)
        ]
        ended = [each for each in longer if each[0][-1] == STOP or len(each[0]) == LIMIT]
        found += [(log_p / ((5 + len(tokens)) / 6) ** length_penalty, tokens) for tokens, log_p in ended]
        alive = [each for each in longer if each not in ended]
    return sorted(found, reverse=True)


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 2.0])
def test_a_wide_beam_equals_brute_force(model, length_penalty):
    sampler = Beam(WIDE, length_penalty, num_return=4)
    tokens, scores = generate(model, PROMPTS, LIMIT, sampler=sampler, stop_ids=STOP, return_scores=True)
    for row, score, prompt in zip(tokens, scores, PROMPTS, strict=True):
        best = brute_force(model, prompt, length_penalty)[:4]
        np.testing.assert_allclose(score, [value for value, _ in best], atol=1e-5)
        for sequence, (_, expected) in zip(row, best, strict=True):
            new = sequence[len(prompt) : len(prompt) + LIMIT]
            assert new[: len(expected)].tolist() == expected
            assert not new[len(expected) :].any()


def test_width_one_without_stops_is_greedy(model):
    prompts = [[1, 2], [3, 1, 0]]
    assert np.array_equal(generate(model, prompts, 6, sampler=Beam(1)), generate(model, prompts, 6, sampler=Greedy()))


def test_a_beam_wider_than_the_vocabulary_returns_what_there_is(model):
    sampler = Beam(WIDE, num_return=6)
    tokens, scores = generate(model, PROMPTS, 1, sampler=sampler, return_scores=True)
    assert sorted(tokens[0, :VOCABULARY, 3].tolist()) == list(range(VOCABULARY))
    assert np.all(np.diff(scores[0, :VOCABULARY]) <= 0)
    assert np.all(scores[0, VOCABULARY:] == -np.inf)
