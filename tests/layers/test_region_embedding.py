"""Embeddings of regions: the equation, which regions are real, and boxes and counts that cannot be."""

import keras
import numpy as np
import pytest

from keras_tx.layers import RegionEmbedding

from .eager_and_symbolic import WAYS
from .execution import COMPILES, SeenMask, array, compiled, tensor

FEATURES = np.random.default_rng(0).normal(size=(2, 3, 5)).astype("float32")
BOXES = np.array(
    [
        [[0, 0, 1, 1], [0.25, 0.5, 0.75, 0.625], [0.5, 0.125, 0.5, 0.25]],
        [[0, 0, 1, 1], [0, 0.25, 0.125, 1], [0.5, 0.5, 0.5, 0.5]],
    ],
    "float32",
)


@pytest.fixture(scope="module")
def layer():
    layer = RegionEmbedding(4, bias_initializer="normal")
    layer.build(FEATURES.shape)
    return layer


def expected(layer):
    area = (BOXES[..., 2] - BOXES[..., 0]) * (BOXES[..., 3] - BOXES[..., 1])
    numbers = np.concatenate([BOXES, area[..., None]], -1)
    maps = ((layer.features, FEATURES), (layer.location, numbers))
    return sum(x @ array(part.kernel) + array(part.bias) for part, x in maps)


def test_outputs_are_the_equation_and_a_box_of_no_size_has_no_area(layer):
    np.testing.assert_allclose(array(layer(tensor(FEATURES), tensor(BOXES))), expected(layer), atol=1e-6)


@pytest.mark.parametrize("run", [lambda f: f, compiled], ids=["eager", "compiled"])
def test_what_is_not_real_may_hold_anything_and_the_mask_goes_on(layer, run):
    features, boxes, counts = FEATURES.copy(), BOXES.copy(), np.array([3, 1], "int32")
    features[1, 1:], boxes[1, 1:] = np.nan, 400.0
    outputs = array(
        run(lambda *given: layer(*given[:2], num_regions=given[2]))(*map(tensor, (features, boxes, counts)))
    )
    np.testing.assert_array_equal(outputs[1, 1:], 0)
    np.testing.assert_allclose(outputs[0], expected(layer)[0], atol=1e-6)
    seen = SeenMask()
    seen(layer(tensor(features), tensor(boxes), num_regions=tensor(counts)))
    np.testing.assert_array_equal(array(seen.mask), [[True] * 3, [True, False, False]])
    both = np.array([[True, False, True]] * 2)
    seen(layer(tensor(features), tensor(boxes), mask=tensor(both), num_regions=tensor(counts)))
    np.testing.assert_array_equal(array(seen.mask), [[True, False, True], [True, False, False]])


def test_no_region_at_all_gives_zeros(layer):
    none = layer(tensor(FEATURES), tensor(BOXES), num_regions=tensor(np.zeros(2, "int32")))
    np.testing.assert_array_equal(array(none), 0)


@pytest.mark.parametrize(
    ("box", "what"),
    [
        ([10, 20, 60, 80], "pixels"),
        ([-0.1, 0, 0.5, 0.5], "outside"),
        ([0, 0, 0.5, 1.2], "outside"),
        ([0.6, 0, 0.5, 0.5], "order"),
        ([0, 0.6, 0.5, 0.5], "order"),
        ([0, np.nan, 0.5, 0.5], "nan"),
    ],
)
def test_boxes_that_leave_the_image_or_are_turned_are_refused_by_place(layer, box, what):
    boxes = BOXES.copy()
    boxes[1, 2] = box
    with pytest.raises(
        ValueError, match=r"`boxes` must hold \[x1, y1, x2, y2\] in fractions.* for region 2 of image 1"
    ):
        layer(tensor(FEATURES), tensor(boxes))
    layer(tensor(FEATURES), tensor(boxes), num_regions=tensor(np.array([3, 2], "int32")))  # it is not real


def test_what_half_floats_round_outside_is_brought_back(layer):
    boxes = BOXES.copy()
    boxes[:, 0] = [-0.001, 0, 1.001, 1]
    np.testing.assert_allclose(array(layer(tensor(FEATURES), tensor(boxes))), expected(layer), atol=1e-6)
    layer(tensor(FEATURES), tensor(boxes, "float16"))


@pytest.mark.parametrize("counts", [[4, 1], [-1, 1]])
def test_counts_above_the_regions_are_refused(layer, counts):
    with pytest.raises(
        ValueError, match=f"`num_regions` must hold counts .* counts from {min(counts)} to {max(counts)} with 3"
    ):
        layer(tensor(FEATURES), tensor(BOXES), num_regions=tensor(np.array(counts, "int32")))
    with pytest.raises(ValueError, match="`num_regions` must hold integer counts. Received: 0.5"):
        layer(tensor(FEATURES), tensor(BOXES), num_regions=tensor(np.array([0.5, 1], "float32")))


@pytest.mark.skipif(not COMPILES, reason="this backend has no compiler here")
def test_compiled_a_wrong_box_counts_as_zeros_and_a_wrong_count_as_all(layer):
    boxes = BOXES.copy()
    boxes[0, 0] = [0, 0, 28, 28]
    run = compiled(lambda *given: layer(*given[:2], num_regions=given[2]))
    outputs = array(run(*map(tensor, (FEATURES, boxes, np.array([7, 3], "int32")))))
    plain = FEATURES[0, 0] @ array(layer.features.kernel) + array(layer.features.bias) + array(layer.location.bias)
    np.testing.assert_allclose(outputs[0, 0], plain, atol=1e-6)
    np.testing.assert_allclose(outputs[0, 1:], expected(layer)[0, 1:], atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a graph of TensorFlow")
def test_a_graph_of_tensorflow_refuses_when_it_runs(layer):
    import tensorflow as tf

    run = tf.function(lambda *given: layer(*given[:2], num_regions=given[2]), autograph=False)
    counts = np.array([3, 2], "int32")
    np.testing.assert_allclose(array(run(FEATURES, BOXES, counts))[0], expected(layer)[0], atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`boxes` must hold"):
        run(FEATURES, 28 * BOXES, counts)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`num_regions` must hold counts"):
        run(FEATURES, BOXES, counts + 1)


@WAYS
def test_other_shapes_and_dtypes_are_refused(layer, make):
    for shape, dtype, message in [
        ((2, 3, 5), "float32", r"`boxes` must have 3 axes, the last of size 4 as built"),
        ((2, 4, 4), "float32", r"`boxes` must hold one box for each region of `inputs`. Received: .*\(2, 4, 4\)"),
        ((2, 3, 4), "int32", "`boxes` must be a float tensor"),
    ]:
        with pytest.raises(ValueError, match=message):
            layer(make((2, 3, 5)), make(shape, dtype=dtype))
    with pytest.raises(ValueError, match=r"`inputs` must have 3 axes, the last of size 5 as built"):
        layer(make((2, 3, 6)), make((2, 3, 4)))
    for shape in [(2, 1), (3,)]:
        with pytest.raises(ValueError, match=r"`num_regions` must have shape \(B,\)"):
            layer(make((2, 3, 5)), make((2, 3, 4)), num_regions=make(shape, dtype="int32"))
