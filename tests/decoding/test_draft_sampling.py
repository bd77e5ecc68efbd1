"""Sampling with a draft: the distribution stays, and equal seeds give equal tokens."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.decoding import Draft, Lookup, Sample, Sampler, draft_report, draw, generate, speculation

from .conftest import own_model, shaken

PROMPT, SIZE, COUNT, ROWS = [1, 2, 3, 1, 2], 4, 3, 1024


@pytest.fixture(autouse=True)
def at_any_cost(monkeypatch, as_graphs):
    monkeypatch.setattr(speculation, "_SHARE", 1e6)


@pytest.fixture(scope="module")
def model():
    return shaken(own_model(SIZE, 32), scale=0.3)


def critical(freedom):
    """What a chi-square variable exceeds with probability 1e-5, as Wilson and Hilferty have it."""
    return freedom * (1 - 2 / (9 * freedom) + 4.2649 * (2 / (9 * freedom)) ** 0.5) ** 3


def exact(model, sampler):
    """The probability of each continuation of three tokens: by the full pass, without a cache."""
    firsts = list(itertools.product(range(SIZE), repeat=2))
    ids = np.array([[*PROMPT, *pair] for pair in firsts], "int32")
    logits = ops.convert_to_numpy(model(ids))[:, len(PROMPT) - 1 :] / sampler.temperature
    if sampler.top_k is not None:
        least = np.sort(logits, axis=-1)[..., -sampler.top_k][..., None]
        logits = np.where(logits >= least, logits, -np.inf)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return np.array([p[i, 0, a] * p[i, 1, b] * p[i, 2] for i, (a, b) in enumerate(firsts)]).reshape(-1)


@pytest.mark.parametrize("sampler", [Sample(1.0), Sample(1.5, top_k=3)], ids=["all", "top_k"])
@pytest.mark.parametrize("kind", [Lookup, Draft])
def test_the_distribution_is_that_of_the_model(model, sampler, kind):
    drafter = Lookup(2, 3) if kind is Lookup else Draft(shaken(own_model(SIZE, 32), 1, scale=0.3), 2)
    tokens = generate(model, [PROMPT] * ROWS, COUNT, sampler, seed=7, draft=drafter)[:, len(PROMPT) :]
    found = np.bincount(tokens @ [SIZE**2, SIZE, 1], minlength=SIZE**COUNT)
    expected = ROWS * exact(model, sampler)
    possible = expected > 0
    assert found[~possible].sum() == 0
    rare = possible & (expected < 5)  # together, as the statistic is no chi-square variable with few expected
    found = np.append(found[possible & ~rare], found[rare].sum())
    expected = np.append(expected[possible & ~rare], expected[rare].sum())
    statistic = ((found - expected) ** 2 / np.maximum(expected, 1e-9)).sum()
    assert len(expected) > 8
    assert statistic < critical(len(expected) - 1)
    counts = draft_report()[f"own: {kind.__name__}"]
    assert 0 < counts["accepted"] < counts["proposed"]


@keras.saving.register_keras_serializable(package="tests")
@dataclasses.dataclass(frozen=True)
class NothingTwice(Sampler):
    """Draws a token that is not there yet, as long as there are such."""

    cold: float = 1.0

    def settings(self):
        return {"cold": self.cold}

    def needs_seen(self):
        return True

    def choose(self, logits, settings, seen, seed):
        return draw(ops.where(seen, -50.0, logits / settings["cold"]), seed)


@pytest.mark.parametrize("kind", [Lookup, Draft])
def test_equal_seeds_give_the_tokens_that_come_without(kind):
    model = shaken(own_model(40, 64))
    drafter = Lookup(2, 3) if kind is Lookup else Draft(model, 2)
    prompts = [[3, 4, 5, 3, 4], [6] * 7, [1], [9, 8]]
    for sampler in (NothingTwice(0.5), Sample(0.7, min_p=0.02)):
        for seed in (1, 2):
            plain = generate(model, prompts, 20, sampler, seed=seed)
            assert generate(model, prompts, 20, sampler, seed=seed, draft=drafter).tolist() == plain.tolist()


def test_draws_of_rows_are_those_of_the_whole():
    logits = ops.convert_to_tensor(np.random.default_rng(0).standard_normal((4, 9)).astype("float32"))
    whole = {count: ops.convert_to_numpy(draw(logits, [3, count])) for count in (0, 5, 6)}
    seeds = ops.convert_to_tensor(np.array([[3, 3, 3], [5, 0, 6], [2, 1, 3]], "int32"))
    rows = ops.take(logits, ops.convert_to_tensor([2, 1, 3]), axis=0)
    expected = [whole[5][2], whole[0][1], whole[6][3]]
    assert ops.convert_to_numpy(draw(rows, seeds)).tolist() == expected
