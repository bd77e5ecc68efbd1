"""What stands in a decoder's slot looks ahead only where that was asked for."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers

from .execution import array, tensor
from .keras_attention import REAL, D, T, TakesPairs, X, multi_head

register = keras.saving.register_keras_serializable(package="test_causality")


@register
class Mixing(keras.layers.Layer):
    """A layer of a caller's own, of each position by itself, which says nothing."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(D)

    def call(self, inputs):
        return self.dense(inputs)


@register
class Shift(keras.layers.Layer):
    """What a position is given by the one before: causal, and it says so; it knows of no mask."""

    causal = True

    def call(self, inputs):
        return ops.pad(inputs, [(0, 0), (1, 0), (0, 0)])[:, :-1]


@pytest.mark.once
@pytest.mark.parametrize(
    "make",
    [layers.MultiHeadSelfAttention, Mixing, lambda heads: keras.layers.Conv1D(D, 3, padding="same")],
    ids=["attention", "own", "convolution"],
)
def test_a_causal_decoder_takes_nothing_that_may_look_ahead(make):
    attention = make(2) if make is not Mixing else Mixing()
    with pytest.raises(
        ValueError, match=f"`causal` must be .* causal=True and attention of class {type(attention).__name__}"
    ):
        layers.TransformerDecoder(16, attention=attention)
    inputs = keras.Input((None, D))
    model = keras.Model(inputs, layers.TransformerDecoder(16, attention=attention, causal=False)(inputs))
    other = np.where(np.arange(T)[:, None] >= 3, -X, X)
    outputs = [array(model(tensor(x)))[:, :3] for x in (X, other)]
    assert (make is Mixing) == np.array_equal(*outputs)
    assert keras.Model.from_config(model.get_config()).layers[-1].causal is False


@pytest.mark.once
def test_a_decoder_that_may_look_ahead_says_so_and_has_a_causal_layer_in_no_other():
    other = np.where(np.arange(T)[:, None] >= 3, -X, X)
    for causal in (True, False):
        for given in ({"num_heads": 2}, {"attention": multi_head()}, {"attention": TakesPairs()}):
            block = layers.TransformerDecoder(16, causal=causal, **given)
            outputs = [array(block(tensor(x)))[:, :3] for x in (X, other)]
            assert np.array_equal(*outputs) == causal
    config = layers.TransformerDecoder(16, attention=layers.MultiHeadSelfAttention(2), causal=False).get_config()
    del config["causal"]  # as before there was the argument
    assert layers.TransformerDecoder.from_config(config).causal is False
    layer = layers.TransformerDecoder(16, attention=Shift())
    layer(tensor(X))
    with pytest.raises(ValueError, match="`causal` must be .* causal=False and .* Shift, whose causal=True"):
        layers.TransformerDecoder(16, attention=Shift(), causal=False)
    with pytest.raises(ValueError, match="`attention` must have `mask` or .* Shift"):
        layer(tensor(X), mask=tensor(REAL))
