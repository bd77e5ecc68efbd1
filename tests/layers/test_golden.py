"""Our layers give what torch, transformers and Keras give under the same weights.

torch and transformers come from small files that `tests/golden/make_golden.py` wrote; on the torch backend they are asked
live too.
"""

from pathlib import Path

import keras
import numpy as np
import pytest

from keras_tx import layers
from keras_tx.ops import attention, masks, positions

from ..golden import make_golden
from .execution import BACKEND, array, arrays, quick, tensor

FOLDER = Path(make_golden.__file__).parent
HEADS, WIDTH = make_golden.HEADS, make_golden.WIDTH
SOURCES = ["file", "live"] if BACKEND == "torch" else ["file"]

every_source = pytest.mark.parametrize("source", SOURCES)


def golden(name, source="file"):
    if source == "live":
        return make_golden.ARRAYS[name]()
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def close(ours, theirs, where=...):
    np.testing.assert_allclose(array(ours)[where], theirs[where], atol=2e-5)


def run(layer, *inputs, **options):
    return quick(lambda *tensors: layer(*tensors, **options))(*inputs)


def attention_weights(weights, prefix):
    """The weights of torch's attention in the order and the shapes of ours."""
    arranged = []
    kernels = np.split(weights[f"{prefix}in_proj_weight"], 3)
    biases = np.split(weights[f"{prefix}in_proj_bias"], 3)
    for kernel, bias in zip(kernels, biases, strict=True):
        arranged += [kernel.T.reshape(WIDTH, HEADS, -1), bias.reshape(HEADS, -1)]
    out = weights[f"{prefix}out_proj.weight"].T.reshape(HEADS, -1, WIDTH)
    return [*arranged, out, weights[f"{prefix}out_proj.bias"]]


def feed_forward_weights(weights):
    return [weights["linear1.weight"].T, weights["linear1.bias"], weights["linear2.weight"].T, weights["linear2.bias"]]


def norm_weights(weights, number):
    return [weights[f"norm{number}.weight"], weights[f"norm{number}.bias"]]


def weights_of(found):
    return {name.removeprefix("weights/"): value for name, value in found.items() if name.startswith("weights/")}


@every_source
@pytest.mark.parametrize("case", ["padded", "causal", "cross"])
def test_attention_equals_that_of_torch(case, source):
    found = golden("attention", source)
    x, context = tensor(found["x"]), tensor(found["context"])
    real, context_real = found["real"], tensor(found["context_real"])
    if case == "cross":
        layer = layers.MultiHeadCrossAttention(HEADS)
        layer.build(x.shape, context.shape)
        call, where = {"context": context, "context_mask": context_real}, ...
    else:
        layer = layers.MultiHeadSelfAttention(HEADS, causal=case == "causal")
        layer.build(x.shape)
        call, where = ({"mask": tensor(real)}, real) if case == "padded" else ({}, ...)
    layer.set_weights(attention_weights(weights_of(found), ""))
    outputs, scores = run(layer, x, **call, return_attention_scores=True)
    close(outputs, found[f"{case}/outputs"], where)
    scores, wanted = array(scores), found[f"{case}/scores"]
    queries = np.broadcast_to(real[:, None], scores.shape[:-1]) if case == "padded" else ...
    np.testing.assert_allclose(scores[queries], wanted[queries], atol=2e-5)


@every_source
@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_encoder_equals_that_of_torch(norm, activation, source):
    found = golden("encoder", source)
    weights = weights_of(found)
    block = layers.TransformerEncoder(
        make_golden.INTERMEDIATE, HEADS, activation=activation, normalize_first=norm == "pre"
    )
    block.build(found["x"].shape)
    block.attention.set_weights(attention_weights(weights, "self_attn."))
    block.feed_forward.set_weights(feed_forward_weights(weights))
    block.attention_norm.set_weights(norm_weights(weights, 1))
    block.feed_forward_norm.set_weights(norm_weights(weights, 2))
    outputs = run(block, tensor(found["x"]), mask=tensor(found["real"]))
    close(outputs, found[f"{norm}-{activation}"], found["real"])


@every_source
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_decoder_equals_that_of_torch(norm, source):
    found = golden("decoder", source)
    weights = weights_of(found)
    block = layers.TransformerDecoder(make_golden.INTERMEDIATE, HEADS, activation="gelu", normalize_first=norm == "pre")
    block.build(found["x"].shape, found["context"].shape)
    block.attention.set_weights(attention_weights(weights, "self_attn."))
    block.cross_attention.set_weights(attention_weights(weights, "multihead_attn."))
    block.feed_forward.set_weights(feed_forward_weights(weights))
    for number, name in enumerate(("attention_norm", "cross_attention_norm", "feed_forward_norm"), start=1):
        getattr(block, name).set_weights(norm_weights(weights, number))
    outputs = run(
        block,
        tensor(found["x"]),
        tensor(found["context"]),
        mask=tensor(found["real"]),
        context_mask=tensor(found["context_real"]),
    )
    close(outputs, found[norm], found["real"])


@every_source
@pytest.mark.parametrize("case", ["all", "causal"])
def test_shared_key_heads_equal_those_of_torch(case, source):
    found = golden("grouped", source)
    query, key, value = (tensor(found[name]) for name in ("query", "key", "value"))
    mask = masks.causal(query.shape[1], key.shape[1]) if case == "causal" else None
    context, _ = attention.dot_product_attention(query, key, value, mask=mask)
    close(context, found[case])


@every_source
def test_rotary_positions_equal_those_of_transformers(source):
    found = golden("rotary", source)
    for name in ("query", "key"):
        rotated = positions.rotate(tensor(found[name]), tensor(found["positions"]))
        # The slowest pairs turn by 1000 radians and more, in float32.
        np.testing.assert_allclose(array(rotated), found[f"rotated_{name}"], atol=2e-4)
        first = layers.RotaryEmbedding()(tensor(found[name]))
        np.testing.assert_allclose(array(first)[0], found[f"rotated_{name}"][0], atol=2e-5)


@pytest.mark.skipif(BACKEND != "torch", reason="asks torch and transformers")
@pytest.mark.parametrize("name", make_golden.ARRAYS)
def test_files_are_what_the_script_makes(name):
    stored, made = golden(name), golden(name, "live")
    assert stored.keys() == made.keys()
    for key, value in stored.items():
        np.testing.assert_allclose(made[key], value, atol=1e-5, err_msg=key)


def test_files_stay_small():
    assert sum((FOLDER / f"{name}.npz").stat().st_size for name in make_golden.ARRAYS) < 100_000


def keras_twins(ours, theirs, *inputs):
    """Builds our layer and Keras' on float inputs, with the same weights."""
    x, context = inputs[0], inputs[-1]
    theirs.build(x.shape, context.shape)
    ours.build(*(each.shape for each in inputs))
    ours.set_weights([value + 0.1 for value in theirs.get_weights()])
    theirs.set_weights(ours.get_weights())
    return ours, theirs


@pytest.fixture
def sequences():
    draw = np.random.default_rng(9)
    return tensor(draw.normal(size=(2, 5, 16)), "float32"), tensor(draw.normal(size=(2, 4, 12)), "float32")


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_self_attention_equals_that_of_keras(causal, masked, sequences):
    x, _ = sequences
    ours, theirs = keras_twins(
        layers.MultiHeadSelfAttention(2, 6, causal=causal), keras.layers.MultiHeadAttention(2, 6), x
    )
    pairs = tensor(np.random.default_rng(1).random((2, 5, 5)) < 0.6 + np.eye(5)) if masked else None
    found, scores = run(ours, x, attention_mask=pairs, return_attention_scores=True)
    wanted, their_scores = run(theirs, x, x, attention_mask=pairs, use_causal_mask=causal, return_attention_scores=True)
    close(found, array(wanted))
    close(scores, array(their_scores))


def test_cross_attention_equals_that_of_keras(sequences):
    x, context = sequences
    real = tensor([[True, True, False, False], [True, True, True, True]])
    ours, theirs = keras_twins(layers.MultiHeadCrossAttention(2, 6), keras.layers.MultiHeadAttention(2, 6), x, context)
    found, scores = run(ours, x, context, context_mask=real, return_attention_scores=True)
    wanted, their_scores = run(theirs, x, context, attention_mask=real[:, None], return_attention_scores=True)
    close(found, array(wanted))
    close(scores, array(their_scores))


@pytest.mark.parametrize("causal", [False, True])
def test_grouped_attention_equals_that_of_keras(causal, sequences):
    x, _ = sequences
    ours, theirs = keras_twins(
        layers.MultiHeadSelfAttention(4, 6, 2, causal=causal), keras.layers.GroupQueryAttention(6, 4, 2), x
    )
    found = arrays(run(ours, x, return_attention_scores=True))
    wanted = arrays(run(theirs, x, x, use_causal_mask=causal, return_attention_scores=True))
    for ours_, theirs_ in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours_, theirs_, atol=2e-5)


@pytest.mark.parametrize("dim", [7, 16])
def test_sine_positions_equal_the_formula(dim):
    where = np.arange(50)[:, None]
    angles = where / 10_000.0 ** (2 * (np.arange(dim) // 2) / dim)
    wanted = np.where(np.arange(dim) % 2 == 0, np.sin(angles), np.cos(angles))
    found = layers.SinusoidalPositionEncoding()(np.zeros((1, 50, dim), "float32"))
    np.testing.assert_allclose(array(found)[0], wanted, atol=1e-5)
