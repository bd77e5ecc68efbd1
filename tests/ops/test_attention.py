"""Scaled dot-product attention: numbers worked out by hand, a float64 reference, and what may stand in masked places."""

import functools
import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.ops import attention
from keras_tx.ops.attention.kv_cache import fold_heads
from keras_tx.ops.random_bits import DropoutMask


def tensor(array, dtype="float32"):
    return ops.convert_to_tensor(np.asarray(array), dtype=dtype)


def array(value):
    return ops.convert_to_numpy(ops.cast(value, "float32"))


def attend(query, key, value, mask=None, bias=None, dtype="float32", **kwargs):
    """The library's attention of numpy arrays, with the scores."""
    mask = None if mask is None else tensor(mask, "bool")
    bias = None if bias is None else tensor(bias)
    operands = (tensor(each, dtype) for each in (query, key, value))
    context, scores = runner(**kwargs)(*operands, mask, bias)
    return array(context), array(scores)


@functools.cache
def runner(**kwargs):
    run = functools.partial(attention.dot_product_attention, return_scores=True, **kwargs)
    if keras.backend.backend() != "jax":
        return run
    import jax

    return jax.jit(run)  # without it JAX compiles each operation by itself, for each new shape


def reference(query, key, value, mask=None, bias=None):
    """Attention by loops in float64."""
    batch, queries, heads, size = query.shape
    keys, key_heads = key.shape[1:3]
    context, scores = np.zeros((batch, queries, heads, value.shape[-1])), np.zeros((batch, heads, queries, keys))
    allowed = np.broadcast_to(True if mask is None else mask, scores.shape)
    added = np.broadcast_to(0.0 if bias is None else bias, scores.shape)
    for b, n, t in np.ndindex(batch, heads, queries):
        m = n // (heads // key_heads)
        seen = [s for s in range(keys) if allowed[b, n, t, s]]
        if not seen:
            continue
        raw = np.array([query[b, t, n] @ key[b, s, m] / math.sqrt(size) + added[b, n, t, s] for s in seen])
        weights = np.exp(raw - raw.max())
        weights /= weights.sum()
        scores[b, n, t, seen] = weights
        context[b, t, n] = sum(w * value[b, s, m] for w, s in zip(weights, seen, strict=True))
    return context, scores


def random_case(seed):
    """Random operands with grouped heads, and a mask and a bias or not, of any shape that broadcasts."""
    random = np.random.default_rng(seed)
    batch, queries, keys, size, width = random.integers(1, 6, 5)
    key_heads, groups = random.integers(1, 4, 2)
    full = (batch, key_heads * groups, queries, keys)

    def broadcastable():
        return tuple(1 if random.random() < 0.3 else int(axis) for axis in full)

    return {
        "query": random.normal(size=(batch, queries, key_heads * groups, size)) * 3,
        "key": random.normal(size=(batch, keys, key_heads, size)),
        "value": random.normal(size=(batch, keys, key_heads, width)),
        "mask": random.random(broadcastable()) < 0.6 if random.random() < 0.7 else None,
        "bias": random.normal(size=broadcastable()) if random.random() < 0.5 else None,
    }


# One head of size 4: the query's product with the first key is 2 ln 3, over sqrt(4) is ln 3; with the second it is 0.
QUERY = [[[[2 * math.log(3), 0, 0, 0]]]]
KEY = [[[[1, 0, 0, 0]], [[0, 1, 0, 0]]]]
VALUE = [[[[4, 0]], [[8, 4]]]]


@pytest.mark.parametrize(
    ("mask", "bias", "weights", "context"),
    [
        (None, None, [3 / 4, 1 / 4], [5, 1]),
        (None, [0, math.log(2)], [3 / 5, 2 / 5], [28 / 5, 8 / 5]),
        ([True, True], [math.log(5), math.log(5)], [3 / 4, 1 / 4], [5, 1]),
        ([False, True], None, [0, 1], [8, 4]),
        ([True, False], [0, 100], [1, 0], [4, 0]),
        ([False, False], None, [0, 0], [0, 0]),
        ([False, False], [7, 7], [0, 0], [0, 0]),
    ],
)
def test_two_keys_by_hand(mask, bias, weights, context):
    mask = None if mask is None else np.reshape(mask, (1, 1, 1, 2))
    bias = None if bias is None else np.reshape(bias, (1, 1, 1, 2))
    got_context, got_scores = attend(QUERY, KEY, VALUE, mask, bias)
    np.testing.assert_allclose(got_scores, np.reshape(weights, (1, 1, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(got_context, np.reshape(context, (1, 1, 1, 2)), rtol=1e-6)


def test_equal_keys_share_the_weight_evenly():
    value = np.arange(5.0).reshape(1, 5, 1, 1)
    context, scores = attend(np.ones((1, 3, 1, 2)), np.ones((1, 5, 1, 2)), value)
    np.testing.assert_allclose(scores, np.full((1, 1, 3, 5), 0.2), rtol=1e-6)
    np.testing.assert_allclose(context, np.full((1, 3, 1, 1), 2.0), rtol=1e-6)


def test_each_group_of_query_heads_reads_its_own_key_head():
    # A query head that reads key head m gets that head's value, m; six query heads share two key heads.
    value = np.broadcast_to(np.arange(2.0)[None, None, :, None], (1, 3, 2, 4))
    context, _ = attend(np.ones((1, 1, 6, 4)), np.ones((1, 3, 2, 4)), value)
    np.testing.assert_allclose(context[0, 0, :, 0], [0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize("seed", range(12))
def test_attention_equals_a_float64_reference(seed):
    case = random_case(seed)
    for got, expected in zip(attend(**case), reference(**case), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_the_weights_of_a_query_sum_to_one_or_all_are_zero():
    mask = np.random.default_rng(6).random((2, 3, 40, 4)) < 0.3
    _, scores = attend(*np.random.default_rng(7).normal(size=(1, 2, 40, 3, 8)), *np.ones((2, 2, 4, 3, 8)), mask)
    np.testing.assert_allclose(scores.sum(-1), mask.any(-1), rtol=1e-6)
    assert not scores[~mask].any()
    assert not mask.any(-1).all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf, 6e4])
def test_masked_keys_and_values_change_no_bit_whatever_they_hold(dtype, junk):
    random = np.random.default_rng(0)
    query, key, value = random.normal(size=(3, 2, 6, 2, 8))
    mask = np.broadcast_to(np.arange(6) < 4, (2, 2, 6, 6)).copy()
    mask[0, :, 3] = False
    clean = attend(query, key, value, mask, dtype=dtype)
    key[:, 4], value[:, 5] = junk, junk
    dirty = attend(query, key, value, mask, dtype=dtype)
    for one, other in zip(clean, dirty, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_array_equal(one, other)
    assert not dirty[0][0, 3].any()


def test_a_value_that_is_not_finite_reaches_the_queries_that_attend_to_it_and_no_other():
    query, key, value = np.random.default_rng(1).normal(size=(3, 1, 4, 1, 8))
    value[0, 2] = np.nan
    context, _ = attend(query, key, value, np.tril(np.ones((4, 4), bool))[None, None])
    np.testing.assert_array_equal(np.isnan(context[0, :, 0, 0]), [False, False, True, True])


@pytest.mark.parametrize("low", [-np.inf, -1e9])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_bias_that_forbids_every_key_gives_no_nan_and_brings_back_no_masked_key(dtype, low):
    bias = ops.cast(tensor([[[[0, low, low], [low, low, low]]]]), dtype)
    x = tensor(np.ones((1, 3, 1, 4)), dtype)
    _, scores = attention.dot_product_attention(x[:, :2], x, x, bias=bias, return_scores=True)
    np.testing.assert_allclose(array(scores)[0, 0], [[1, 0, 0], [1 / 3] * 3], rtol=1e-6)
    mask = tensor([[[[False, True, True]]]], "bool")
    context, scores = attention.dot_product_attention(x[:, :2], x, x, mask, bias, return_scores=True)
    np.testing.assert_allclose(array(scores)[0, 0], [[0, 1 / 2, 1 / 2]] * 2, rtol=1e-6)
    np.testing.assert_allclose(array(context), np.ones((1, 2, 1, 4)), rtol=1e-3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_large_activations_do_not_overflow(dtype):
    # 300 * 300 * 64 is beyond float16; all keys but one are its opposite.
    key = np.full((1, 5, 1, 64), -300.0)
    key[0, 2] = 300.0
    value = np.arange(5.0).reshape(1, 5, 1, 1)
    context, scores = attend(np.full((1, 1, 1, 64), 300.0), key, value, dtype=dtype)
    np.testing.assert_array_equal(scores[0, 0, 0], [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(context, [[[[2.0]]]])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_context_keeps_the_dtype_and_the_scores_are_wide(dtype):
    x = tensor(np.ones((1, 3, 2, 4)), dtype)
    context, scores = attention.dot_product_attention(x, x, x, return_scores=True)
    assert keras.backend.standardize_dtype(context.dtype) == dtype
    assert keras.backend.standardize_dtype(scores.dtype) == "float32"


def test_asking_for_the_scores_changes_no_bit_of_the_context():
    x = tensor(np.random.default_rng(2).normal(size=(2, 7, 3, 4)))
    mask = tensor(np.random.default_rng(3).random((2, 1, 7, 7)) < 0.5, "bool")
    with_scores, _ = attention.dot_product_attention(x, x, x, mask, return_scores=True)
    without, nothing = attention.dot_product_attention(x, x, x, mask)
    assert nothing is None
    np.testing.assert_array_equal(array(with_scores), array(without))


def test_dropout_applies_to_the_weights_that_the_context_is_made_of_and_not_to_those_returned():
    case = random_case(4) | {"mask": None, "bias": None}
    plain_context, plain_scores = attend(**case)
    dropout_mask = DropoutMask(0.5, tensor([3, 4], "uint32"))
    operands = (tensor(case[name]) for name in ("query", "key", "value"))
    context, scores = (
        array(each)
        for each in attention.dot_product_attention(*operands, dropout_mask=dropout_mask, return_scores=True)
    )
    np.testing.assert_allclose(scores, plain_scores, rtol=1e-6)  # two programs round apart on a GPU
    value = np.repeat(case["value"], case["query"].shape[2] // case["value"].shape[2], axis=2)
    expected = np.einsum("bnts,bsnh->btnh", array(dropout_mask.apply(tensor(plain_scores))), value)
    np.testing.assert_allclose(context, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(context - plain_context).max() > 0.1


def test_keys_and_values_as_a_cache_holds_them_change_nothing():
    case = random_case(5) | {"mask": np.ones((1, 1, 1, 1), bool)}
    held = {name: array(fold_heads(tensor(case[name]))) for name in ("key", "value")}
    held["key_heads"] = case["key"].shape[2]
    for one, other in zip(attend(**case), attend(**(case | held)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("batch", "queries", "keys"), [(0, 3, 3), (2, 0, 3), (2, 3, 0), (0, 0, 0)])
@pytest.mark.parametrize("masked", [False, True])
def test_empty_axes_give_empty_outputs_and_no_keys_give_zeros(batch, queries, keys, masked):
    mask = np.ones((batch, 1, queries, keys), bool) if masked else None
    shape = (batch, keys, 1, 4)
    context, scores = attend(np.ones((batch, queries, 2, 4)), np.ones(shape), np.ones(shape), mask)
    assert context.shape == (batch, queries, 2, 4)
    assert scores.shape == (batch, 2, queries, keys)
    assert (context == (0 if keys == 0 else 1)).all()


def test_confine_moves_what_is_not_finite_from_the_value_to_its_key():
    key, value = np.ones((1, 4, 1, 2)), np.ones((1, 4, 1, 3))
    value[0, 1, 0, 2], value[0, 3] = np.inf, np.nan
    key, value = (array(each) for each in attention.isolate_nonfinite(tensor(key), tensor(value)))
    np.testing.assert_array_equal(np.isnan(key[0, :, 0]).all(-1), [False, True, False, True])
    np.testing.assert_array_equal(value[0, :, 0], [[1, 1, 1], [0, 0, 0], [1, 1, 1], [0, 0, 0]])


def test_the_symbolic_scores_have_the_shape_and_the_dtype_of_the_real_ones():
    spec = attention.scores_spec(keras.KerasTensor((None, 5, 16), "float16"), 4, 7, "float16")
    assert spec.shape == (None, 4, 5, 7)
    assert spec.dtype == "float32"
