"""Attention of Keras' own in the slots of a block: it gives what ours gives, under every mask."""

import keras
import numpy as np
import pytest

from keras_tx import layers

from .contract_rows import reloaded, stir
from .execution import BACKEND, array, tensor
from .keras_attention import (
    CONTEXT,
    PAIRS,
    RANDOM,
    REAL,
    REAL_CONTEXT,
    B,
    D,
    N,
    S,
    T,
    X,
    assert_like,
    grouped,
    multi_head,
)


def like_keras(own, theirs):
    """Gives our attention the weights of Keras' own."""
    keys = own.num_key_value_heads or N
    kernels = [(D, N, D // N), (N, D // N)] + [(D, keys, D // N), (keys, D // N)] * 2 + [(N, D // N, D), (D,)]
    own.set_weights([np.reshape(each, shape) for each, shape in zip(theirs.get_weights(), kernels, strict=True)])


@pytest.fixture(params=[(multi_head, None), (grouped, 1)], ids=["multi-head", "grouped"])
def pair(request):
    """A block with Keras' attention in its slots, and one with ours of the same weights: `make(block, context)`."""
    make_theirs, keys = request.param

    def make(block, *context, **kwargs):
        theirs, own = {"attention": make_theirs()}, {}
        own["attention"] = layers.MultiHeadSelfAttention(N, None, keys, causal=block is layers.TransformerDecoder)
        if context:
            theirs["cross_attention"] = make_theirs()
            own["cross_attention"] = layers.MultiHeadCrossAttention(N, None, keys)
        blocks = [block(16, **slots, **kwargs) for slots in (theirs, own)]
        for each in blocks:
            each(tensor(X), *map(tensor, context))
        stir(blocks[0])
        for name in theirs:
            like_keras(getattr(blocks[1], name), getattr(blocks[0], name))
        for name in ("feed_forward", *(f"{each}_norm" for each in (*theirs, "feed_forward"))):
            getattr(blocks[1], name).set_weights(getattr(blocks[0], name).get_weights())
        return blocks

    return make


def with_junk(values, real):
    return np.where(real[..., None], values, np.float32("nan"))


@pytest.mark.parametrize("block", [layers.TransformerEncoder, layers.TransformerDecoder])
def test_attention_of_keras_gives_what_ours_gives(block, pair):
    theirs, own = pair(block, normalize_first=True)
    x = tensor(X)
    for masks in (
        {},
        {"mask": tensor(REAL)},
        {"attention_mask": tensor(PAIRS[0, 0])},
        {"attention_mask": tensor(PAIRS[:, 0]), "mask": tensor(REAL)},
    ):
        assert_like(theirs(x, **masks), own(x, **masks))
        outputs, scores = theirs(x, return_attention_scores=True, **masks)
        expected, weights = own(x, return_attention_scores=True, **masks)
        assert_like(outputs, expected)
        real = REAL[:, None, :, None] if "mask" in masks else True
        assert_like(np.where(real, array(scores), 0), np.where(real, array(weights), 0))
    junk = theirs(tensor(with_junk(X, REAL)), mask=tensor(REAL))
    assert_like(array(junk)[REAL], array(own(x, mask=tensor(REAL)))[REAL])


def test_cross_attention_of_keras_gives_what_ours_gives(pair):
    theirs, own = pair(layers.TransformerDecoder, CONTEXT)
    x, context, real = tensor(X), tensor(with_junk(CONTEXT, REAL_CONTEXT)), tensor(REAL_CONTEXT)
    pairs = tensor(RANDOM.random((B, T, S)) < 0.6)
    for masks in ({}, {"context_attention_mask": pairs, "mask": tensor(REAL)}):
        assert_like(
            array(theirs(x, context, context_mask=real, **masks))[REAL],
            array(own(x, context, context_mask=real, **masks))[REAL],
        )


def test_axes_before_the_positions_are_batch_for_attention_of_keras_too(pair):
    theirs, own = pair(layers.TransformerEncoder)
    x, mask = (np.stack([each, each[::-1]], 1) for each in (X, REAL))
    outputs, scores = theirs(tensor(x), mask=tensor(mask), return_attention_scores=True)
    expected, weights = own(tensor(x), mask=tensor(mask), return_attention_scores=True)
    assert_like(array(outputs)[mask], array(expected)[mask])
    assert scores.shape == weights.shape


@pytest.mark.parametrize("block", [layers.TransformerEncoder, layers.TransformerDecoder])
def test_a_model_with_attention_of_keras_trains_and_comes_back(block, tmp_path):
    inputs, context = keras.Input((None, D)), keras.Input((None, D))
    slots = {"attention": multi_head(dropout=0.1)}
    tensors = [inputs]
    if block is layers.TransformerDecoder:
        slots["cross_attention"] = grouped()
        tensors.append(context)
    model = keras.Model(tensors, block(16, **slots, name="block")(*tensors))
    model.get_layer("block").attention.query_dense.trainable = False
    model.compile("sgd", "mse", run_eagerly=BACKEND == "tensorflow")
    values = [X, CONTEXT][: len(tensors)]
    before = [array(weight) for weight in model.weights]
    model.fit(values, X, epochs=1, verbose=0)
    moved = [not np.array_equal(array(weight), old) for weight, old in zip(model.weights, before, strict=True)]
    key_bias = [weight.path.endswith("key/bias") or not weight.trainable for weight in model.weights]
    assert all(moved[i] or key_bias[i] for i in range(len(moved)))
    assert not any(moved[i] for i, weight in enumerate(model.weights) if not weight.trainable)
    model.save_weights(tmp_path / "model.weights.h5")
    clone = keras.models.clone_model(model)
    clone.load_weights(tmp_path / "model.weights.h5")
    for copy in (clone, reloaded(model, tmp_path)):
        assert [(each.path, each.trainable) for each in copy.weights] == [
            (each.path, each.trainable) for each in model.weights
        ]
        np.testing.assert_allclose(array(copy(values)), array(model(values)), rtol=1e-5, atol=1e-6)
