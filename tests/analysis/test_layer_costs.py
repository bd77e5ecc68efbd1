"""What one layer costs, told by shapes alone, and what is said where it is not known."""

import keras
import numpy as np
import pytest

from keras_tx import analysis, layers

pytestmark = pytest.mark.once  # nothing is computed


def built(layer, *shapes):
    layer.build(*shapes)
    return layer


def test_a_shape_stands_for_a_tensor():
    dense = built(keras.layers.Dense(4), (2, 16))
    whole = analysis.layer_costs(dense, keras.KerasTensor((2, 16)))
    assert whole.macs == {"dense": 128}
    assert analysis.layer_costs(dense, (2, 16)) == analysis.layer_costs(dense, tuple(np.array([2, 16]))) == whole
    cross = built(layers.MultiHeadCrossAttention(2), (2, 5, 8), (2, 3, 8))
    assert analysis.layer_costs(cross, (2, 5, 8), context=(2, 3, 8)).macs["attention"] == 2 * 2 * 5 * 3 * 8
    assert analysis.layer_costs(keras.layers.Add(), [(2, 3), (2, 3)]).macs == {}
    with pytest.raises(ValueError, match=r"sizes of at least 1. Received: \(0, 16\)"):
        analysis.layer_costs(dense, (0, 16))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"macs": {"dense": -1}}, r"`macs\['dense'\]` must be an integer of at least 0.*=-1"),
        ({"macs": {"dense": 1.5}}, r"`macs\['dense'\]` must be .*=1.5"),
        ({"macs": 7}, "`macs` must be a dict from kind.* macs=7"),
        ({"kept": -4}, "`kept` must be an integer of at least 0.* kept=-4"),
        ({"cache": None}, "`cache` must be an integer of at least 0.* cache=None"),
    ],
)
def test_counts_are_integers_of_at_least_0(given, said):
    with pytest.raises(ValueError, match=said):
        analysis.LayerCosts(**given)


class Own(keras.layers.Layer):
    def call(self, inputs):
        return inputs


class Counted(keras.layers.LSTM):
    def count_costs(self, sequence, **given):
        rows, length, width = sequence.shape
        return analysis.LayerCosts({"dense": rows * length * 4 * self.units * (width + self.units)})


def test_what_is_not_known_is_said_of_keras_layers_and_of_ones_own():
    for layer in (keras.layers.LSTM(3, name="own"), keras.layers.RandomFlip(name="own")):
        kind = type(layer).__name__
        said = f"this layer of Keras are not: make a class from it .`class Counted{kind}.keras.layers.{kind}.`. with a method "
        with pytest.raises(ValueError, match=said + f"`count_costs.*Received: own of class {kind}"):
            analysis.layer_costs(layer, (2, 8, 8, 3))
    with pytest.raises(ValueError, match="a class of one's own tells them by a method .*Received: own of class Own"):
        analysis.layer_costs(Own(name="own"), (2, 8))
    assert analysis.layer_costs(built(Counted(3), (2, 5, 4)), (2, 5, 4)).macs == {"dense": 2 * 5 * 4 * 3 * 7}


def test_a_layer_that_is_not_built_is_refused():
    with pytest.raises(ValueError, match="must be built.* Received: own of class Conv1D"):
        analysis.layer_costs(keras.layers.Conv1D(3, 3, name="own"), (2, 4, 8))
    with pytest.raises(ValueError, match="must be built.* Received: attention of class MultiHeadSelfAttention"):
        analysis.layer_costs(layers.TransformerEncoder(8, 2, name="own"), (2, 3, 8))
