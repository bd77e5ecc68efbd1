"""`bias_initializer` reaches every bias that a layer makes itself, is written, and is "zeros" in files that do not know it."""

import inspect

import numpy as np
import pytest

from keras_tx import layers

from .contract_rows import MAP, OTHER, X
from .execution import array

pytestmark = pytest.mark.once  # initializers run on no backend of their own

MAKE = {
    layers.FeedForward: (lambda **kw: layers.FeedForward(8, gated=True, **kw), (X,), 3),
    layers.MultiHeadCrossAttention: (lambda **kw: layers.MultiHeadCrossAttention(2, **kw), (X, OTHER), 4),
    layers.MultiHeadSelfAttention: (lambda **kw: layers.MultiHeadSelfAttention(2, **kw), (X,), 4),
    layers.RegionEmbedding: (lambda **kw: layers.RegionEmbedding(8, **kw), (X, ("boxes", (5, 4))), 2),
    layers.TokenMixing: (lambda **kw: layers.TokenMixing(8, **kw), (X,), 2),
    layers.TransformerDecoder: (lambda **kw: layers.TransformerDecoder(8, 2, **kw), (X, OTHER), 10),
    layers.TransformerEncoder: (lambda **kw: layers.TransformerEncoder(8, 2, **kw), (X,), 6),
    layers.WindowAttention: (lambda **kw: layers.WindowAttention(2, 2, **kw), (MAP,), 4),
}


def biases(layer):
    """The biases of projections. Those of norms are called otherwise."""
    return [array(weight) for weight in layer.weights if weight.name == "bias"]


def built(make, inputs, **kwargs):
    layer = make(**kwargs)
    layer.build(*[(2, *shape) for _, shape in inputs])
    return layer


def test_every_layer_with_biases_has_the_argument():
    def takes(layer, name):
        return name in inspect.signature(layer.__init__).parameters

    with_biases = {getattr(layers, name) for name in layers.__all__} - {
        layers.WindowPositionBias,
        layers.RelativePositionBias,
    }
    found = {layer for layer in with_biases if takes(layer, "bias_initializer")}
    assert found == MAKE.keys()


@pytest.mark.parametrize("layer", MAKE, ids=lambda layer: layer.__name__)
def test_every_bias_starts_as_told_and_by_default_at_zero(layer):
    make, inputs, count = MAKE[layer]
    own = biases(built(make, inputs, bias_initializer="ones"))
    assert len(own) == count
    assert all(np.all(value == 1) for value in own)
    copy = layer.from_config(make(bias_initializer="ones").get_config())
    assert all(np.all(value == 1) for value in biases(built(lambda: copy, inputs)))
    config = make().get_config()
    del config["bias_initializer"]
    older = layer.from_config(config)
    assert all(np.all(value == 0) for value in biases(built(lambda: older, inputs)))


def test_biases_drawn_at_random_differ_from_each_other():
    make, inputs, _ = MAKE[layers.MultiHeadSelfAttention]
    query, key, *_ = biases(built(make, inputs, bias_initializer="normal"))
    assert not np.array_equal(query, key)
