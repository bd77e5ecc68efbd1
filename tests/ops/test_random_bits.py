"""The random bits: equal on every backend, and indistinguishable from fair coins at sizes that would show a lattice.

Every backend is held to the same words, in draws as large as those that are counted and for each bit of the seed. What the
words are worth is then counted once.

Bounds stand in standard deviations of what fair bits give. One comparison exceeds 5.5 of them by chance in 26 million tries.
"""

import hashlib
import itertools

import keras
import numpy as np
import pytest

from keras_tx.ops import random_bits

from ..layers.execution import compiled

SIDE = 4096  # SIDE * SIDE = 1.7e7 words a draw
SEEDS = [(1337, 0), (0, 1)]
WIDTHS = [64, 100, 128, 256, 768, 1024]
SIGMAS = 5.5


def words(shape, seed):
    """The library's words as numpy's uint32."""
    bits = random_bits.random_bits(shape, keras.ops.convert_to_tensor(seed, dtype="int32"))
    return keras.ops.convert_to_numpy(bits).view("uint32")


def kept(bits, rate):
    return bits >= np.uint32(round(rate * 2**32))


def centred(bits, rate):
    return (kept(bits, rate) - (1 - rate)).astype("float32")


def correlation(first, second, rate):
    """How many standard deviations two boolean arrays, each True at 1 - rate, are from being independent."""
    count = first.size
    both = np.count_nonzero(first & second) - np.count_nonzero(first) * (np.count_nonzero(second) / count)
    return both / np.sqrt(count) / (rate * (1 - rate))


def evenness(counts):
    """Chi-square of how often each value came, as a deviation from its mean in standard deviations."""
    expected = counts.sum() / counts.size
    return (((counts - expected) ** 2 / expected).sum() - (counts.size - 1)) / np.sqrt(2 * (counts.size - 1))


def parity_transform(x):
    """The Walsh-Hadamard transform of a vector whose size is a power of 2."""
    half = 1
    while half < x.size:
        pairs = x.reshape(-1, 2, half)
        x = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).ravel()
        half *= 2
    return x


def digest(bits):
    return hashlib.sha256(bits.astype("<u4").tobytes()).hexdigest()[:32]


@pytest.fixture(scope="module")
def draws():
    return [words((SIDE, SIDE), seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def half_words(draws):
    """For each draw, how often each value of its lower and of its upper 16 bits came; bytes and bits are counted in these."""
    return [[np.bincount(half, minlength=65536) for half in bits.view("<u2").reshape(-1, 2).T] for bits in draws]


GOLDEN = {
    ((1000,), (0, 0)): "d9d6d50b138534347d4059eb7d65d395",
    ((3, 5, 7, 11), (1337, 0)): "81bb478ee6ff393c29c57041cca0c00d",
    ((64, 1, 1), (1337, 1)): "3b82bdac8774b45b1c35747192636f0c",
    ((513, 129), (2147483647, 1048576)): "a36eeb790b94c5167542a2aa954411ad",
    ((), (7, 7)): "61b1c3f778d72c427d9faff4f6f8941b",
    ((SIDE, SIDE), (1337, 0)): "a642e66ffec2b15eb71e5d3e97ea1125",
}


@pytest.mark.parametrize(("shape", "seed"), GOLDEN)
def test_bits_are_the_same_on_every_backend(shape, seed):
    bits = words(shape, seed)
    assert bits.shape == shape
    assert digest(bits) == GOLDEN[shape, seed]


def test_each_bit_of_the_seed_and_of_the_counter_counts_the_same_on_every_backend():
    seeds = [(1 << place, 0) for place in range(31)] + [(0, 1 << place) for place in range(31)]
    assert digest(np.stack([words((3,), seed) for seed in seeds])) == "fca7b1dc64113f54d2c7907fe5eece8e"


def test_elements_are_numbered_row_by_row():
    flat = words((24,), (3, 4))
    for shape in [(24, 1), (1, 24), (2, 12), (2, 3, 4), (2, 1, 3, 4)]:
        np.testing.assert_array_equal(words(shape, (3, 4)).ravel(), flat)


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (2, 0, 3)])
def test_an_empty_shape_gives_no_bits(shape):
    assert words(shape, (1, 1)).shape == shape


@pytest.mark.parametrize("rate", [0.0, 1e-3, 0.1, 0.5, 0.9, 1 - 1e-12])
def test_keep_mask_compares_the_words_with_the_rate(rate):
    mask = random_bits.keep_mask((300, 7), keras.ops.convert_to_tensor((5, 6), dtype="int32"), rate)
    assert keras.backend.standardize_dtype(mask.dtype) == "bool"
    fractions = words((300, 7), (5, 6)) / 2.0**32
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(mask), fractions >= min(rate, 1 - 2.0**-32))


@pytest.mark.once
@pytest.mark.parametrize("rate", [1e-3, 0.1, 0.5, 0.9])
def test_the_rate_is_met(draws, rate):
    for bits in draws:
        dropped = bits.size - np.count_nonzero(kept(bits, rate))
        assert abs(dropped - bits.size * rate) < SIGMAS * np.sqrt(bits.size * rate * (1 - rate))


@pytest.mark.once
def test_each_bit_is_a_fair_coin(half_words):
    values, size = np.arange(65536), SIDE * SIDE
    for halves, place in itertools.product(half_words, range(32)):
        ones = halves[place // 16][(values >> place % 16) & 1 == 1].sum()
        assert abs(ones - size / 2) < SIGMAS * np.sqrt(size / 4), place


@pytest.mark.once
def test_each_byte_and_each_half_word_is_uniform(half_words):
    for counts in itertools.chain(*half_words):
        assert counts.sum() == SIDE * SIDE
        assert abs(evenness(counts)) < SIGMAS
        for axis in (0, 1):  # over the upper byte, which leaves the lower one, and over the lower
            assert abs(evenness(counts.reshape(256, 256).sum(axis))) < SIGMAS


@pytest.mark.once
def test_the_bytes_of_neighbours_are_independent(draws):
    for bits in draws:
        high = (bits >> np.uint32(24)).astype("uint16")
        for one, next_to_it in ((high[:, 1:], high[:, :-1]), (high[1:], high[:-1])):
            assert abs(evenness(np.bincount((one * 256 + next_to_it).ravel(), minlength=65536))) < SIGMAS


@pytest.mark.once
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_elements_at_any_lag_are_independent(draws, rate):
    lags = [1, 2, 3, 4, 5, 7, 8, 16, 31, 32, 33, 64, 100, 128, 256, 512, 768, 1024, 2048, SIDE, SIDE + 1, 65536, 2**20]
    for bits in draws:
        mask = kept(bits, rate).ravel()
        for lag in lags:
            assert abs(correlation(mask[lag:], mask[:-lag], rate)) < SIGMAS, lag


@pytest.mark.once
@pytest.mark.parametrize("width", WIDTHS)
def test_rows_columns_and_diagonals_are_independent(width):
    rate = 0.1
    mask = kept(words((2**22 // width, width), (99, width)), rate)
    for rows, columns in [(0, 1), (1, 0), (1, 1), (2, 0), (0, 2), (8, 0), (64, 0), (3, 5)]:
        near = mask[rows:, columns:]
        assert abs(correlation(near, mask[: len(near), : near.shape[1]], rate)) < SIGMAS, (rows, columns)
    assert abs(correlation(mask[1:, :-1], mask[:-1, 1:], rate)) < SIGMAS
    for axis in (0, 1):
        length = mask.shape[axis]
        totals = (mask.sum(axis=axis) - length * (1 - rate)) / np.sqrt(length * rate * (1 - rate))
        assert abs((totals**2).sum() - totals.size) < SIGMAS * np.sqrt(2 * totals.size)


@pytest.mark.once
def test_the_spectrum_of_a_mask_is_white():
    rate, size = 0.1, 1024
    for counter in range(8):
        mask = centred(words((size, size), (2024, counter)), rate)
        power = np.abs(np.fft.rfft2(mask)[:, 1:-1]) ** 2 / (size**2 * rate * (1 - rate))
        # Each is exponential with mean 1: beyond 26 lies one of 200,000 million, and there are half a million.
        assert power.max() < 26
        assert abs(power.mean() - 1) < SIGMAS / np.sqrt(power.size)


def related_seeds():
    pairs = [((1337, 0), (1337, 1)), ((1337, 0), (1338, 0)), ((1, 0), (0, 1)), ((0, 0), (0, 1)), ((5, 9), (9, 5))]
    pairs += [((1337, 7), (1337 ^ (1 << place), 7)) for place in range(0, 31, 3)]
    pairs += [((1337, 7), (1337, 7 ^ (1 << place))) for place in range(0, 20, 2)]
    return pairs


@pytest.mark.once
def test_the_masks_of_related_seeds_are_independent_at_every_shift_and_every_xor():
    rate, count = 0.1, 2**16
    for first, second in related_seeds():
        one, other = centred(words((count,), first), rate), centred(words((count,), second), rate)
        scale = np.sqrt(count) * rate * (1 - rate)
        shifted = np.fft.irfft(np.fft.rfft(one) * np.conj(np.fft.rfft(other)), count) / scale
        assert np.abs(shifted).max() < 6.5, (first, second)  # of 65,536 deviations
        exchanged = parity_transform(parity_transform(one) * parity_transform(other)) / count / scale
        assert np.abs(exchanged).max() < 6.5, (first, second)


@pytest.mark.once
def test_the_draws_of_successive_calls_are_independent(draws):
    for one, other in itertools.combinations(draws, 2):
        for rate in (0.1, 0.5):
            assert abs(correlation(kept(one, rate), kept(other, rate), rate)) < SIGMAS


@pytest.mark.once
@pytest.mark.parametrize("what", ["seed", "counter"])
def test_calls_share_no_more_words_than_chance_gives(what):
    # Streams that run through one sequence at different places would meet in long stretches.
    calls, count, limit = 2048, 2**14, 2**26
    program = compiled(lambda seed: random_bits.random_bits((count,), seed))
    low = []
    for call in range(calls):
        seed = keras.ops.convert_to_tensor((call, 0) if what == "seed" else (1337, call), dtype="int32")
        bits = keras.ops.convert_to_numpy(program(seed)).view("uint32")
        low.append(bits[bits < limit])
    np.testing.assert_array_equal(bits, words((count,), (calls - 1, 0) if what == "seed" else (1337, calls - 1)))
    low = np.concatenate(low)
    repeated = low.size - np.unique(low).size
    expected = low.size - limit * -np.expm1(low.size * np.log1p(-1 / limit))
    assert abs(repeated - expected) < SIGMAS * np.sqrt(expected)


def flips(one, other):
    """How often each bit of the words differs, as deviations from one half in standard deviations."""
    changed = [np.count_nonzero((one ^ other) & np.uint32(1 << place)) for place in range(32)]
    return (np.array(changed) - one.size / 2) / np.sqrt(one.size / 4)


@pytest.mark.once
def test_each_bit_of_the_index_flips_each_bit_of_the_word_half_the_time():
    bits = words((2**20,), (1337, 0))
    index = np.arange(2**20)
    for place in range(20):
        lower = index[(index >> place) & 1 == 0]
        assert np.abs(flips(bits[lower], bits[lower ^ (1 << place)])).max() < SIGMAS, place


@pytest.mark.once
def test_each_bit_of_the_seed_and_of_the_counter_flips_each_bit_of_the_word_half_the_time():
    seed = (123456789, 1000)
    bits = words((2**16,), seed)
    for which, places in [(0, 31), (1, 31)]:
        for place in range(places):
            other = list(seed)
            other[which] ^= 1 << place
            assert np.abs(flips(bits, words((2**16,), tuple(other)))).max() < SIGMAS, (which, place)
