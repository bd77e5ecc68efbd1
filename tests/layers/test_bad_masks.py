"""Masks and biases that a layer cannot use: of another shape, additive, or no tensors at all; and sizes of 1, which it can."""

import re

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.layers import (
    MaskedMeanPooling,
    MultiHeadCrossAttention,
    MultiHeadSelfAttention,
    TransformerDecoder,
    TransformerEncoder,
)

from .eager_and_symbolic import WAYS
from .execution import SeenMask, array, arrays, tensor

BATCH, LENGTH, KEYS, WIDTH, HEADS = 2, 5, 4, 8, 2
SHAPE = (BATCH, LENGTH, WIDTH)
ATTENDING = {
    MultiHeadSelfAttention: lambda: MultiHeadSelfAttention(HEADS),
    TransformerDecoder: lambda: TransformerDecoder(16, HEADS),
    TransformerEncoder: lambda: TransformerEncoder(16, HEADS),
}
attending = pytest.mark.parametrize("layer", ATTENDING, ids=lambda layer: layer.__name__)


@attending
@pytest.mark.parametrize("argument", ["mask", "attention_mask"])
@pytest.mark.parametrize("value", [[[True] * LENGTH] * BATCH, "mask", 1, True], ids=["list", "text", "int", "bool"])
def test_masks_that_are_no_tensor_are_refused(layer, argument, value):
    with pytest.raises(ValueError, match=f"`{argument}` must be a tensor. Received: {argument} of type"):
        ATTENDING[layer]()(ops.zeros(SHAPE), **{argument: value})


@WAYS
@attending
@pytest.mark.parametrize(
    ("argument", "shape"),
    [
        ("mask", (2, 4)),
        ("mask", (3, 5)),
        ("mask", (5,)),
        ("mask", (2, 5, 8)),
        ("mask", (2, 3, 5, 5)),
        ("attention_mask", (5, 4)),
        ("attention_mask", (3, 5, 5)),
        ("attention_mask", (2, 3, 5, 5)),
        ("attention_mask", (5,)),
        ("attention_mask", (2, 5)),
    ],
)
def test_masks_of_another_shape_are_refused(layer, make, argument, shape):
    said = rf"`{argument}` must have shape .* Received: {argument} of shape {re.escape(str(shape))}"
    with pytest.raises(ValueError, match=said):
        ATTENDING[layer]()(make(SHAPE), **{argument: make(shape, dtype="bool")})


@WAYS
@pytest.mark.parametrize(
    ("argument", "shape"),
    [
        ("mask", (2, 4)),
        ("mask", (3, 5)),
        ("context_mask", (2, 5)),
        ("context_mask", (3, 4)),
        ("context_mask", (2, 5, 4)),
        ("attention_mask", (5, 5)),
        ("attention_mask", (2, 3, 5, 4)),
    ],
)
@pytest.mark.parametrize("layer", [MultiHeadCrossAttention, TransformerDecoder])
def test_masks_of_another_shape_are_refused_where_there_is_a_context(layer, make, argument, shape):
    if layer is TransformerDecoder and argument == "attention_mask":
        shape = (5, 4)
    layer = MultiHeadCrossAttention(HEADS) if layer is MultiHeadCrossAttention else TransformerDecoder(16, HEADS)
    said = rf"`{argument}` must have shape .* Received: {argument} of shape {re.escape(str(shape))}"
    with pytest.raises(ValueError, match=said):
        layer(make(SHAPE), make((BATCH, KEYS, 6)), **{argument: make(shape, dtype="bool")})


def additive(shape):
    return ops.full(shape, -1e9)


@attending
@pytest.mark.parametrize(("argument", "shape"), [("mask", (2, 5)), ("mask", (2, 5, 5)), ("attention_mask", (5, 5))])
def test_additive_masks_are_refused(layer, argument, shape):
    said = f"`{argument}` must be boolean.* go to `attention_bias`. Received: {argument} of dtype float32"
    with pytest.raises(ValueError, match=said):
        ATTENDING[layer]()(ops.zeros(SHAPE), **{argument: additive(shape)})


def test_additive_masks_are_refused_in_cross_attention_and_pooling():
    for argument, shape in [("mask", (2, 5)), ("context_mask", (2, 4)), ("attention_mask", (5, 4))]:
        for layer in (MultiHeadCrossAttention(HEADS), TransformerDecoder(16, HEADS)):
            if argument == "attention_mask" and isinstance(layer, TransformerDecoder):
                continue
            with pytest.raises(
                ValueError, match=f"`{argument}` must be boolean.* Received: {argument} of dtype float32"
            ):
                layer(ops.zeros(SHAPE), ops.zeros((2, 4, 6)), **{argument: additive(shape)})
    with pytest.raises(ValueError, match="`mask` must be boolean.* Received: mask of dtype float32"):
        MaskedMeanPooling()(ops.zeros(SHAPE), mask=additive((2, 5)))


@WAYS
def test_a_mask_of_another_shape_is_refused_in_pooling(make):
    with pytest.raises(ValueError, match=r"`mask` must have shape \(2, 5\). Received: mask of shape \(2, 4\)"):
        MaskedMeanPooling()(make(SHAPE), mask=make((2, 4), dtype="bool"))


@WAYS
@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 5, 5), (2, 3, 5, 5)])
def test_a_bias_of_another_shape_is_refused(make, shape):
    with pytest.raises(ValueError, match=r"`attention_bias` must have shape .* Received: attention_bias of shape \("):
        MultiHeadSelfAttention(HEADS)(make(SHAPE), attention_bias=make(shape))
    with pytest.raises(ValueError, match=r"`attention_bias` must have shape .* Received: attention_bias of shape \("):
        MultiHeadCrossAttention(HEADS)(make(SHAPE), make((2, 4, 6)), attention_bias=make(shape))


@WAYS
@pytest.mark.parametrize("dtype", ["bool", "int32"])
def test_a_bias_that_is_no_float_is_refused(make, dtype):
    with pytest.raises(
        ValueError, match=f"`attention_bias` must be a float tensor. Received: attention_bias of dtype {dtype}"
    ):
        MultiHeadSelfAttention(HEADS)(make(SHAPE), attention_bias=make((5, 5), dtype=dtype))
    with pytest.raises(
        ValueError, match=f"`attention_bias` must be a float tensor. Received: attention_bias of dtype {dtype}"
    ):
        MultiHeadCrossAttention(HEADS)(make(SHAPE), make((2, 4, 6)), attention_bias=make((5, 4), dtype=dtype))


MAP = np.random.default_rng(2).normal(size=(2, 4, 6, 3)).astype("float32")
READERS = {
    "windows": lambda: layers.WindowAttention(1, 2, shift_size=1),
    "patches": lambda: layers.PatchEmbedding(2, 4),
    "stem": lambda: layers.PatchEmbedding(2, 4, stem=layers.ConvolutionalStem((4,))),
    "merging": layers.PatchMerging,
    "tokens": layers.ClassToken,
    "pooling": layers.MaskedMeanPooling,
    "block": lambda: layers.TransformerEncoder(4, attention=layers.WindowAttention(1, 2)),
}


@pytest.mark.parametrize("name", READERS)
def test_a_size_of_1_in_a_mask_stands_for_any_size(name):
    layer, seen = READERS[name](), SeenMask()
    images, masks = keras.Input((None, None, 3)), keras.Input((None, None), dtype="bool")
    model = keras.Model([images, masks], seen(layer(images, mask=masks)))
    runs = [model, *([tf_function(model)] if keras.backend.backend() == "tensorflow" else [])]
    for shape in ((2, 1, 6), (1, 4, 6), (2, 1, 1)):
        mask = np.random.default_rng(3).random(shape) < 0.6
        whole = np.broadcast_to(mask, MAP.shape[:-1]).copy()
        found, wanted = layer(MAP, mask=tensor(mask)), layer(MAP, mask=tensor(whole))
        np.testing.assert_array_equal(array(found), array(wanted), err_msg=str(shape))
        if name not in ("pooling", "windows", "block"):  # the last two leave it to Keras, which hands on what came
            np.testing.assert_array_equal(array(found._keras_mask), array(wanted._keras_mask), err_msg=str(shape))
        for run in runs:
            outputs = array(run([tensor(MAP), tensor(mask)]))
            np.testing.assert_allclose(outputs, array(wanted), atol=1e-6, err_msg=str(shape))


def tf_function(model):
    """The model in a graph in which no size but that of the channels is known."""
    import tensorflow as tf

    signature = [tf.TensorSpec((None, None, None, 3)), tf.TensorSpec((None, None, None), tf.bool)]
    return tf.function(model, input_signature=[signature])


def test_a_size_of_1_in_a_mask_of_a_sequence_stands_for_any_length():
    x, mask = MAP[:, 0], np.array([[True], [False]])
    whole = tensor(np.repeat(mask, 6, axis=1))
    for layer in (
        layers.MaskedMeanPooling(skip=1),
        layers.SinusoidalPositionEncoding(),
        layers.MultiHeadSelfAttention(1),
    ):
        layer(x)
        cached = {"cache": ops.zeros((2,), "int32")} if isinstance(layer, layers.SinusoidalPositionEncoding) else {}
        found, wanted = (arrays(layer(tensor(x), mask=each, **cached)) for each in (tensor(mask), whole))
        keras.tree.map_structure(np.testing.assert_array_equal, found, wanted)
