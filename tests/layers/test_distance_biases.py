"""Biases by distance: their numbers, what attention makes of them, and how a model shares and decodes with them."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import decoding, layers
from keras_tx.ops import positions
from keras_tx.ops.attention import dot_product, fused

from .contract_rows import reloaded, stir
from .execution import array, quick, tensor

B, T, D, N, RADIUS = 2, 7, 8, 2, 3
RANDOM = np.random.default_rng(4)
X = RANDOM.normal(size=(B, T, D)).astype("float32")
BIAS = RANDOM.normal(size=(2 * RADIUS + 1, N)).astype("float32")
# Two documents in the first row, three in the second, and those that are a row later.
WHERE = np.array([[0, 1, 2, 3, 0, 1, 2], [0, 0, 1, 2, 3, 4, 5]], "int32")
REAL = np.array([[1] * T, [0, 0, 1, 1, 1, 1, 1]], bool)


@pytest.mark.once
@pytest.mark.parametrize(
    ("heads", "slopes"),
    [
        (1, [2**-8]),
        (2, [2**-4, 2**-8]),
        (8, [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]),  # Press et al. 2022, section 3
        (3, [2**-4, 2**-8, 2**-2]),
        (12, [*(2.0**-n for n in range(1, 9)), *(2.0 ** (-n / 2) for n in (1, 3, 5, 7))]),
    ],
)
def test_slopes_are_the_published_ones(heads, slopes):
    np.testing.assert_allclose(layers.AlibiBias(heads).slopes, slopes, rtol=1e-6)


@pytest.mark.once
def test_a_bias_of_no_positions_is_refused_in_their_slot():
    with pytest.raises(
        ValueError, match="`position_bias` must hold a layer called as.*RelativePositionBias.*`distance_bias`"
    ):
        layers.MultiHeadSelfAttention(2, position_bias=layers.RelativePositionBias(2))


@pytest.mark.once
@pytest.mark.parametrize("heads", [1, 5, 6, 16, 71, 112])
def test_slopes_are_those_of_bloom(heads):
    torch = pytest.importorskip("torch")
    bloom = pytest.importorskip("transformers.models.bloom.modeling_bloom")
    found = bloom.build_alibi_tensor(torch.ones(1, 2), heads, torch.float32)[:, 0, 1]  # of the distance 1
    np.testing.assert_allclose(layers.AlibiBias(heads).slopes, found.numpy(), rtol=1e-5)


@pytest.mark.once
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "farthest"), [(32, 128), (8, 20), (64, 300), (16, 1000), (4, 3)])
def test_buckets_are_those_of_t5(buckets, farthest, bidirectional):
    torch = pytest.importorskip("torch")
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    distance = np.arange(-farthest, farthest + 1)
    arguments = {"bidirectional": bidirectional, "num_buckets": buckets, "max_distance": farthest}
    wanted = t5.T5Attention._relative_position_bucket(torch.tensor(distance), **arguments)
    np.testing.assert_array_equal(positions.distance_buckets(buckets, farthest, bidirectional), wanted.numpy())
    ends = t5.T5Attention._relative_position_bucket(torch.tensor([-10 * farthest, 10 * farthest]), **arguments)
    np.testing.assert_array_equal(wanted.numpy()[[0, -1]], ends.numpy())


def pairs_of(places):
    """The biases of all pairs (B or 1, N, T, T) of positions, by numpy, and those of AlibiBias."""
    distance = (places[:, None, :] - places[:, :, None])[:, None]
    learned = np.moveaxis(BIAS[np.clip(distance[:, 0], -RADIUS, RADIUS) + RADIUS], -1, 1)
    return learned, -np.abs(distance) * layers.AlibiBias(N).slopes[:, None, None]


def built(**settings):
    layer = layers.MultiHeadSelfAttention(N, **settings)
    layer.build((B, T, D))
    stir(layer)
    return layer


@pytest.mark.parametrize("long", [False, True], ids=["", "long"])
@pytest.mark.parametrize("given", [None, WHERE], ids=["", "positions"])
@pytest.mark.parametrize("kinds", ["learned", "alibi", "learned alibi whole"])
@pytest.mark.parametrize("window", [None, 3])
def test_attention_adds_the_bias_of_each_distance(kinds, given, long, window, monkeypatch):
    if long:
        small = functools.partial(dot_product.blockwise_attention, block=4)
        monkeypatch.setattr(dot_product, "LONG", 1)
        monkeypatch.setattr(dot_product, "blockwise_attention", small)
        monkeypatch.setattr(fused, "supports", lambda *args: False)
    alibi = layers.AlibiBias(N) if "alibi" in kinds else None
    layer, plain = built(causal=True, position_bias=alibi, window=window), built(causal=True, window=window)
    plain.set_weights(layer.get_weights())
    learned, slopes = pairs_of(np.arange(T)[None] if given is None else given)
    how, total = {"mask": tensor(REAL)}, np.zeros((1, 1, T, T), "float32")
    if "learned" in kinds:
        how["distance_bias"], total = tensor(BIAS), total + learned
    if "alibi" in kinds:
        total = total + slopes
    if "whole" in kinds:
        extra = RANDOM.normal(size=(1, N, T, T)).astype("float32")
        how["attention_bias"], total = tensor(extra), total + extra
    if given is not None:
        how["positions"] = tensor(given)
    wanted = plain(tensor(X), mask=tensor(REAL), attention_bias=tensor(total.astype("float32")))
    junk = np.where(REAL[..., None], X, np.nan).astype("float32")
    np.testing.assert_allclose(array(layer(tensor(junk), **how)), array(wanted), atol=1e-5)


@pytest.mark.parametrize("block", [layers.TransformerEncoder, layers.TransformerDecoder])
def test_blocks_hand_the_bias_to_their_attention_and_give_it_a_gradient(block):
    for recompute in (False, True):
        bias, x = keras.Input(batch_shape=BIAS.shape), keras.Input((None, D))
        layer = block(16, N, normalize_first=True, recompute=recompute)
        model = keras.Model([x, bias], layer(x, distance_bias=bias))
        stir(model)
        whole = np.broadcast_to(pairs_of(np.arange(T)[None])[0], (B, N, T, T)).astype("float32")
        wanted = layer(tensor(X), attention_bias=tensor(whole))
        np.testing.assert_allclose(array(model([X, BIAS])), array(wanted), atol=1e-5)


def shared_model(num_layers=2):
    ids = keras.Input((None,), dtype="int32")
    table = layers.TokenAndPositionEmbedding(20, None, D, mask_zero=True)
    x = table(ids)
    settings = {"bidirectional": False, "bias_initializer": "normal"}
    bias = layers.RelativePositionBias(N, 6, 5, name="bias", **settings)(x)
    for index in range(num_layers):
        attention = layers.MultiHeadSelfAttention(N, causal=True, position_bias=layers.AlibiBias(N))
        x = layers.TransformerDecoder(
            16, attention=attention, normalize_first=True, recompute=index == 0, name=f"block_{index}"
        )(x, distance_bias=bias)
    model = keras.Model(ids, layers.TiedLogits(table)(x))
    stir(model)
    return model


def test_blocks_share_one_table_in_copies_too_and_train_it(tmp_path):
    model, ids = shared_model(), RANDOM.integers(1, 20, (3, 12)).astype("int32")
    wanted = array(quick(model)(tensor(ids)))
    for copy in (reloaded(model, tmp_path), keras.models.clone_model(model)):
        assert [weight.path for weight in copy.weights] == [weight.path for weight in model.weights]
        copy.set_weights(model.get_weights())
        np.testing.assert_array_equal(array(quick(copy)(tensor(ids))), wanted)
        assert [layer.name for layer in copy.layers].count("bias") == 1
    before = array(model.get_layer("bias").bias_table)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1.0), loss)
    model.train_on_batch(ids, np.roll(ids, -1, axis=1))
    moved = np.abs(array(model.get_layer("bias").bias_table) - before)
    assert np.all(moved.max(axis=1) > 0)  # every bucket is that of some pair that meets


def test_tokens_decoded_with_a_cache_are_those_of_the_whole_model():
    model, prompts = shared_model(), [[3, 4, 5, 6, 7, 8, 9], [11]]  # the shorter one is padded
    tokens = np.asarray(decoding.generate(model, prompts, max_new_tokens=6))
    for row, prompt in zip(tokens, prompts, strict=True):
        known = row[: len(prompt) + 6]
        np.testing.assert_array_equal(known[: len(prompt)], prompt)
        best = np.argmax(array(quick(model)(tensor(known[None, :-1]))), axis=-1)[0, len(prompt) - 1 :]
        # After a 0, which is padding, the whole model counts positions otherwise than the steps.
        count = np.flatnonzero([*best, 0] == np.array(0))[0] + 1
        np.testing.assert_array_equal(known[len(prompt) :][:count], best[:count])


def test_what_is_no_bias_by_distance_is_refused():
    layer = built()
    for bias, message in (
        (np.zeros((4, N), "float32"), "odd number of rows"),
        (np.zeros((5, N + 1), "float32"), r"`distance_bias` must have shape \(any, 2\)"),
        (np.zeros((5, 1), "float32"), "a column a head"),
        (np.zeros((5, N), "int32"), "must be a float tensor"),
        (np.zeros((1, N, 5), "float32"), r"`distance_bias` must have shape \(any, 2\)"),
    ):
        for make in (tensor, lambda value: keras.KerasTensor(value.shape, value.dtype.name)):
            with pytest.raises(ValueError, match=message):
                layer(make(X), distance_bias=make(bias))
    for attention, context in ((keras.layers.Dense(D), None), (layers.MultiHeadCrossAttention(N), tensor(X))):
        block = layers.TransformerEncoder(16, attention=attention)
        with pytest.raises(ValueError, match="`distance_bias` must be among the arguments of the attention's call"):
            block(tensor(X), context=context, distance_bias=tensor(BIAS))
    for settings, message in (
        ({"num_buckets": 7}, "`num_buckets` must be even and at least 4"),
        ({"num_buckets": 2}, "`num_buckets` must be even and at least 4"),
        ({"num_buckets": 1, "bidirectional": False}, "`num_buckets` must be at least 2"),
        ({"max_distance": 8}, "`max_distance` must be more than the 8 distances"),
        ({"max_distance": 16, "bidirectional": False}, "`max_distance` must be more than the 16 distances"),
    ):
        with pytest.raises(ValueError, match=message):
            layers.RelativePositionBias(N, **settings)
    with pytest.raises(ValueError, match="`inputs` must be a tensor"):
        layers.RelativePositionBias(N)(None)
    with pytest.raises(ValueError, match="`query_positions` must hold integer positions"):
        layers.AlibiBias(N)(tensor(X[0, :, 0]), tensor(np.arange(T)))
    with pytest.raises(ValueError, match="`key_positions` must have 1 or 2 axes"):
        layers.AlibiBias(N)(tensor(np.arange(T)), ops.zeros((1, 1, T), "int32"))
