"""Layers of a caller's own in the slots: what they are given, that they are built, and that what they are survives."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import analysis, decoding, layers

from .contract_rows import reloaded, stir
from .execution import array, tensor
from .keras_attention import PAIRS, REAL, B, D, N, T, TakesPairs, X, assert_like, multi_head

register = keras.saving.register_keras_serializable(package="test_slots")


@register
class Mixing(keras.layers.Layer):
    """Parts without names of their own, of which one has to be built by the first call; no `build`."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.dense = keras.layers.Dense(D)
        self.more = [keras.layers.Dense(D), keras.layers.Dense(D)]

    def call(self, inputs):
        return self.more[1](self.more[0](self.dense(inputs)))


@register
class HalfBuilt(Mixing):
    """Makes one part when it is built, and leaves the others to the first call."""

    def build(self, input_shape):
        self.late = keras.layers.Dense(D)
        self.late.build(input_shape)

    def call(self, inputs):
        return super().call(self.late(inputs))


@register
class Distances(keras.layers.Layer):
    """A weightless bias over positions; no `build`."""

    num_heads = N

    def call(self, queries, keys):
        distances = ops.cast(keys[..., None, :] - queries[..., None], "float32")
        return ops.stack([distances, distances / 2], axis=-3)


@register
class LearnedDistances(Distances):
    """A bias with a weight, and a `build` whose arguments have names of its own."""

    def build(self, first, second):
        self.slope = self.add_weight(name="slope", shape=(N, 1, 1), initializer="ones")

    def call(self, queries, keys):
        return super().call(queries, keys) * self.slope


@register
class Turning(keras.layers.Layer):
    """A rotary layer with a `build` of one argument."""

    def build(self, input_shape):
        self.gain = self.add_weight(name="gain", shape=input_shape[-1:], initializer="ones")

    def call(self, x, positions):
        return x * self.gain * ops.cast(positions + 1, x.dtype)[..., None, None]


def block_of_own(bias=Distances, **kwargs):
    """A model of a block whose slots hold a caller's own layers, and the block."""
    attention = layers.MultiHeadSelfAttention(N, causal=True, position_bias=bias(), rotary=Turning(), name="attention")
    inputs = keras.Input((None, D))
    network = keras.Sequential([keras.layers.Dense(16, "relu"), keras.layers.Dense(D)])
    x = layers.TransformerEncoder(attention=attention, feed_forward=HalfBuilt(**kwargs))(inputs)
    block = layers.TransformerEncoder(attention=Mixing(**kwargs), feed_forward=network, name="block")
    return keras.Model(inputs, block(x)), block


@pytest.mark.parametrize("bias", [Distances, LearnedDistances])
def test_a_layer_in_a_slot_is_built_with_its_block(bias, tmp_path):
    model, block = block_of_own(bias)
    assert len(block.attention.weights) == 6
    assert all(weight.path.startswith("block/") for weight in block.weights)
    stir(model)
    model.save_weights(tmp_path / "model.weights.h5")
    again, _ = block_of_own(bias)
    assert len(again.weights) == len(model.weights)
    again.load_weights(tmp_path / "model.weights.h5")
    for copy in (again, reloaded(model, tmp_path)):
        np.testing.assert_allclose(array(copy(tensor(X))), array(model(tensor(X))), rtol=1e-5, atol=1e-6)
    attention = layers.MultiHeadSelfAttention(N, causal=True, position_bias=bias(), rotary=Turning())
    full = attention(tensor(X))
    _, cache = attention(tensor(X[:, :3]), cache=attention.init_cache(B, T))
    assert_like(attention(tensor(X[:, 3:]), cache=cache)[0], full[:, 3:])


def parts_of_one(block):
    block.attention.dense.trainable = False
    block.attention.more[1].trainable = False


def a_whole_layer(block):
    block.attention.trainable = False


def all_but_one(block):
    block.attention.trainable = False
    block.attention.more[0].trainable = True


@pytest.mark.parametrize("freeze", [parts_of_one, a_whole_layer, all_but_one])
def test_parts_without_names_stay_frozen(freeze, tmp_path):
    model, block = block_of_own()
    freeze(block)
    flags = [weight.trainable for weight in model.weights]
    assert 0 < flags.count(False) <= 6
    for copy in (keras.models.clone_model(model), reloaded(model, tmp_path)):
        assert [weight.trainable for weight in copy.weights] == flags
        assert [weight.trainable for weight in keras.models.clone_model(copy).weights] == flags


def test_a_layer_that_its_constructor_froze_trains_nothing(tmp_path):
    model, block = block_of_own(trainable=False)
    assert not block.attention.trainable_weights
    assert len(block.trainable_weights) == 4 + 4
    layer = layers.TransformerDecoder(16, attention=multi_head(trainable=False))
    layer(tensor(X))
    assert len(layer.trainable_weights) == 4 + 4  # the norms and the network
    for copy in (keras.models.clone_model(model), reloaded(model, tmp_path)):
        assert len(copy.trainable_weights) == len(model.trainable_weights)


@pytest.mark.usefixtures("few_objects_to_collect")
@pytest.mark.parametrize("mode", ["int8", pytest.param("int4", marks=pytest.mark.once)])
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method implemented:UserWarning")
def test_quantized_parts_of_a_layer_in_a_slot_come_back(mode, tmp_path):
    inputs = keras.Input((None, D))
    x = layers.TransformerDecoder(attention=multi_head(), feed_forward=HalfBuilt())(inputs)
    model = keras.Model(inputs, layers.TransformerEncoder(attention=Mixing(), feed_forward=HalfBuilt())(x))
    stir(model)
    model.quantize(mode)
    copy = reloaded(model, tmp_path)
    np.testing.assert_allclose(array(copy(tensor(X))), array(model(tensor(X))), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        array(reloaded(copy, tmp_path)(tensor(X))), array(model(tensor(X))), rtol=1e-5, atol=1e-6
    )


@register
class NoMask(Mixing):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = False


@pytest.mark.parametrize("block", [layers.TransformerEncoder, layers.TransformerDecoder])
def test_a_layer_of_ones_own_gets_the_masks_that_it_can_take(block):
    made = block(16, attention=TakesPairs())
    other, real = np.where(np.arange(T)[:, None] >= 3, -X, X), REAL[:1].repeat(B, 0)
    masked = [array(made(tensor(x), mask=tensor(real)))[real] for x in (X, other)]
    np.testing.assert_array_equal(*masked)
    stacked = [array(made(tensor(x[:, None]), mask=tensor(real[:, None])))[:, 0][real] for x in (X, other)]
    assert_like(stacked[0], masked[0])
    np.testing.assert_array_equal(*stacked)
    outputs = [array(made(tensor(x)))[:, :3] for x in (X, other)]
    assert np.array_equal(*outputs) == (block is layers.TransformerDecoder)


@pytest.mark.once
def test_a_layer_that_cannot_take_a_mask_is_refused():
    block = layers.TransformerEncoder(16, attention=NoMask(name="mixing"))
    block(tensor(X))
    with pytest.raises(
        ValueError, match=r"`attention` must have `mask` or .* `supports_masking` .* NoMask \(.*mixing\)"
    ):
        block(tensor(X), mask=tensor(REAL))
    block = layers.TransformerEncoder(16, attention=multi_head())
    with pytest.raises(ValueError, match="`attention_mask` must be one for all heads.* MultiHeadAttention"):
        block(tensor(X), attention_mask=tensor(PAIRS))


class OtherCall(keras.layers.Layer):
    def call(self, one, another):
        return one + another


@pytest.mark.once
@pytest.mark.parametrize(
    "layer", [keras.layers.Attention(), keras.layers.AdditiveAttention(), OtherCall()], ids=lambda each: each.name
)
def test_a_layer_of_another_call_is_refused(layer):
    said = (
        "`{}` must hold a layer called as .* or as \\(query, value\\).* Received: .* of class " + type(layer).__name__
    )
    for block in (layers.TransformerEncoder, layers.TransformerDecoder):
        with pytest.raises(ValueError, match=said.format("attention")):
            block(16, attention=layer)
    with pytest.raises(ValueError, match=said.format("cross_attention")):
        layers.TransformerDecoder(16, N, cross_attention=layer)
    with pytest.raises(ValueError, match="`attention` must attend along the positions alone.* attention_axes="):
        layers.TransformerEncoder(16, attention=multi_head(attention_axes=(1, 2)))


@pytest.mark.once
def test_attention_without_a_cache_or_scores_is_named():
    ids = keras.Input((None,), dtype="int32")
    x = layers.TokenAndPositionEmbedding(11, 8, D)(ids)
    x = layers.TransformerDecoder(16, attention=multi_head(), name="block")(x)
    model = keras.Model(ids, keras.layers.Dense(11)(x))
    with pytest.raises(ValueError, match="`attention` must have a cache.* MultiHeadAttention in block"):
        decoding.generate(model, np.ones((1, 3), "int32"), max_new_tokens=2)
    maps = analysis.attention_maps(model, np.ones((1, 3), "int32"))
    assert maps["block"].shape == (1, N, 3, 3)
    np.testing.assert_array_equal(maps["block"][..., 0, 1:], 0)
    inputs = keras.Input((None, D))
    model = keras.Model(inputs, layers.TransformerEncoder(16, attention=Mixing(name="mixing"), name="block")(inputs))
    with pytest.raises(ValueError, match="must have a layer that attends.* block of class .* with a Mixing"):
        analysis.attention_maps(model, X)
    with pytest.raises(ValueError, match=r"`return_attention_scores` must be among .* Mixing \(block/mixing\)"):
        model.layers[-1](tensor(X), return_attention_scores=True)
