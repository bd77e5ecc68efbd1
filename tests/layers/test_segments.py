"""Packed documents: with `segment_ids` each document of a row gets what it gets alone, on every path."""

import functools

import keras
import numpy as np
import pytest

from keras_tx import layers
from keras_tx.ops.attention import dot_product, fused

from .contract_rows import stir
from .execution import array, gradients, quick, tensor

D, N = 8, 2
# The documents of two rows, of two lengths, for which JAX compiles; one row begins with padding, and counts as it likes.
SEGMENTS = np.array([[1, 1, 1, 2, 2, 3, 3, 0], [0, 4, 4, 4, 2, 2, 2, 0]], "int32")
B, T = SEGMENTS.shape
X = np.random.default_rng(8).normal(size=(B, T, D)).astype("float32")
IDS = np.random.default_rng(9).integers(0, 11, (B, T)).astype("int32")


def attention(causal=True, **settings):
    return layers.MultiHeadSelfAttention(N, causal=causal, bias_initializer="normal", **settings)


class Distance(keras.layers.Layer):
    """A bias of the distance between two positions, which must be those in the document."""

    num_heads = N

    def call(self, queries, keys):
        places = keras.ops.cast(queries[..., None] * 10 + keys[..., None, :], "float32") / 50
        return keras.ops.stack([places, -places], axis=-3)


LAYERS = {
    "causal": attention,
    "both ways": lambda: attention(False, num_key_value_heads=1),
    "rotary": lambda: attention(rotary=layers.RotaryEmbedding(100.0)),
    "window": lambda: attention(window=2),
    "window both ways": lambda: attention(False, window=2),
    "bias by distance": lambda: attention(position_bias=layers.AlibiBias(N), rotary=layers.RotaryEmbedding(100.0)),
    "position bias": lambda: attention(False, position_bias=Distance()),
    "decoder": lambda: layers.TransformerDecoder(16, N, normalize_first=True),
    "decoder of other attention": lambda: layers.TransformerDecoder(16, attention=attention(rotary=layers.RotaryEmbedding())),
    "decoder computed again": lambda: layers.TransformerDecoder(16, N, recompute=True),
    "encoder": lambda: layers.TransformerEncoder(16, N),
    "sinusoidal": layers.SinusoidalPositionEncoding,
    "learned": lambda: layers.LearnedPositionEncoding(5 + T),
    "embedding": lambda: layers.TokenAndPositionEmbedding(11, 5 + T, D),
}  # fmt: skip
IN_BLOCKS = "causal", "both ways", "bias by distance", "window", "window both ways", "position bias"


@pytest.fixture(params=[False, True], ids=["", "blocks"])
def blocks(request, monkeypatch):
    if request.param:
        monkeypatch.setattr(dot_product, "LONG", 1)
        monkeypatch.setattr(fused, "supports", lambda *args: False)
        small = functools.partial(dot_product.blockwise_attention, block=2)
        monkeypatch.setattr(dot_product, "blockwise_attention", small)
    return request.param


@pytest.mark.parametrize("name", LAYERS)
def test_each_document_gets_what_it_gets_alone(name, blocks):
    if blocks and name not in IN_BLOCKS:
        pytest.skip("its attention is tried by itself")
    layer, inputs = LAYERS[name](), IDS if name == "embedding" else X
    layer.build(inputs.shape)
    stir(layer)
    # Nothing that stands in padding counts, but an id is one.
    junk = inputs if name == "embedding" else np.where(SEGMENTS[..., None] > 0, X, np.nan).astype("float32")
    call = quick(lambda x, segments: layer(x, segment_ids=segments))
    found = array(call(tensor(junk), tensor(SEGMENTS)))
    for row, segments in enumerate(SEGMENTS):
        for segment in set(segments.tolist()) - {0}:
            alone = array(quick(layer)(tensor(inputs[row : row + 1, segments == segment])))[0]
            np.testing.assert_allclose(found[row, segments == segment], alone, atol=2e-6, err_msg=name)
        if isinstance(layer, layers.MultiHeadSelfAttention):
            assert np.all(found[row, segments == 0] == 0)


@pytest.mark.parametrize("name", ["causal", "window both ways", "encoder"])
def test_scores_are_zero_between_documents_and_a_mask_goes_beside(name):
    layer = LAYERS[name]()
    layer.build(X.shape)
    real = np.arange(T) != 5
    outputs, scores = layer(tensor(X), tensor(real[None]), segment_ids=tensor(SEGMENTS), return_attention_scores=True)
    plain = layer(tensor(X), tensor(real[None]), segment_ids=tensor(SEGMENTS))
    np.testing.assert_allclose(array(outputs), array(plain), atol=1e-6)
    seen = array(scores).max(axis=1) > 0
    same = (SEGMENTS[:, :, None] == SEGMENTS[:, None]) & (SEGMENTS[:, None] > 0) & real & real[:, None]
    assert np.all(~seen | same)
    assert np.all(seen[:, range(T), range(T)] == ((SEGMENTS > 0) & real))


def test_gradients_are_those_of_each_document_alone(blocks):
    """The weights' gradients of a row are the sums of those of its documents."""
    layer = LAYERS["decoder of other attention"]()
    layer.build(X.shape)
    row = SEGMENTS[:1]
    aim = np.where(row[..., None] > 0, X[:1], 0).astype("float32")

    def total(x, aim, segments=None):
        return keras.ops.sum(layer(x, segment_ids=segments) * aim)

    call = gradients(total, layer.trainable_variables)
    found = call(tensor(X[:1]), tensor(aim), tensor(row))
    parts = [call(tensor(X[:1, row[0] == k]), tensor(aim[:, row[0] == k])) for k in (1, 2, 3)]
    for each, *others in zip(found, *parts, strict=True):
        np.testing.assert_allclose(each, sum(others), atol=2e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_wrong_segments_are_refused(name):
    layer, inputs = LAYERS[name](), IDS if name == "embedding" else X
    layer.build(inputs.shape)
    for wrong, message in (
        (SEGMENTS[:, 1:], "shape"),
        (SEGMENTS + 0.5, "integers. Received: 1.5"),
        (SEGMENTS[0], "shape"),
    ):
        with pytest.raises(ValueError, match=f"`segment_ids` must h.*{message}"):
            layer(tensor(inputs), segment_ids=tensor(wrong))
    if hasattr(layer, "init_cache") and name != "position bias":
        with pytest.raises(ValueError, match="`segment_ids` must not be given beside a `cache`"):
            layer(tensor(inputs), cache=layer.init_cache(B, T), segment_ids=tensor(SEGMENTS))


def test_an_attention_without_the_argument_is_refused():
    keras_own = keras.layers.MultiHeadAttention(N, D // N)
    block = layers.TransformerDecoder(16, attention=keras_own)
    with pytest.raises(ValueError, match="`segment_ids` must be among the arguments of the attention's call"):
        block(tensor(X), segment_ids=tensor(SEGMENTS))
