"""Beam search equals brute force, and finished beams collect nothing more."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.decoding import Beam, Greedy, generate

STOP, VOCABULARY, LIMIT = 2, 4, 4


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
    found, waiting = [], [([], 0.0)]
    while waiting:
        tokens, log_p = waiting.pop()
        if tokens and (tokens[-1] == STOP or len(tokens) == LIMIT):
            found.append((log_p / ((5 + len(tokens)) / 6) ** length_penalty, tokens))
            continue
        logits = model(np.array([prompt + tokens], "int32"))[0, -1]
        for token, step in enumerate(ops.convert_to_numpy(ops.log_softmax(logits))):
            waiting.append(([*tokens, token], log_p + float(step)))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 2.0])
def test_a_wide_beam_equals_brute_force(model, length_penalty):
    prompts = [[1, 2, 3], [3]]
    sampler = Beam(VOCABULARY**LIMIT // 4, length_penalty, num_return=4)
    tokens, scores = generate(model, prompts, LIMIT, sampler=sampler, stop_ids=STOP, return_scores=True)
    for row, score, prompt in zip(tokens, scores, prompts, strict=True):
        best = brute_force(model, prompt, length_penalty)[:4]
        np.testing.assert_allclose(score, [value for value, _ in best], atol=1e-5)
        for sequence, (_, expected) in zip(row, best, strict=True):
            new = sequence[len(prompt) : len(prompt) + LIMIT]
            assert new[: len(expected)].tolist() == expected
            assert not new[len(expected) :].any()


def test_width_one_without_stops_is_greedy(model):
    prompts = [[1, 2], [3, 1, 0]]
    assert np.array_equal(generate(model, prompts, 6, sampler=Beam(1)), generate(model, prompts, 6, sampler=Greedy()))


def test_the_score_is_that_of_the_sequence(model):
    tokens, scores = generate(model, [[1]], LIMIT, sampler=Beam(3, 1.0), return_scores=True)
    logits = ops.log_softmax(model(tokens[:, :-1]))
    log_p = np.take_along_axis(ops.convert_to_numpy(logits)[0], tokens[0, 1:, None], axis=1).sum()
    np.testing.assert_allclose(scores[0, 0], log_p / ((5 + LIMIT) / 6), atol=1e-5)


def test_a_beam_wider_than_the_vocabulary_returns_what_there_is(model):
    tokens, scores = generate(model, [[1]], 1, sampler=Beam(6, num_return=6), return_scores=True)
    assert sorted(tokens[0, :VOCABULARY, 1].tolist()) == list(range(VOCABULARY))
    assert np.all(np.diff(scores[0, :VOCABULARY]) <= 0)
    assert np.all(scores[0, VOCABULARY:] == -np.inf)
