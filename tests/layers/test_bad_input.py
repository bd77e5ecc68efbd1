"""Inputs that a layer cannot use: refused in eager calls and while a graph is built, by name and with what came."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.layers import (
    ClassToken,
    Dropout,
    DropPath,
    FeedForward,
    GatherPositions,
    GridPositionEncoding,
    LearnedPositionEncoding,
    MaskedMeanPooling,
    MultiHeadCrossAttention,
    MultiHeadSelfAttention,
    PatchEmbedding,
    PatchMerging,
    RotaryEmbedding,
    SegmentEmbedding,
    SinusoidalPositionEncoding,
    SpanBoundary,
    TiedLogits,
    TokenAndPositionEmbedding,
    TransformerDecoder,
    TransformerEncoder,
    WindowAttention,
    WindowPositionBias,
)

from .eager_and_symbolic import WAYS
from .execution import array

BATCH, LENGTH, KEYS, WIDTH, HEADS = 2, 5, 4, 8, 2
SHAPE = (BATCH, LENGTH, WIDTH)


def embedding():
    return TokenAndPositionEmbedding(11, 6, WIDTH)


# A way to make each layer that takes floats, whether it insists on three axes at least, and on the width it was built for.
FLOAT_LAYERS = {
    Dropout: (lambda: Dropout(0.5), False, False),
    DropPath: (lambda: DropPath(0.5), False, False),
    FeedForward: (lambda: FeedForward(16), False, True),
    layers.FourierMixing: (layers.FourierMixing, True, True),
    layers.FrozenBatchNormalization: (layers.FrozenBatchNormalization, False, True),
    layers.LearnedQueries: (lambda: layers.LearnedQueries(3), False, True),
    layers.LayerScale: (layers.LayerScale, False, True),
    layers.RMSNormalization: (layers.RMSNormalization, False, True),
    LearnedPositionEncoding: (lambda: LearnedPositionEncoding(6), True, True),
    MaskedMeanPooling: (MaskedMeanPooling, False, False),
    MultiHeadSelfAttention: (lambda: MultiHeadSelfAttention(HEADS), True, True),
    SinusoidalPositionEncoding: (SinusoidalPositionEncoding, True, True),
    TiedLogits: (lambda: TiedLogits(embedding()), False, True),
    layers.TokenMixing: (lambda: layers.TokenMixing(8), True, True),
    TransformerDecoder: (lambda: TransformerDecoder(16, HEADS), True, True),
    TransformerEncoder: (lambda: TransformerEncoder(16, HEADS), True, True),
}
ATTENDING = {
    MultiHeadSelfAttention: lambda: MultiHeadSelfAttention(HEADS),
    TransformerDecoder: lambda: TransformerDecoder(16, HEADS),
    TransformerEncoder: lambda: TransformerEncoder(16, HEADS),
}


def over(choice):
    chosen = [layer for layer, row in FLOAT_LAYERS.items() if choice(row)]
    return pytest.mark.parametrize("layer", chosen, ids=lambda layer: layer.__name__)


every_layer = over(lambda row: True)
attending = pytest.mark.parametrize("layer", ATTENDING, ids=lambda layer: layer.__name__)


def built(layer):
    layer = FLOAT_LAYERS[layer][0]()
    layer(ops.zeros(SHAPE))
    return layer


def test_every_layer_is_tested():
    elsewhere = {MultiHeadCrossAttention, RotaryEmbedding, TokenAndPositionEmbedding}
    elsewhere |= {GatherPositions, SegmentEmbedding, SpanBoundary}  # test_bad_positions.py
    # test_vision_layers.py and test_window_attention.py:
    elsewhere |= {ClassToken, GridPositionEncoding, PatchEmbedding, PatchMerging, WindowAttention, WindowPositionBias}
    elsewhere |= {layers.ConvolutionalStem}  # test_convolutional_stem.py
    elsewhere |= {layers.MapToSequence, layers.PixelMask, layers.SinusoidalGridPositions}  # test_map_layers.py
    elsewhere |= {layers.CopyLogits}  # test_copy_logits.py
    elsewhere |= {layers.RegionEmbedding}  # test_region_embedding.py
    elsewhere |= {layers.AlibiBias, layers.RelativePositionBias}  # test_distance_biases.py
    assert {layer.__name__ for layer in elsewhere | FLOAT_LAYERS.keys()} == set(layers.__all__)


@WAYS
@every_layer
@pytest.mark.parametrize("dtype", ["int32", "bool"])
def test_inputs_that_are_no_floats_are_refused(layer, make, dtype):
    with pytest.raises(ValueError, match=f"`inputs` must be a float tensor. Received: inputs of dtype {dtype}"):
        FLOAT_LAYERS[layer][0]()(make(SHAPE, dtype=dtype))
    with pytest.raises(ValueError, match=f"`inputs` must be a float tensor. Received: inputs of dtype {dtype}"):
        built(layer)(make(SHAPE, dtype=dtype))


@every_layer
@pytest.mark.parametrize(
    "value", [None, [ops.zeros(SHAPE), ops.zeros(SHAPE)], {"x": ops.zeros(SHAPE)}], ids=["none", "list", "dict"]
)
def test_inputs_that_are_no_tensor_are_refused(layer, value):
    with pytest.raises(ValueError, match="`inputs` must be a tensor. Received: inputs of type (NoneType|list|dict)"):
        built(layer)(value)


@WAYS
@over(lambda row: row[1])
@pytest.mark.parametrize("shape", [(8,), (2, 8)])
def test_the_first_inputs_must_have_three_axes(layer, make, shape):
    with pytest.raises(ValueError, match=r"`inputs` must have at least (2|3) axes.* Received: inputs of shape \("):
        FLOAT_LAYERS[layer][0]()(make(shape))


@WAYS
@over(lambda row: row[1] or row[0] is FLOAT_LAYERS[DropPath][0])
@pytest.mark.parametrize("shape", [(8,), (2, 8)])
def test_later_inputs_must_have_three_axes_too(layer, make, shape):
    with pytest.raises(
        ValueError, match=r"`inputs` must have (3|at least 2|at least 3) axes.* Received: inputs of shape \("
    ):
        built(layer)(make(shape))


@WAYS
@over(lambda row: row[2])
def test_later_inputs_must_have_the_width_of_the_first(layer, make):
    said = rf"`inputs` must have .* the last of size {WIDTH} as built. Received: inputs of shape \(2, 5, 7\)"
    with pytest.raises(ValueError, match=said):
        built(layer)(make((2, 5, 7)))


@over(lambda row: row[2])
def test_inputs_of_unknown_width_are_refused(layer):
    with pytest.raises(
        ValueError, match=r"`inputs` must have .* a last axis of known, positive size. Received: .* None\)"
    ):
        FLOAT_LAYERS[layer][0]()(keras.KerasTensor((2, 5, None)))


@WAYS
@attending
def test_heads_that_do_not_divide_the_width_are_refused(layer, make):
    said = r"`num_heads` must divide the hidden size. Received: num_heads=2, hidden size 7"
    with pytest.raises(ValueError, match=said):
        ATTENDING[layer]()(make((2, 5, 7)))
    with pytest.raises(ValueError, match=said):
        MultiHeadCrossAttention(HEADS)(make((2, 5, 7)), make((2, 4, 8)))


@WAYS
@pytest.mark.parametrize("shape", [(2, 5, 7), (2, 5, 2, 7), (2, 8)])
def test_rotary_positions_need_heads_of_even_size(make, shape):
    with pytest.raises(
        ValueError, match=r"`inputs` must have at least 3 axes, the last of even size. Received: inputs of shape \("
    ):
        RotaryEmbedding()(make(shape))


@WAYS
def test_an_attention_with_odd_heads_has_no_rotary_positions(make):
    with pytest.raises(ValueError, match=r"at least 3 axes, the last of even size. Received: .* shape \(2, 5, 2, 3\)"):
        MultiHeadSelfAttention(HEADS, rotary=RotaryEmbedding())(make((2, 5, 6)))


@WAYS
def test_a_noise_shape_that_does_not_broadcast_is_refused(make):
    for noise_shape in [(2, 5), (None, 4, None), (2, 5, 8, 1)]:
        with pytest.raises(ValueError, match=r"`noise_shape` must broadcast.* Received: noise_shape=.* \(2, 5, 8\)"):
            Dropout(0.5, noise_shape)(make(SHAPE))


@WAYS
@pytest.mark.parametrize("layer", [MultiHeadCrossAttention, TransformerDecoder], ids=lambda layer: layer.__name__)
def test_a_context_that_does_not_fit_is_refused(layer, make):
    def fresh():
        return MultiHeadCrossAttention(HEADS) if layer is MultiHeadCrossAttention else TransformerDecoder(16, HEADS)

    used = fresh()
    used(make(SHAPE), make((BATCH, KEYS, 6)))
    for shape, said in [
        (
            (2, 4, 7),
            r"`context` must have at least 3 axes, the last of size 6 as built. Received: .* of shape \(2, 4, 7\)",
        ),
        ((2, 6), r"`context` must have at least 3 axes, the last of size 6 as built. Received: .* of shape \(2, 6\)"),
        ((3, 4, 6), r"`inputs` and `context` must have the same batch axes. Received: .* \(2, 5, 8\), .* \(3, 4, 6\)"),
    ]:
        with pytest.raises(ValueError, match=said):
            used(make(SHAPE), make(shape))
    with pytest.raises(ValueError, match="`context` must be a float tensor. Received: context of dtype int32"):
        used(make(SHAPE), make((2, 4, 6), dtype="int32"))
    with pytest.raises(ValueError, match="`context` must be given .* Received: context=None"):
        used(make(SHAPE))
    with pytest.raises(ValueError, match=r"`inputs` and `context` must have the same batch axes.* \(2, 4, 6, 1\)"):
        fresh()(make(SHAPE), make((2, 4, 6, 1)))


@WAYS
def test_cross_attention_needs_a_context_from_its_first_call_on(make):
    with pytest.raises(ValueError, match="`context` must be given .* Received: context=None"):
        MultiHeadCrossAttention(HEADS)(make(SHAPE))


def drawn(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def patches(*args, **options):
    layer = PatchEmbedding(*args, **options)
    layer.build((None, None, None, 3))
    return layer


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="elsewhere all sizes are known when a layer is called"
)
class TestSizesThatAreKnownOnlyWhenAGraphRuns:
    @pytest.mark.parametrize("xla", [False, True])
    def test_images_that_do_not_fit_are_refused(self, xla):
        import tensorflow as tf

        layer = patches(2, 5, min_grid_size=(2, 1))
        for shape in [(None, None, None, 3), (2, None, 6, 3)]:
            run = tf.function(layer, input_signature=[tf.TensorSpec(shape)], jit_compile=xla)
            images = drawn(2, 4, 6, 3)
            np.testing.assert_allclose(array(run(images)), array(layer(images)), atol=1e-6)
            with pytest.raises(tf.errors.InvalidArgumentError) as error:
                run(drawn(2, 5, 6, 3))
            said = ["patch_size_must_divide_the_image_unless"] if xla else ["`patch_size` must divide the", "[2 5 6 3]"]
            assert all(part in str(error.value) for part in said)
            with pytest.raises(tf.errors.InvalidArgumentError, match="must_have_the_least|must have at least 4 rows"):
                run(drawn(2, 2, 6, 3))
        keeping = tf.function(patches(2, 5, "keep"), input_signature=run.input_signature)
        assert keeping(drawn(2, 5, 6, 3)).shape == (2, 3, 3, 5)

    def test_predict_refuses_after_two_sizes_and_so_does_a_saved_model(self, tmp_path):
        import tensorflow as tf

        images = keras.Input((None, None, 3))
        model = keras.Model(images, PatchEmbedding(4, 5)(images))
        for size in (8, 12):
            assert model.predict(drawn(1, size, size, 3), verbose=0).shape == (1, size // 4, size // 4, 5)
        with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="must.divide.the.image"):
            model.predict(drawn(1, 9, 8, 3), verbose=0)
        model.export(tmp_path / "saved", verbose=False)
        served = tf.saved_model.load(tmp_path / "saved")
        assert served.serve(drawn(1, 4, 8, 3)).shape == (1, 1, 2, 5)
        with pytest.raises(tf.errors.InvalidArgumentError, match="`patch_size` must divide the image"):
            served.serve(drawn(1, 9, 8, 3))
