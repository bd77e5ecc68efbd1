"""Masks: read from where they come, checked, and combined as booleans."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.ops import masks, padding


def boolean(*values):
    return ops.convert_to_tensor(np.array(values), dtype="bool")


def array(mask):
    return ops.convert_to_numpy(mask)


def symbol(*shape, dtype="bool"):
    return keras.KerasTensor(shape, dtype=dtype)


@pytest.mark.parametrize(("queries", "keys", "offset"), [*itertools.product([0, 1, 3], [1, 3, 5], [0, 2])])
def test_a_causal_mask_shows_each_query_what_came_before_it_and_itself(queries, keys, offset):
    mask = array(masks.causal(queries, keys, offset))
    expected = [[key <= query + offset for key in range(keys)] for query in range(queries)]
    np.testing.assert_array_equal(mask, np.reshape(np.array(expected, dtype=bool), (queries, keys)))


def test_the_offset_of_a_causal_mask_may_be_a_tensor():
    mask = masks.causal(2, 5, ops.convert_to_tensor(2, dtype="int32"))
    np.testing.assert_array_equal(array(mask), [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])


@pytest.mark.parametrize("present", [*itertools.product([False, True], repeat=3)])
def test_combine_is_the_and_of_those_given(present):
    random = np.random.default_rng(0)
    given = [random.random((2, 3)) < 0.5 if here else None for here in present]
    combined = masks.combine(*(None if mask is None else boolean(*mask) for mask in given))
    if not any(present):
        assert combined is None
    else:
        np.testing.assert_array_equal(
            array(combined), np.logical_and.reduce([mask for mask in given if mask is not None])
        )


@pytest.mark.parametrize("present", [*itertools.product([False, True], repeat=3)])
def test_a_pair_may_meet_if_the_query_is_real_and_the_key_is_real_and_the_pair_is_allowed(present):
    random = np.random.default_rng(1)
    query, key, pair = random.random((2, 3)) < 0.5, random.random((2, 4)) < 0.5, random.random((2, 5, 3, 4)) < 0.5
    given = [boolean(*mask) if here else None for mask, here in zip((query, key, pair), present, strict=True)]
    combined = masks.pairs(*given)
    if not any(present):
        assert combined is None
        return
    query, key, pair = (
        mask if here else np.ones_like(mask) for mask, here in zip((query, key, pair), present, strict=True)
    )
    expected = query[:, None, :, None] & key[:, None, None, :] & pair
    np.testing.assert_array_equal(np.broadcast_to(array(combined), expected.shape), expected)


def test_a_query_has_keys_if_any_head_lets_it_see_one():
    pair = np.zeros((2, 2, 3, 4), bool)
    pair[0, 1, 2, 3] = pair[1, 0, 0, 0] = True
    got = masks.queries_with_keys(boolean(*pair))
    np.testing.assert_array_equal(array(got), [[False, False, True], [True, False, False]])


def test_an_explicit_mask_goes_before_the_one_that_keras_attached():
    embedding = keras.layers.Embedding(5, 2, mask_zero=True)
    carrying = embedding(ops.convert_to_tensor([[1, 0]], dtype="int32"))
    explicit = boolean([False, True])
    assert padding.given_or_implicit(explicit, carrying) is explicit
    np.testing.assert_array_equal(array(padding.given_or_implicit(None, carrying)), [[True, False]])
    assert padding.given_or_implicit(None, ops.ones((1, 2))) is None


def test_padding_becomes_zero_whatever_it_held():
    inputs = np.array([[[1.0, 2.0], [np.nan, np.inf]], [[-np.inf, 3.0], [4.0, 5.0]]], dtype="float32")
    zeroed = padding.zero_masked(ops.convert_to_tensor(inputs), boolean([True, False], [False, True]))
    np.testing.assert_array_equal(array(zeroed), [[[1, 2], [0, 0]], [[0, 0], [4, 5]]])
    untouched = ops.convert_to_tensor(inputs)
    assert padding.zero_masked(untouched, None) is untouched


@pytest.mark.parametrize("dtype", ["bool", "int32", "uint8", "float32", "bfloat16"])
def test_check_hands_booleans_back(dtype):
    mask = masks.check("mask", ops.convert_to_tensor([[1, 0, 1]], dtype=dtype), (1, 3))
    assert keras.backend.standardize_dtype(mask.dtype) == "bool"
    np.testing.assert_array_equal(array(mask), [[True, False, True]])
    assert masks.check("mask", None, (1, 3)) is None


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize(("value", "said"), [(-100.0, "-100.0"), (0.5, "0.5"), (-1.0, "-1.0"), (np.nan, "nan")])
def test_check_refuses_other_floats_and_says_where_they_belong(dtype, value, said):
    mask = ops.cast(ops.convert_to_tensor([[0.0, 1.0, value]]), dtype)
    with pytest.raises(
        ValueError,
        match=rf"`here` must be boolean.* `attention_bias`. Received: here of dtype {dtype} that holds {said}.",
    ):
        masks.check("here", mask, (1, 3))


@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
def test_a_placeholder_of_any_dtype_stands_for_a_mask(dtype):
    mask = masks.check("here", symbol(1, 3, dtype=dtype), (1, 3))
    assert (mask.shape, mask.dtype) == ((1, 3), "bool")


@pytest.mark.parametrize(
    ("shape", "allowed"),
    [((2, 3), [(2, 3)]), ((1, 3), [(2, 3)]), ((2, 3), [(None, 3)]), ((None, 3), [(2, 3)]), ((2, 3), [(9,), (2, 3)])],
)
def test_check_takes_shapes_that_fit_or_broadcast(shape, allowed):
    assert masks.check("mask", symbol(*shape), *allowed).shape == shape


@pytest.mark.parametrize(
    ("shape", "allowed", "said"),
    [
        ((2, 4), [(2, 3)], r"shape \(2, 3\). Received: mask of shape \(2, 4\)"),
        ((3, 3), [(2, 3)], r"shape \(2, 3\). Received: mask of shape \(3, 3\)"),
        ((3,), [(2, 3)], r"shape \(2, 3\). Received: mask of shape \(3,\)"),
        ((2, 3, 1), [(2, 3), (None, 7)], r"shape \(2, 3\) or \(any, 7\). Received: mask of shape \(2, 3, 1\)"),
        ((None, 4), [(None, 3)], r"shape \(any, 3\). Received: mask of shape \(any, 4\)"),
    ],
)
def test_check_names_the_shapes_that_it_takes_and_the_one_that_came(shape, allowed, said):
    with pytest.raises(ValueError, match=rf"`mask` must have {said}"):
        masks.check("mask", symbol(*shape), *allowed)


def test_pairs_may_be_described_in_two_three_or_four_axes():
    pair = np.random.default_rng(2).random((3, 4)) < 0.5
    for shape in [(3, 4), (1, 3, 4), (1, 1, 3, 4)]:
        four = masks.as_pairs(boolean(*pair.reshape(shape)))
        np.testing.assert_array_equal(array(four), pair[None, None])
    assert masks.as_pairs(None) is None
    assert masks.pair_shapes((2,), 5, 3, 4) == ((3, 4), (2, 3, 4), (2, 5, 3, 4))


@pytest.mark.parametrize(
    ("mask", "attention_mask", "positions", "pairs"),
    [
        (None, None, None, None),
        ((2, 3), None, (2, 3), None),
        (None, (3, 4), None, (1, 1, 3, 4)),
        (None, (2, 3, 4), None, (2, 1, 3, 4)),
        ((2, 3), (2, 5, 3, 4), (2, 3), (2, 5, 3, 4)),
        ((2, 3, 4), None, None, (2, 1, 3, 4)),
        ((2, 5, 3, 4), (3, 4), None, (2, 5, 3, 4)),
    ],
)
def test_read_sorts_masks_into_positions_and_pairs(mask, attention_mask, positions, pairs):
    def make(shape):
        return None if shape is None else ops.ones(shape, dtype="bool")

    got = masks.read(ops.ones((2, 3, 8)), make(mask), make(attention_mask), num_heads=5, num_keys=4)
    assert [None if each is None else tuple(each.shape) for each in got] == [positions, pairs]


def test_read_names_the_argument_that_has_the_wrong_shape():
    inputs = ops.ones((2, 3, 8))
    with pytest.raises(ValueError, match=r"`mask` must have shape \(2, 3\) or .* Received: mask of shape \(2, 4\)"):
        masks.read(inputs, ops.ones((2, 4), dtype="bool"), None, 5, 4)
    with pytest.raises(ValueError, match=r"`attention_mask` must have shape \(3, 4\) or .* Received: .* \(2, 3\)"):
        masks.read(inputs, None, ops.ones((2, 3), dtype="bool"), 5, 4)


def test_for_block_tells_positions_from_pairs():
    inputs = ops.ones((2, 3, 8))
    positions, pairs = ops.ones((2, 3), dtype="bool"), ops.ones((2, 3, 3), dtype="bool")
    assert masks.for_block(inputs, None) == (None, None)
    handed, over_positions = masks.for_block(inputs, positions)
    assert tuple(handed.shape) == tuple(over_positions.shape) == (2, 3)
    assert masks.for_block(inputs, pairs) == (pairs, None)
    with pytest.raises(ValueError, match=r"`mask` must have shape \(2, 3\). Received: mask of shape \(2, 4\)"):
        masks.for_block(inputs, ops.ones((2, 4), dtype="bool"))


@pytest.mark.parametrize("shape", [(3, 4), (1, 4), (2, 5, 3, 4), (1, 5, 3, 4), (1, 1, 1, 4)])
def test_a_bias_may_have_two_or_four_axes(shape):
    masks.check_bias(ops.zeros(shape), ops.ones((2, 3, 8)), 5, 4)


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 4), (2, 4, 3, 4), (3, 5, 3, 4)])
def test_a_bias_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"`attention_bias` must have shape \(3, 4\) or \(2, 5, 3, 4\). Received: "):
        masks.check_bias(ops.zeros(shape), ops.ones((2, 3, 8)), 5, 4)
