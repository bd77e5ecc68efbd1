"""Layers of one's own with a cache: what a prompt's padding is must reach them, or the model is refused."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.decoding import generate

from .conftest import shaken
from .drafters import Summed, model_with


class WithoutMask(Summed):
    def call(self, inputs, cache=None):
        return super().call(inputs, cache=cache)


class Heedless(Summed):
    def call(self, inputs, mask=None, cache=None):
        return super().call(inputs, cache=cache)


class Handing(layers.MultiHeadSelfAttention):
    def call(self, inputs, cache=None, **options):
        return super().call(inputs, cache=cache, **options)


@pytest.mark.parametrize("kind", [WithoutMask, Heedless])
def test_a_layer_that_reads_padding_is_refused(kind):
    with pytest.raises(
        ValueError,
        match=rf"step by step as at once.* its `mask` calls padding; of classes .*: 'own' \({kind.__name__}\)\.",
    ):
        generate(model_with(kind(name="own")), [[1, 2]], 2)


@pytest.mark.usefixtures("as_graphs")
def test_a_layer_that_hands_on_whatever_it_is_given_is_told_what_is_padding():
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), dtype="int32")
    x = Handing(2, causal=True)(layers.TokenAndPositionEmbedding(11, 64, 16)(ids))
    model = shaken(keras.Model(ids, keras.layers.Dense(11)(x)), scale=0.7)
    prompts = [[3, 4, 5, 6, 7], [2], [8, 9]]
    found = generate(model, prompts, 4)
    for prompt, row in zip(prompts, found, strict=True):
        ids = np.zeros((1, 16), "int32")
        ids[0, : len(prompt)] = prompt
        for place in range(len(prompt), len(prompt) + 4):
            logits = ops.convert_to_numpy(model(ids))[0, place - 1]
            ids[0, place] = logits.argmax()
        np.testing.assert_array_equal(row[: len(prompt) + 4], ids[0, : len(prompt) + 4])
