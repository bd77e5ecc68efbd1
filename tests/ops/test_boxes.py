"""Boxes: their corners, and GIoU by hand."""

import numpy as np
import pytest

from keras_tx.ops import boxes

from ..layers.execution import array, input_gradient, tensor


def test_corners_stand_half_a_size_from_the_center():
    found = array(boxes.corners(np.array([[[0.5, 0.5, 0.2, 0.4], [0.0, 1.0, 2.0, 0.0]]])))
    np.testing.assert_allclose(found, [[[0.4, 0.3, 0.6, 0.7], [-1.0, 1.0, 1.0, 1.0]]], atol=1e-6)


@pytest.mark.parametrize(
    ("other", "wanted"),
    [
        ([0, 0, 2, 2], 1.0),  # the same
        ([1, 0, 3, 2], 2 / 6),  # half covered, and the frame filled
        ([1, 1, 3, 3], 1 / 7 - 2 / 9),
        ([2, 0, 4, 2], 0.0),  # side by side
        ([3, 0, 5, 2], -2 / 10),  # apart
        ([0.5, 0.5, 1.5, 1.5], 1 / 4),  # inside
        ([1, 1, 1, 1], 0.0),  # a point inside
        ([4, 4, 4, 4], 4 / 16 - 1),  # a point outside
    ],
)
def test_generalized_iou_is_that_of_areas_by_hand(other, wanted):
    box = np.array([0.0, 0.0, 2.0, 2.0])
    np.testing.assert_allclose(array(boxes.generalized_iou(box, np.array(other, "float64"))), wanted, atol=1e-6)
    np.testing.assert_allclose(array(boxes.generalized_iou(np.array(other, "float64"), box)), wanted, atol=1e-6)


def test_all_pairs_come_by_broadcasting_and_points_have_finite_gradients():
    random = np.random.default_rng(0)
    found = boxes.generalized_iou(random.uniform(size=(2, 3, 1, 4)), random.uniform(size=(2, 1, 5, 4)))
    assert tuple(found.shape) == (2, 3, 5)
    point = tensor(np.array([0.5, 0.5, 0.0, 0.0], "float32"))

    def of_point(point):
        return boxes.generalized_iou(boxes.corners(point), boxes.corners(point))

    assert array(of_point(point)) == 0
    assert np.isfinite(input_gradient(of_point, point)).all()
