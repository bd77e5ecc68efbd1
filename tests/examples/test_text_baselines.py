"""Baselines in bits per byte, against their definitions."""

import collections
import gzip
import math

import numpy as np
import pytest
import text_baselines

pytestmark = pytest.mark.once  # numpy alone

TRAIN = b"the cat sat on the mat, the rat sat on the cat"


def by_definition(train, text, order):
    """Interpolated Witten-Bell smoothing, one byte at a time."""
    counts = collections.defaultdict(collections.Counter)
    for length in range(order + 1):
        padded = bytes(length) + train
        for place in range(len(train)):
            counts[padded[place : place + length], length][padded[place + length]] += 1

    def probability(context, byte):
        lower = 1 / 256 if not context else probability(context[1:], byte)
        if context == b"":
            seen = counts[b"", 0]
        else:
            seen = counts[context, len(context)]
        if not seen:
            return lower
        return (seen[byte] + len(seen) * lower) / (seen.total() + len(seen))

    padded = bytes(order) + text
    return sum(-math.log2(probability(padded[i : i + order], padded[i + order])) for i in range(len(text))) / len(text)


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("text", [b"the cat", b"xyz the", bytes(range(256))])
def test_counts_of_bytes_follow_their_definition(order, text):
    assert text_baselines.ngram_bits(TRAIN, text, order) == pytest.approx(by_definition(TRAIN, text, order))


def test_the_probabilities_of_all_next_bytes_sum_to_one():
    context = b"on the "
    costs = [
        text_baselines.ngram_bits(TRAIN, context + bytes([byte])) * (len(context) + 1)
        - text_baselines.ngram_bits(TRAIN, context) * len(context)
        for byte in range(256)
    ]
    assert sum(2.0**-cost for cost in costs) == pytest.approx(1)


def test_longer_contexts_help_on_text_and_nothing_helps_on_noise():
    text, noise = TRAIN * 20, np.random.default_rng(0).bytes(5000)
    bits = [text_baselines.ngram_bits(text, TRAIN, order) for order in range(4)]
    assert bits == sorted(bits, reverse=True)
    assert text_baselines.ngram_bits(noise[:2500], noise[2500:], 3) > 7.9


def test_compressors_are_measured_by_what_they_write():
    assert text_baselines.gzip_bits(TRAIN) == 8 * len(gzip.compress(TRAIN, 9, mtime=0)) / len(TRAIN)
    repeated = TRAIN * 50
    assert text_baselines.primed_xz_bits(repeated, TRAIN * 5) < 0.2 < text_baselines.primed_xz_bits(b"abc", TRAIN * 5)
