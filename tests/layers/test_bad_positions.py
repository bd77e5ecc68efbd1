"""Positions, places and segments that a layer cannot use: refused by name; and what they stand for in compiled code."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.layers import GatherPositions, SegmentEmbedding, SpanBoundary

from .execution import COMPILES, array, compiled, tensor

X = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
WHERE = np.array([[0, 4, 2], [1, 1, 3]], "int32")


def symbol(value):
    return keras.KerasTensor(value.shape, value.dtype.name)


WAYS = pytest.mark.parametrize("make", [tensor, symbol], ids=["eager", "symbolic"])
LAYERS = {GatherPositions: ("positions",), SpanBoundary: ("left", "right", "offsets")}
every_layer = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)


def call(layer, make, x=X, **changed):
    values = dict.fromkeys(LAYERS[type(layer)], WHERE) | changed
    return layer(make(x), **{name: make(value) for name, value in values.items()})


@every_layer
def test_vectors_are_those_of_the_positions(layer):
    layer = layer()
    outputs = array(call(layer, tensor))
    assert outputs.shape == (2, 3, 8)
    if isinstance(layer, GatherPositions):
        np.testing.assert_array_equal(outputs, np.take_along_axis(X, WHERE[..., None], 1))


@WAYS
@every_layer
def test_positions_of_another_rank_or_batch_and_fractions_are_refused(layer, make):
    for name in LAYERS[layer]:
        built = layer()
        call(built, tensor)
        with pytest.raises(ValueError, match=f"`{name}` must hold integer .* Received: 0.5 in {name} of dtype float32"):
            call(built, tensor, **{name: WHERE.astype("float32") + 0.5})
        with pytest.raises(ValueError, match=rf"`{name}` must have 2 axes. Received: {name} of shape \(3,\)"):
            call(built, make, **{name: WHERE[0]})
        with pytest.raises(ValueError, match=f"`{name}` and `inputs` must have the same batch axes"):
            call(built, make, **{name: WHERE[:1]})


@WAYS
@every_layer
def test_inputs_of_another_dtype_or_rank_are_refused(layer, make):
    built = layer()
    call(built, tensor)
    with pytest.raises(ValueError, match="`inputs` must be a float tensor. Received: inputs of dtype int32"):
        call(built, make, X.astype("int32"))
    with pytest.raises(ValueError, match=r"`inputs` must have (at least )?3 axes.* Received: inputs of shape \(2, 5\)"):
        call(built, make, X[..., 0])


@every_layer
@pytest.mark.parametrize("value", [-1, 99])
def test_positions_out_of_range_are_refused_by_name(layer, value):
    for name in LAYERS[layer]:
        wrong = WHERE.copy()
        wrong[1, 2] = value
        with pytest.raises(ValueError, match=rf"`{name}` must hold \w+ in \[0, .* Received: .*{value}"):
            call(layer(), tensor, **{name: wrong})


@pytest.mark.parametrize("segments", [[[0, 2]], [[-1, 0]]])
def test_segments_out_of_range_are_refused_by_name(segments):
    with pytest.raises(ValueError, match=r"`inputs` must hold segment ids in \[0, num_segments\). Received: ids from"):
        SegmentEmbedding(2, 4)(tensor(np.array(segments, "int32")))


@pytest.mark.parametrize("value", [np.full((1, 2), 0.5, "float32"), np.zeros((2,), "int32")])
def test_segments_of_another_dtype_or_rank_are_refused(value):
    with pytest.raises(ValueError, match="`inputs` must (hold integer segment ids|have at least 2 axes)"):
        SegmentEmbedding(2, 4)(tensor(value))


@pytest.mark.skipif(not COMPILES, reason="this backend has no compiler here")
def test_positions_and_segments_out_of_range_give_zeros_when_compiled():
    wrong = np.array([[0, -1, 5], [99, 4, -7]], "int32")
    outputs = array(compiled(GatherPositions())(tensor(X), tensor(wrong)))
    np.testing.assert_array_equal(outputs[0, 1:], 0)
    np.testing.assert_array_equal(outputs[1, [0, 2]], 0)
    np.testing.assert_array_equal(outputs[0, 0], X[0, 0])
    np.testing.assert_array_equal(outputs[1, 1], X[1, 4])
    layer = SegmentEmbedding(2, 4)
    layer(ops.zeros((1, 1), "int32"))
    vectors = array(compiled(layer)(tensor(np.array([[1, 2, -1]], "int32"))))
    assert np.abs(vectors[0, 0]).max() > 0
    np.testing.assert_array_equal(vectors[0, 1:], 0)
