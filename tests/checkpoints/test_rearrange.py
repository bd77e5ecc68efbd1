"""Arrangements: each pattern is the numpy expression it stands for, and its reverse undoes it bit for bit."""

import numpy as np
import pytest

from keras_tx.checkpoints import Concatenate, Rearrange

pytestmark = pytest.mark.once  # numpy alone

W = np.random.default_rng(0).normal(size=(6, 2, 3)).astype("float32")  # (D, N, H)
FUSED = [W, W + 10, W + 20]
CASES = {
    None: ([W], lambda w: w),
    "in out -> out in": ([W[:, 0]], lambda w: w.T),
    "d n h -> d (n h)": ([W], lambda w: w.reshape(6, 6)),
    "d n h -> (n h) d": ([W], lambda w: w.reshape(6, 6).T),
    "n h d -> d (n h)": ([W.transpose(1, 2, 0)], lambda w: w.reshape(6, 6).T),
    "n h -> (n h)": ([W[0]], lambda w: w.reshape(6)),
    "d n h -> d (* n h)": (FUSED, lambda *w: np.concatenate([each.reshape(6, 6) for each in w], axis=1)),
    "d n h -> (* n h) d": (FUSED, lambda *w: np.concatenate([each.reshape(6, 6).T for each in w], axis=0)),
    "n h -> (* n h)": ([each[0] for each in FUSED], lambda *w: np.concatenate([each.reshape(6) for each in w])),
    "d n h -> n * h d": (FUSED, lambda *w: np.stack(w).transpose(2, 0, 3, 1)),
    "y x c d -> d c y x": ([W[..., None]], lambda w: w.transpose(3, 2, 0, 1)),
    "d -> 1 1 d": ([W[0, 0]], lambda w: w[None, None]),
    "-> 1": ([np.float32(5).reshape(())], lambda w: w.reshape(1)),
}


@pytest.mark.parametrize("pattern", CASES)
def test_a_pattern_is_the_expression_that_it_stands_for_both_ways(pattern):
    weights, expression = CASES[pattern]
    arrangement, shapes = Rearrange(pattern), [weight.shape for weight in weights]
    tensor = arrangement.to_tensor(weights)
    assert np.array_equal(tensor, expression(*weights))
    assert tensor.shape == arrangement.tensor_shape(shapes) == expression(*weights).shape
    assert tensor.flags.c_contiguous
    back = arrangement.to_weights(tensor, shapes)
    assert len(back) == len(weights)
    assert all(np.array_equal(one, other) for one, other in zip(back, weights, strict=True))


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "a b",
        "a b -> a",
        "a -> a b",
        "a b -> b b",
        "a * -> * a",
        "a b -> (a (b))",
        "a b -> a * b *",
        "2 b -> b 2",
        "a b -> [a b]",
        "(a (b)) -> b a",
        "(a) b) -> a b",
    ],
)
def test_a_pattern_that_loses_or_makes_axes_is_refused(pattern):
    with pytest.raises(ValueError, match="`pattern` must name the axes of a weight, then '->'"):
        Rearrange(pattern)


def test_the_same_bytes_in_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"`tensor` must have shape \(6, 6\). Received: tensor of shape \(3, 12\)"):
        Rearrange("d n h -> d (n h)").to_weights(W.reshape(3, 12), [W.shape])


def test_weights_that_fit_no_tensor_are_refused():
    fused = Rearrange("d h -> d (* h)")
    assert fused.tensor_shape([(2, 3), (2, 4)]) is None
    assert fused.tensor_shape([(2, 3, 4)]) is None
    assert Rearrange().tensor_shape([(2,), (2,)]) is None
    with pytest.raises(ValueError, match="`weights` must fit the pattern"):
        fused.to_tensor([np.zeros((2, 3)), np.zeros((2, 4))])


def test_an_axis_of_a_weight_may_be_unfolded_where_its_parts_are_known():
    pattern = "(row column channel) out -> out channel row column"
    arrangement, kernel = Rearrange(pattern, {"row": 2, "column": 3}), np.arange(2 * 3 * 5 * 4.0).reshape(30, 4)
    tensor = arrangement.to_tensor([kernel])
    np.testing.assert_array_equal(tensor, kernel.reshape(2, 3, 5, 4).transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(arrangement.to_weights(tensor, [kernel.shape])[0], kernel)
    assert arrangement.tensor_shape([(31, 4)]) is None
    assert Rearrange(pattern, {"row": 2}).tensor_shape([kernel.shape]) is None
    assert Rearrange(pattern, {"row": 2, "column": 3, "channel": 4}).tensor_shape([kernel.shape]) is None


def test_weights_of_several_shapes_stand_one_after_the_other():
    joined = Concatenate("token d | row column d -> 1 (token + row column) d")
    weights = [np.ones((2, 4)), np.arange(24.0).reshape(2, 3, 4)]
    shapes = [weight.shape for weight in weights]
    tensor = joined.to_tensor(weights)
    assert tensor.shape == joined.tensor_shape(shapes) == (1, 8, 4)
    np.testing.assert_array_equal(tensor[0, 2:], weights[1].reshape(6, 4))
    for weight, back in zip(weights, joined.to_weights(tensor, shapes), strict=True):
        np.testing.assert_array_equal(back, weight)
    assert joined.tensor_shape([(2, 4), (2, 3, 5)]) is None
    assert joined.tensor_shape(shapes[:1]) is None
    with pytest.raises(ValueError, match="`weights` must fit the pattern"):
        joined.to_tensor([weights[0], weights[0]])
    with pytest.raises(ValueError, match=r"`tensor` must have shape \(1, 8, 4\)"):
        joined.to_weights(tensor[0], shapes)


@pytest.mark.parametrize(
    "pattern", ["a d | b d -> (a b) d", "a | b -> (a + b + c)", "a d -> d a", "a d | b d -> (* a + b) d"]
)
def test_a_join_without_a_part_for_each_weight_is_refused(pattern):
    with pytest.raises(ValueError, match="`pattern` must have one axis of the tensor in parentheses"):
        Concatenate(pattern)
