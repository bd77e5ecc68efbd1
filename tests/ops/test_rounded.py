"""What is rounded to eight bits is off by half a step at most, and attention to it by what follows from that."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.ops.attention import AttentionMask, KVCache, Rounded, dot_product_attention, rounded

RNG = np.random.default_rng(0)
B, S, N, M, H = 2, 9, 4, 2, 8


def normal(*shape):
    # Of unlike sizes, as the keys of real models are: one channel is ten times as large.
    return (RNG.standard_normal(shape) * np.where(np.arange(shape[-1]) == 1, 10, 1)).astype("float32")


def numpy(x):
    return ops.convert_to_numpy(ops.cast(x, "float32")).astype("float64")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("size", [1.0, 1e-4, 3e3])
def test_numbers_are_off_by_half_a_step_at_most(dtype, size):
    x = ops.cast(ops.convert_to_tensor(size * normal(3, S, H)), dtype)
    held, exact = Rounded.of(x), numpy(x)
    assert keras.backend.standardize_dtype(held.numbers.dtype) == "int8"
    assert keras.backend.standardize_dtype(held.largest.dtype) == dtype
    largest = np.abs(exact).max(-1, keepdims=True)
    np.testing.assert_array_equal(numpy(held.largest), largest)
    error = np.abs(numpy(held.numbers) * largest / 127 - exact)
    assert (error <= largest / 254 * (1 + 1e-4)).all()
    assert error.max() > 0
    np.testing.assert_allclose(numpy(held.floats()), numpy(held.numbers) * largest / 127, rtol=1e-6)
    assert (np.abs(numpy(held.numbers)).max(-1) == 127).all()


def test_zeros_stay_zeros_and_what_is_not_finite_is_no_number():
    x = np.zeros((1, 4, 3), "float32")
    x[0, 1] = [1, np.nan, 2]
    x[0, 2] = [1, np.inf, 2]
    x[0, 3] = [0, -5, 2.5]
    held = numpy(Rounded.of(ops.convert_to_tensor(x)).floats())
    np.testing.assert_array_equal(held[0, 0], 0)
    assert np.isnan(held[0, 1:3]).all()
    np.testing.assert_allclose(held[0, 3], [0, -5, 2.5], atol=5 / 254)


@pytest.mark.parametrize("shape", [(0, S, H), (3, 0, H)])
def test_of_no_vectors_nothing_is_rounded(shape):
    held = Rounded.of(ops.zeros(shape, dtype="float16"))
    assert tuple(held.numbers.shape) == shape
    assert tuple(held.largest.shape) == (*shape[:2], 1)
    assert keras.backend.standardize_dtype(held.largest.dtype) == "float16"


def tokens(dtype="float32"):
    return (ops.cast(ops.convert_to_tensor(normal(B, S, heads, H)), dtype) for heads in (N, M, M))


def attend(query, key, value, cache_dtype, **given):
    cache = KVCache.empty(B, S, M, H, query.dtype, cache_dtype).append(key, value)
    return dot_product_attention(query, cache.keys, cache.values, key_heads=M, **given)


def bound(query, key, value, pairs):
    """How far attention to rounded keys and values may be off, (B, T, N, H).

    A key that is off by d = m / 254 in each number moves a score by e = |q|_1 d / sqrt(H) at most, and so a weight by a factor
    of exp(2 e) at most: all weights together by exp(2 e) - 1. The values that they weigh are off by m / 254.
    """
    query, key, value = (numpy(x) for x in (query, key, value))
    key, value = (np.repeat(x, N // M, axis=2) for x in (key, value))  # (B, S, N, H)
    steps = np.abs(np.stack([key, value])).max(-1) / 254  # (2, B, S, N)
    seen = pairs[None, :, :, None]  # (1, T, S, 1)
    moved = np.abs(query).sum(-1)[:, :, None] * steps[0][:, None] / np.sqrt(H)  # (B, T, S, N)
    moved = np.where(seen, moved, 0).max(2)
    off = np.where(seen, steps[1][:, None], 0).max(2)
    largest = np.where(seen[..., None], np.abs(value)[:, None], 0).max(2)  # (B, T, N, H)
    return off[..., None] + np.expm1(2 * moved)[..., None] * largest


@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize(("dtype", "slack"), [("float32", 1e-5), ("bfloat16", 2**-5), ("float16", 2**-8)])
def test_attention_is_off_by_what_the_rounding_allows(window, dtype, slack):
    query, key, value = tokens(dtype)
    query = query * 0.05
    order = np.arange(S)[:, None] - np.arange(S)[None]
    pairs = (order >= 0) & (order < (window or S))
    mask = AttentionMask(causal=True, window=window)
    exact, _ = attend(*(ops.cast(x, "float32") for x in (query, key, value)), None, mask=mask)
    found, _ = attend(query, key, value, "int8", mask=mask)
    assert keras.backend.standardize_dtype(found.dtype) == dtype
    error, allowed = np.abs(numpy(found) - numpy(exact)), bound(query, key, value, pairs)
    # The floats of the products round too, by a share of what is added up.
    assert (error <= allowed + slack * np.abs(numpy(value)).max()).all()
    assert error.max() > 1e-3
    if dtype == "float32" and window == 1:  # a value alone: nothing but its own rounding is left
        assert error.max() > 0.9 * np.abs(numpy(value)).max() / 254


def test_products_are_those_with_the_numbers_that_are_held():
    query, key, value = tokens()
    found, scores = attend(query, key, value, "int8", return_scores=True)
    held = [rounded.Rounded.of(x).floats() for x in (key, value)]
    expected, expected_scores = attend(query, *held, None, return_scores=True)
    np.testing.assert_allclose(numpy(found), numpy(expected), atol=1e-4)
    np.testing.assert_allclose(numpy(scores), numpy(expected_scores), atol=1e-5)


def test_small_weights_of_small_values_are_not_lost_in_half_floats():
    """2^-10 each, of values of 2^-8: a weight times a scale is far below what float16 holds in full."""
    weights, value = np.full((1, 1, 1024), 2.0**-10), np.full((1, 1024, 4), 2.0**-8)
    weights, value = (ops.cast(ops.convert_to_tensor(x), "float16") for x in (weights, value))
    np.testing.assert_allclose(numpy(rounded.mixture(weights, Rounded.of(value))), 2.0**-8, rtol=2e-3)


def test_caches_take_half_the_memory_of_half_floats_and_a_quarter_of_float32():
    def bytes_of(*dtypes):
        cache = KVCache.empty(2, 32, 3, 64, *dtypes)
        return sum(ops.convert_to_numpy(x).nbytes for x in keras.tree.flatten(cache[:2]))

    assert bytes_of("float16", "int8") / bytes_of("float16") == 0.5 + 1 / 64
    assert bytes_of("float32", "int8") / bytes_of("float32") == 0.25 + 1 / 64


def test_a_rounded_cache_passes_through_a_loop():
    def body(count, cache):
        x = ops.ones((2, 1, 3, 4)) * ops.cast(count + 1, "float32")
        return count + 1, cache.append(x, 10 * x)

    start = (ops.zeros((), dtype="int32"), KVCache.empty(2, 5, 3, 4, cache_dtype="int8"))
    _, cache = ops.while_loop(lambda count, cache: count < 3, body, start)
    assert isinstance(cache, KVCache)
    np.testing.assert_allclose(numpy(cache.values.floats())[:, :, 0], [[10, 20, 30, 0, 0]] * 6, rtol=1e-6)
