"""What mixes positions in the place of attention: the numbers, what padding does, and who refuses it."""

import keras
import numpy as np
import pytest

from keras_tx import analysis, decoding, layers

from .execution import array, quick, tensor

X = np.random.default_rng(0).normal(size=(2, 3, 5, 8)).astype("float32")
MASK = np.arange(5) < np.array([[5, 3, 1], [4, 2, 0]])[..., None]


def test_a_fourier_transform_is_that_of_numpy():
    layer = layers.FourierMixing()
    found = array(quick(layer)(tensor(X)))
    np.testing.assert_allclose(found, np.fft.fft2(X.astype("float64")).real, atol=1e-5)
    filled = np.where(MASK[..., None], X, np.nan).astype("float32")
    found = array(quick(lambda x, mask: layer(x, mask=mask))(tensor(filled), tensor(MASK)))
    expected = np.fft.fft2(np.where(MASK[..., None], X, 0)).real * MASK[..., None]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_half_floats_are_transformed_in_float32():
    found = layers.FourierMixing(dtype="bfloat16")(X)
    assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
    found = array(keras.ops.cast(found, "float32"))
    np.testing.assert_allclose(found, np.fft.fft2(X).real, rtol=0.02, atol=0.3)


def test_tokens_are_mixed_by_one_network_for_each_channel():
    layer = layers.TokenMixing(7, "relu", kernel_initializer="he_normal", bias_initializer="he_normal")
    found = array(layer(X, mask=MASK))
    w, b, v, c = (array(weight) for weight in layer.weights[:4])
    masked = np.where(MASK[..., None], X, 0).swapaxes(-1, -2)
    expected = (np.maximum(masked @ w + b, 0) @ v + c).swapaxes(-1, -2) * MASK[..., None]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.once
def test_another_number_of_positions_is_refused():
    layer = layers.TokenMixing(7)
    with pytest.raises(ValueError, match=r"`inputs` must have a known number of positions.*\(None, None, 8\)"):
        layer(keras.Input((None, 8)))
    with pytest.raises(ValueError, match=r"at least 1, for which the layer has weights.*\(2, 0, 8\)"):
        layers.TokenMixing(7)(X[:, 0, :0])
    layer = layers.TokenMixing(7)
    layer(X)
    with pytest.raises(ValueError, match=r"the 5 positions for which.*\(2, 3, 4, 8\)"):
        layer(X[:, :, :4])


@pytest.mark.once
@pytest.mark.parametrize(
    "make", [layers.FourierMixing, lambda **kw: layers.TokenMixing(7, **kw)], ids=["fourier", "tokens"]
)
def test_what_needs_weights_of_attention_or_steps_refuses_it_by_name(make):
    ids = keras.Input((6,), dtype="int32")
    x = layers.TokenAndPositionEmbedding(9, 6, 8)(ids)
    x = layers.TransformerEncoder(16, attention=make(name="mixing"), name="block")(x)
    model = keras.Model(ids, keras.layers.Dense(9)(x))
    numbers = np.ones((1, 6), "int32")
    for walk in (analysis.attention_maps, analysis.attention_rollout, analysis.attention_patterns):
        with pytest.raises(
            ValueError, match="must have a layer that attends.* Without weights are block of class .*Mixing"
        ):
            walk(model, numbers)
    with pytest.raises(
        ValueError, match="must have a cache in every layer that mixes positions|must have layers with a cache"
    ):
        decoding.generate(model, [[1, 2]], 1)
    with pytest.raises(
        ValueError, match="`causal` must be what the layer .* causal=True and .*Mixing, which does not say"
    ):
        layers.TransformerDecoder(16, attention=make())
    ids = keras.Input((6,), dtype="int32")
    x = layers.TokenAndPositionEmbedding(9, 6, 8)(ids)
    x = layers.TransformerDecoder(16, attention=make(name="mixing"), causal=False, name="block")(x)
    with pytest.raises(ValueError, match=r"must have a cache \(`init_cache`.*(FourierMixing|TokenMixing) in block"):
        decoding.generate(keras.Model(ids, keras.layers.Dense(9)(x)), [[1, 2]], 1)


@pytest.mark.once
def test_blocks_that_attend_are_shown_beside_those_that_mix():
    inputs = keras.Input((5, 8))
    first, mixed, last = (
        layers.TransformerEncoder(16, 2, name="first"),
        layers.TransformerEncoder(16, attention=layers.FourierMixing(), name="mixed"),
        layers.TransformerEncoder(16, 2, name="last"),
    )
    model = keras.Model(inputs, last(mixed(first(inputs))))
    x = X[:, 0]
    maps, outputs = analysis.attention_maps(model, x, return_outputs=True)
    assert list(maps) == ["first", "last"]
    np.testing.assert_array_equal(maps["last"], array(last(mixed(first(x)), return_attention_scores=True)[1]))
    np.testing.assert_array_equal(array(outputs), array(model(x)))
    assert list(analysis.attention_patterns(model, x, effects="all").labels) == ["first", "last"]
    assert list(analysis.token_distances(model, x)) == ["first", "last"]
    assert list(analysis.similarity(model, x).tokens)[-3:] == ["first", "mixed", "last"]
    with pytest.raises(ValueError, match="mix positions by attention alone.* mixed of class .* with a FourierMixing"):
        analysis.attention_rollout(model, x)
    with pytest.raises(ValueError, match="`heads` must name layers that attend, of first, last"):
        analysis.ablate_heads(model, {"mixed": [0]}, x)
    alone = keras.Model(
        inputs, mixed(first(inputs))
    )  # what is mixed after the last attention has no part in its weights
    mean = maps["first"].mean(axis=1) / 2 + np.eye(5) / 2
    np.testing.assert_allclose(analysis.attention_rollout(alone, x), mean, atol=1e-6)
    between = keras.Model(inputs, last(layers.FourierMixing(name="mixing")(first(inputs))))
    with pytest.raises(ValueError, match="Received: .* with mixing of class FourierMixing after first and before last"):
        analysis.attention_rollout(between, x)


@pytest.mark.once
def test_the_attention_of_a_decoder_that_attends_is_shown_alone():
    inputs, context = keras.Input((5, 8)), keras.Input((3, 8))
    convolution = keras.layers.Conv1D(8, 2, padding="causal")
    block = layers.TransformerDecoder(16, 2, attention=convolution, name="block")
    model = keras.Model([inputs, context], block(inputs, context))
    given = [X[:, 0], X[:, 1, :3]]
    maps = analysis.attention_maps(model, given)
    own, cross = block(*given, return_attention_scores=True)[1]
    assert own is None
    np.testing.assert_array_equal(maps["block/cross_attention"], array(cross))
    assert (
        list(maps)
        == list(analysis.attention_patterns(model, given, effects="all").effects)
        == ["block/cross_attention"]
    )
