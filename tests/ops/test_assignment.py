"""Assignments cost what scipy's do, whatever the matrices, and no gradient goes through them."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.ops.assignment import linear_sum_assignment

from ..layers.execution import array, compiled, input_gradient, quick, tensor

SHAPES = [(10, 16), (6, 6), (3, 100), (1, 1), (8, 9)]  # rows and columns


def matrices(rows, columns, count):
    """Normal costs, whole numbers with many ties, and costs far from zero by turns, with any number of real rows."""
    random = np.random.default_rng(rows * columns)
    cost = random.normal(size=(count, rows, columns))
    cost[1::3] = random.integers(0, 3, cost[1::3].shape)
    cost[2::3] = 1000.0 - 20 * cost[2::3]
    mask = random.uniform(size=(count, rows)) < random.uniform(0, 1.3, (count, 1))
    return cost.astype("float32"), mask


def check_least(cost, mask, found):
    scipy = pytest.importorskip("scipy.optimize")
    for number, (each, real, columns) in enumerate(zip(cost.astype("float64"), mask, found, strict=True)):
        assert np.all(columns[~real] == -1), number
        columns, each = columns[real], each[real]
        assert np.all(columns >= 0), number
        assert len(set(columns)) == len(columns), number
        wanted = each[scipy.linear_sum_assignment(each)].sum()
        np.testing.assert_allclose(each[np.arange(len(each)), columns].sum(), wanted, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_ten_thousand_assignments_cost_what_those_of_scipy_do(rows, columns):
    cost, mask = matrices(rows, columns, 2000)
    found = array(compiled(linear_sum_assignment)(tensor(cost), tensor(mask)))
    assert found.dtype == np.int32
    assert {0, rows} <= set(mask.sum(axis=1))
    check_least(cost, mask, found)


def test_it_runs_eagerly_without_a_mask_and_on_other_leading_axes():
    cost, _ = matrices(4, 5, 6)
    found = array(quick(linear_sum_assignment)(tensor(cost.reshape(2, 3, 4, 5))))
    assert found.shape == (2, 3, 4)
    check_least(cost, np.ones((6, 4), bool), found.reshape(6, 4))
    assert array(quick(linear_sum_assignment)(cost[0])).tolist() == found[0, 0].tolist()
    assert array(quick(linear_sum_assignment)(np.zeros((2, 0, 5)))).shape == (2, 0)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan, 3e38])
def test_costs_that_are_not_finite_are_avoided_where_another_is_left(bad):
    cost = np.array([[[bad, 1, 9], [2, 0, bad]], [[bad] * 3, [1, 5, 5]], [[bad] * 3] * 2, [[-1e29, 0, 1e29]] * 2])
    found = array(quick(linear_sum_assignment)(tensor(cost, "float32")))
    assert found[0].tolist() == [1, 0]
    assert found[1, 1] == 0
    assert found[1, 0] in (1, 2)
    assert len(set(found[2])) == 2
    assert sorted(found[3]) == [0, 1]


def test_what_stands_in_masked_rows_is_not_looked_at():
    cost, mask = matrices(6, 8, 30)
    found = array(quick(linear_sum_assignment)(cost, mask))
    broken = np.where(mask[..., None], cost, np.nan)
    np.testing.assert_array_equal(array(quick(linear_sum_assignment)(broken, mask)), found)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_floats_are_summed_in_float32(dtype):
    cost, mask = matrices(6, 8, 30)
    half, mask = ops.cast(cost, dtype), tensor(mask)
    found = array(quick(linear_sum_assignment)(half, mask))
    np.testing.assert_array_equal(found, array(quick(linear_sum_assignment)(ops.cast(half, "float32"), mask)))


def test_no_gradient_goes_through():
    cost = tensor(matrices(3, 4, 5)[0])

    def of_cost(cost):
        return ops.sum(cost) + ops.sum(ops.cast(linear_sum_assignment(cost), "float32"))

    np.testing.assert_array_equal(input_gradient(of_cost, cost), np.ones((5, 3, 4)))


@pytest.mark.parametrize("shape", [(3,), (2, 3, 2), (2, None, 4), (2, 3, None)])
def test_costs_of_other_shapes_are_refused(shape):
    cost = keras.KerasTensor(shape)
    with pytest.raises(ValueError, match=r"`cost` must be of shape .* no more rows than columns"):
        linear_sum_assignment(cost)


@pytest.mark.parametrize("mask", [np.ones((2, 4), bool), np.ones((3,), bool), np.ones((2, 3))])
def test_masks_of_other_shapes_or_no_booleans_are_refused(mask):
    with pytest.raises(ValueError, match="`mask` must be a boolean for each row of `cost`"):
        linear_sum_assignment(np.zeros((2, 3, 4)), mask)
