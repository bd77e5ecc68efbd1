"""Costs of models: published numbers to the last digit, closed forms, and what is refused by name."""

import keras
import numpy as np
import pytest

from keras_tx import analysis, applications, layers
from keras_tx.analysis.costs.attention import allowed_pairs, pairs_in_blocks
from keras_tx.analysis.costs.dispatch import ENTRIES
from keras_tx.ops import masks

pytestmark = pytest.mark.once  # symbolic shapes alone


def tensor(*shape, dtype="float32"):
    return keras.KerasTensor(shape, dtype)


def built(layer, *shapes, **kwargs):
    layer(*(np.zeros(shape, "float32") for shape in shapes), **kwargs)
    return layer


# Billions of multiply-accumulates at 224 pixels: of products, as torchvision has them, and with norms, as the papers have them.
@pytest.mark.parametrize(
    ("name", "size", "products", "with_norms"),
    [
        ("ViT", "small_16", 4.599, 4.608),
        ("ViT", "base_16", 17.564, 17.583),
        ("Swin", "tiny", 4.491, 4.509),
        ("Mixer", "small_16", 3.777, 3.785),
    ],
)
def test_published_image_models(name, size, products, with_norms):
    sizes = getattr(applications, f"{name.upper()}_SIZES")[size]
    model = getattr(applications, name)(**sizes)
    found = analysis.count_costs(model, (2, 224, 224, 3)).conventions()
    assert round(found["products"] / 2e9, 3) == products
    assert round(found["products and norms"] / 2e9, 3) == with_norms


def test_published_language_model():
    model = applications.GPT(**applications.GPT_SIZES["small"])
    costs = analysis.count_costs(model, (3, 1024))
    found = costs.conventions()
    assert found["Kaplan forward"] == 188_743_680
    assert found["PaLM training"] == 859_885_056
    assert costs.flops == 3 * 1024 * 284_812_800  # all pairs, and logits
    assert costs.parameters == {"total": 124_439_808, "trainable": 124_439_808, "embedding": 39_383_808}
    assert costs.weight_bytes == 4 * 124_439_808
    step = analysis.count_costs(model, (3, 1024), mode="decode")
    assert step.flops == 3 * 284_812_800
    assert step.cache_bytes_per_token == 12 * 2 * 768 * 4


@pytest.mark.parametrize("policy", ["float32", "bfloat16"])
def test_activations_of_a_block_in_training(policy):
    """34 s b h + 5 a s^2 b bytes in two-byte floats: Korthikanti et al. 2022, equation 2. A softmax in float32: 4 a s^2 b."""
    b, s, h, a = 3, 10, 16, 4
    block = layers.TransformerDecoder(4 * h, a, dropout=0.1, activation="gelu", normalize_first=True, dtype=policy)
    block(np.zeros((b, s, h), "float32"))
    inputs = keras.Input((s, h))
    model = keras.Model(inputs, block(inputs))
    found = analysis.count_costs(model, (b, s, h), mode="train").kept_bytes
    numbers, masks_alone = 16 * s * b * h + 2 * a * s * s * b, 2 * s * b * h + a * s * s * b
    assert found == {"float32": 4, "bfloat16": 2}[policy] * numbers + masks_alone + (
        4 * a * s * s * b if policy == "bfloat16" else 0
    )
    if policy == "bfloat16":
        assert found == 34 * s * b * h + 5 * a * s * s * b + 4 * a * s * s * b
    assert analysis.count_costs(model, (b, s, h)).kept_bytes == 0


def test_a_training_step_is_three_passes_and_a_fourth_where_it_computes_again():
    inputs = keras.Input((6, 8))
    plain = keras.Model(inputs, layers.TransformerEncoder(16, 2)(inputs))
    again = keras.Model(inputs, layers.TransformerEncoder(16, 2, recompute=True)(inputs))
    forward = analysis.count_costs(plain, (2, 6, 8))
    assert analysis.count_costs(plain, (2, 6, 8), mode="train").macs == 3 * forward.macs
    found = analysis.count_costs(again, (2, 6, 8), mode="train")
    assert found.macs == 4 * forward.macs
    assert found.kept_bytes == 4 * 2 * 6 * 8


def test_a_block_that_computes_again_has_the_caches_of_one_that_does_not():
    inputs = keras.Input((6, 8))
    found = [
        analysis.count_costs(
            keras.Model(inputs, layers.TransformerDecoder(16, 2, recompute=again)(inputs)), (2, 6, 8), mode="train"
        ).cache_bytes_per_token
        for again in (False, True)
    ]
    assert found == [2 * 8 * 4, 2 * 8 * 4]
    scored, _ = layers.TransformerEncoder(16, 2, recompute=True)(inputs, return_attention_scores=True)
    costs = analysis.count_costs(
        keras.Model(inputs, scored), (2, 6, 8), mode="train"
    )  # it keeps all, and is not run again
    assert costs.macs == 3 * costs.sum.total_macs


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 1, 3, 50])
@pytest.mark.parametrize(("length", "keys"), [(7, 7), (10, 10), (1, 1)])
def test_pairs_are_those_of_the_masks(causal, window, length, keys):
    places = np.arange(length)
    allowed = np.ones((length, keys), bool)
    if causal:
        allowed &= places[:, None] >= np.arange(keys)
    if window is not None:
        allowed &= np.asarray(masks.window(places[None], np.arange(keys)[None], window, causal))[0, 0]
    assert allowed_pairs(length, keys, causal, window) == allowed.sum()
    for block in (2, 3, 16):
        size = min(block, length)
        count = -(-length // size)
        padded = np.zeros((count * size, count * size), bool)
        padded[:length, :keys] = allowed
        seen = padded.reshape(count, size, count, size).any((1, 3)).sum()
        assert pairs_in_blocks(length, keys, causal, window, block) == seen * size * size


def test_long_attention_counts_its_blocks():
    inputs = keras.Input((None, 8))
    model = keras.Model(inputs, layers.MultiHeadSelfAttention(2, causal=True)(inputs))
    costs = analysis.count_costs(model, (1, 4096, 8))
    assert costs.sum.macs["attention"] == 2 * 8 * pairs_in_blocks(4096, 4096, True, None) < 0.6 * costs.sum.all_pairs
    assert costs.sum.allowed_pairs == 2 * 8 * 4096 * 4097 // 2


def test_closed_forms():
    found = analysis.layer_costs(
        built(layers.MultiHeadSelfAttention(6, num_key_value_heads=2), (1, 5, 24)), tensor(2, 5, 24)
    )
    assert found.macs == {"projections": 2 * 5 * 24 * 4 * (2 * 6 + 2 * 2), "attention": 2 * 2 * 6 * 4 * 25}
    cross = built(layers.MultiHeadCrossAttention(2, key_dim=3), (1, 5, 8), (1, 7, 10))
    found = analysis.layer_costs(cross, tensor(2, 5, 8), context=tensor(2, 7, 10))
    assert found.macs == {"projections": 2 * (2 * 5 * 8 * 6 + 2 * 7 * 10 * 6), "attention": 2 * 2 * 5 * 7 * 6}
    assert found.context_cache == 2 * 2 * 7 * 6 * 4
    window = built(layers.WindowAttention(2, 3), (1, 4, 5, 8))
    # 4 x 5 places in windows of 3 x 3 are filled up to 6 x 6.
    assert analysis.layer_costs(window, tensor(1, 4, 5, 8)).macs == {
        "projections": 36 * 4 * 64,
        "attention": 2 * 4 * 81 * 8,
    }
    gated = built(layers.FeedForward(20, gated=True), (1, 8))
    assert analysis.layer_costs(gated, tensor(3, 8)).macs == {"feed_forward": 3 * 3 * 8 * 20}
    assert analysis.layer_costs(built(layers.TokenMixing(12), (1, 5, 8)), tensor(2, 5, 8)).macs == {
        "mixing": 2 * 2 * 8 * 5 * 12
    }
    assert analysis.layer_costs(built(layers.FourierMixing(), (1, 8, 4)), tensor(1, 8, 4)).macs == {"mixing": 400}
    convolution = built(keras.layers.Conv2D(6, 3, strides=2, groups=2), (1, 9, 9, 4))
    assert analysis.layer_costs(convolution, tensor(1, 9, 9, 4)).macs == {"convolution": 4 * 4 * 6 * 9 * 2}
    einsum = built(keras.layers.EinsumDense("...x,xy->...y", (5,)), (2, 3, 4))
    assert analysis.layer_costs(einsum, tensor(2, 3, 4)).macs == {"dense": 6 * 20}


def test_an_encoder_decoder_counts_its_context_once():
    model = applications.Translator(30, 2, 2, 16, 32, target_vocabulary_size=40)
    inputs = {"source_ids": (1, 9), "target_ids": (1, 12)}
    step = analysis.count_costs(model, inputs, mode="decode")
    width, hidden = 16, 32
    block = 4 * width**2 + 2 * 12 * width + 2 * width**2 + 2 * 9 * width + 2 * width * hidden
    assert step.macs == 2 * block + width * 40
    assert step.context_cache_bytes == 2 * 2 * 9 * width * 4
    assert step.cache_bytes_per_token == 2 * 2 * width * 4
    assert all("encoder" not in row.path for row in step.layers)


def test_every_layer_of_the_package_has_an_entry():
    missing = [name for name in layers.__all__ if getattr(layers, name) not in ENTRIES]
    assert missing == []


class Doubled(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs


class Counted(Doubled):
    def count_costs(self, inputs):
        return analysis.LayerCosts({"dense": 7})


class Changed(keras.layers.Dense):
    def call(self, inputs):
        return super().call(super().call(inputs))


def model_of(layer, shape=(4,)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, layer(inputs))


def test_a_layer_of_ones_own_tells_by_a_method_and_is_refused_without_it():
    assert analysis.count_costs(model_of(Counted()), (1, 4)).macs == 7
    for layer in (Doubled(name="own"), Changed(4, name="own"), keras.layers.LSTM(3, name="own")):
        shape = (5, 4) if isinstance(layer, keras.layers.LSTM) else (4,)
        with pytest.raises(ValueError, match=f"Received: own.* of class {type(layer).__name__}"):
            analysis.count_costs(model_of(layer, shape), (1, *shape))
    inputs = keras.Input((4,))
    with pytest.raises(ValueError, match="of class Rfft|of class RFFT"):
        analysis.count_costs(keras.Model(inputs, keras.ops.rfft(inputs)), (1, 4))


W = np.ones((3, 4), "float32")


@pytest.mark.parametrize(
    ("product", "shape", "macs"),
    [
        (lambda x: keras.ops.matmul(x, W), (5, 3), 2 * 5 * 3 * 4),
        (lambda x: keras.ops.matmul(W, x), (4, 5), 2 * 5 * 3 * 4),
        (lambda x: keras.ops.matmul(x, W[:, 0]), (5, 3), 2 * 5 * 3),
        (lambda x: keras.ops.dot(x, W), (5, 3), 2 * 5 * 3 * 4),
        (lambda x: keras.ops.dot(x, 2.0), (5, 3), 0),
        (lambda x: keras.ops.inner(x, W.T), (5, 3), 2 * 5 * 3 * 4),
        (lambda x: keras.ops.vdot(x, x), (5,), 10),
        (lambda x: keras.ops.tensordot(x, W, axes=1), (5, 3), 2 * 5 * 3 * 4),
        (lambda x: keras.ops.tensordot(x, W, axes=((2,), (0,))), (5, 3), 2 * 5 * 3 * 4),
        (lambda x: keras.ops.einsum("btd,de->bte", x, W), (5, 3), 2 * 5 * 3 * 4),
        (lambda x: keras.ops.einsum("de,b...d->b...e", W, x), (5, 3), 2 * 5 * 3 * 4),
        (lambda x: keras.ops.einsum("...td,...sd->...ts", x, x), (6, 5, 3), 2 * 6 * 5 * 5 * 3),
        (lambda x: keras.ops.einsum("btd->bdt", x), (5, 3), 0),
    ],
)
def test_products_of_tensors_and_of_constants_are_counted(product, shape, macs):
    inputs = keras.Input(shape, batch_size=2)  # Keras' `tensordot` warns of an unknown one
    assert analysis.count_costs(keras.Model(inputs, product(inputs)), (2, *shape)).macs == macs


def test_a_shape_may_hold_integers_of_numpy():
    dense = model_of(keras.layers.Dense(2))
    assert analysis.count_costs(dense, tuple(np.array([3, 4]))).macs == 3 * 4 * 2
    with pytest.raises(ValueError, match="`inputs` must"):
        analysis.count_costs(dense, (True, 4))


@pytest.mark.parametrize(
    "inputs", [(1,), (1, 5), (0, 4), (-1, 4), (None, 4), (1.0, 4), [(1, 4), (1, 4)], {"other": (1, 4)}, 3, None]
)
def test_inputs_that_do_not_fit_are_refused(inputs):
    with pytest.raises(ValueError, match="`inputs` must"):
        analysis.count_costs(model_of(keras.layers.Dense(2)), inputs)


def test_other_refusals():
    dense = model_of(keras.layers.Dense(2))
    with pytest.raises(ValueError, match="`mode` must"):
        analysis.count_costs(dense, (1, 4), mode="inference")
    with pytest.raises(ValueError, match="counted in decoding"):
        analysis.count_costs(dense, (1, 4), mode="decode")
    with pytest.raises(ValueError, match="must be a functional model"):
        analysis.count_costs(keras.Model(), (1, 4))


def test_shared_layers_count_each_call_and_their_weights_once():
    shared, inputs = keras.layers.Dense(4), keras.Input((4,))
    costs = analysis.count_costs(keras.Model(inputs, shared(shared(inputs))), np.zeros((3, 4)))
    assert (costs.macs, costs.parameters["total"], len(costs.layers)) == (2 * 3 * 16, 20, 2)


def test_adapters_and_quantized_weights_are_counted():
    model = model_of(layers.FeedForward(8))
    whole = analysis.count_costs(model, (1, 4))
    model.layers[1].intermediate.enable_lora(2)
    assert analysis.count_costs(model, (1, 4)).macs == whole.macs + 2 * (4 + 8)
    small = model_of(layers.FeedForward(8))
    small.layers[1].intermediate.quantize("int8")
    costs = analysis.count_costs(small, (1, 4))
    assert (costs.macs, costs.weight_bytes < whole.weight_bytes) == (whole.macs, True)


def test_what_is_shown(tmp_path):
    model = applications.GPT(30, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32, sequence_length=8)
    costs = analysis.count_costs(model, (1, 8), mode="train")
    assert "GFLOP a training step" in str(costs)
    lines = costs.table().splitlines()
    assert lines[0].split()[:2] == ["layer", "class"]
    assert lines[-1].split()[0] == "sum"
    assert len(lines) == 1 + 1 + 5 + 1 + 1
    figure = costs.plot(tmp_path / "costs.png")
    heights = sum(bar.get_height() for bar in figure.axes[0].patches)
    assert np.isclose(heights, costs.macs / 1e6, rtol=1e-5) or np.isclose(heights, costs.macs, rtol=1e-5)
    assert (tmp_path / "costs.png").stat().st_size > 5000
    with pytest.raises(ValueError, match="call that has products"):
        analysis.count_costs(model_of(keras.layers.ReLU()), (1, 4)).plot()
