"""Classes made from the layers, with a `call` of their own: a graph is told of that call, not of the one that it replaces."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers

from .execution import array, tensor

X = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
IDS = np.array([[1, 2, 3, 0, 0], [4, 5, 0, 0, 0]], "int32")


class MoreArguments(layers.TransformerEncoder):
    def call(self, inputs, added, mask=None, training=None):
        return super().call(inputs + added, mask=mask, training=training)


class OtherName(layers.TransformerEncoder):
    def call(self, x, scale=2.0, **kwargs):
        return super().call(scale * x, **kwargs)


class FewerArguments(layers.MultiHeadSelfAttention):
    def call(self, inputs, mask=None):
        return super().call(inputs, mask=mask)


class ContextNeeded(layers.MultiHeadCrossAttention):
    def call(self, inputs, context):
        return super().call(inputs, context)


class NoCache(layers.TransformerDecoder):
    def call(self, inputs, context=None, mask=None):
        return super().call(inputs, context, mask=mask)


class Scaled(layers.SinusoidalPositionEncoding):
    def call(self, inputs, scale=2.0):
        return super().call(inputs) * scale


class OneVector(layers.TransformerEncoder):
    def call(self, inputs, mask=None, training=None):
        return ops.mean(super().call(inputs, mask=mask, training=training), axis=1)


class OneVectorTold(OneVector):
    """One that tells of its own call, by what its base tells of the base's."""

    def call(self, inputs, mask=None, training=None, scale=1.0):
        return scale * super().call(inputs, mask=mask, training=training)

    def compute_output_spec(self, inputs, mask=None, training=None, scale=1.0):
        whole = layers.TransformerEncoder.compute_output_spec(self, inputs, mask=mask)
        return keras.KerasTensor((whole.shape[0], whole.shape[2]), whole.dtype)


CASES = {
    "more arguments": (lambda: MoreArguments(16, 2), 2, {}),
    "another name": (lambda: OtherName(16, 2), 1, {"scale": 0.5}),
    "fewer arguments": (lambda: FewerArguments(2), 1, {}),
    "a context": (lambda: ContextNeeded(2), 2, {}),
    "no cache": (lambda: NoCache(16, 2), 2, {}),
    "positions": (Scaled, 1, {"scale": 0.5}),
    "other outputs": (lambda: OneVector(16, 2), 1, {}),
    "told": (lambda: OneVectorTold(16, 2), 1, {"scale": 0.5}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_call_of_its_own_is_what_a_graph_is_told_of(name):
    make, count, arguments = CASES[name]
    layer, inputs = make(), keras.Input((5, 8))
    outputs = layer(*[inputs] * count, **arguments)
    wanted = array(layer(*[tensor(X)] * count, **arguments))
    assert outputs.shape[1:] == wanted.shape[1:]
    np.testing.assert_allclose(array(keras.Model(inputs, outputs)(tensor(X))), wanted, rtol=0, atol=1e-6)


def test_a_call_that_hands_all_on_gets_the_mask_that_keras_carries():
    class HandsOn(layers.TransformerEncoder):
        def call(self, inputs, **kwargs):
            return super().call(inputs, **kwargs)

    inputs = keras.Input((5,), dtype="int32")
    x = layers.TokenAndPositionEmbedding(9, 5, 8, mask_zero=True)(inputs)
    own, plain = HandsOn(16, 2), layers.TransformerEncoder(16, 2)
    model = keras.Model(inputs, [own(x), plain(x)])
    plain.set_weights(own.get_weights())
    found, wanted = map(array, model(tensor(IDS)))
    np.testing.assert_array_equal(found, wanted)
    assert abs(wanted[0, 3:] - array(plain(tensor(np.zeros((1, 5, 8), "float32"))))[0, 3:]).max() < 1e-6


def test_a_part_that_is_a_class_of_ones_own_stands_in_a_slot():
    block = layers.TransformerEncoder(16, attention=FewerArguments(2))
    inputs = keras.Input((5, 8))
    model = keras.Model(inputs, block(inputs))
    np.testing.assert_allclose(array(model(tensor(X))), array(block(tensor(X))), rtol=0, atol=1e-6)
