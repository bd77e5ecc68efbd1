"""Blocks against their equations in float64: what is normalized, added and scaled; and what becomes of a block's norms."""

import keras
import numpy as np
import pytest

from keras_tx import layers

from .attention_reference import attended
from .contract_rows import reloaded, stir
from .execution import array, quick, tensor

B, T, S, N, D = 2, 5, 4, 2, 8
RANDOM = np.random.default_rng(1)
X, PLACES = RANDOM.normal(size=(2, B, T, D))
CONTEXT, CONTEXT_PLACES = RANDOM.normal(size=(2, B, S, D))
REAL, CONTEXT_REAL = RANDOM.random((B, T)) < 0.7, RANDOM.random((B, S)) < 0.7
REAL[:, 0] = CONTEXT_REAL[:, 0] = True
BIAS = RANDOM.normal(size=(B, 1, T, T))
ORDER = np.tril(np.ones((T, T), bool))

# What becomes of x in a branch with sublayer f, the norm n and the norm b of what the branch gives.
EQUATIONS = {
    (False, False): lambda x, f, n, b: n(x + f(x)),
    (True, False): lambda x, f, n, b: x + f(n(x)),
    (True, True): lambda x, f, n, b: x + b(f(n(x))),
    (False, True): lambda x, f, n, b: x + b(f(x)),
}


def attend(layer, x, context, allowed, **options):
    if isinstance(layer, keras.layers.MultiHeadAttention):  # which lays its weights out as ours does
        weights = layer.get_weights()
        layer = layers.MultiHeadCrossAttention(N)
        layer.build(x.shape, context.shape)
        layer.set_weights(weights)
    allowed = np.broadcast_to(allowed, (B, T, context.shape[1]))
    options = [{name: value[row] for name, value in options.items()} for row in range(B)]
    return np.stack([attended(layer, x[row], context[row], allowed[row], **options[row]) for row in range(B)])


def feed(layer, x):
    kernel, bias, out, out_bias = layer.get_weights()
    return np.maximum(x @ kernel.astype("float64") + bias, 0) @ out.astype("float64") + out_bias


def normalize(layer, x):
    if isinstance(layer, keras.layers.RMSNormalization):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + layer.epsilon) * array(layer.scale)
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + layer.epsilon) * array(layer.gamma) + array(layer.beta)


def expected(block, sublayers):
    """x after the branches of a block, one after the other."""
    x = np.where(REAL[..., None], X, 0)
    for name, f in sublayers.items():
        n, b = getattr(block, f"{name}_norm"), getattr(block, f"{name}_branch_norm")
        gain = 1.0 if block.layer_scale is None else array(getattr(block, f"{name}_layer_scale").gain)
        scaled = f if b is not None else (lambda x, f=f, gain=gain: gain * f(x))
        equation = EQUATIONS[block.normalize_first, block.normalize_branch]
        x = equation(x, scaled, lambda x, n=n: normalize(n, x), lambda x, b=b, gain=gain: gain * normalize(b, x))
    return x


def given(**values):
    return {
        name: tensor(value.astype("float32") if value.dtype == "float64" else value) for name, value in values.items()
    }


def outputs_of(block, **arguments):
    arguments = given(inputs=X, mask=REAL, **arguments)
    block(**arguments)
    stir(block)
    names = list(arguments)
    return array(quick(lambda *tensors: block(**dict(zip(names, tensors, strict=True))))(*arguments.values()))[REAL]


norms = pytest.mark.parametrize(("first", "branch"), EQUATIONS)


@norms
def test_encoder_is_its_equation(first, branch):
    norm = keras.layers.RMSNormalization(epsilon=1e-2)
    block = layers.TransformerEncoder(16, N, norm=norm, normalize_first=first, normalize_branch=branch)
    found = outputs_of(block, attention_bias=BIAS, position_embedding=PLACES)
    sublayers = {
        "attention": lambda x: attend(
            block.attention, x, x, REAL[:, None], located=x + PLACES, located_context=x + PLACES, bias=BIAS[:, 0]
        ),
        "feed_forward": lambda x: feed(block.feed_forward, x),
    }
    np.testing.assert_allclose(found, expected(block, sublayers)[REAL], atol=1e-5)


@norms
def test_decoder_is_its_equation(first, branch):
    block = layers.TransformerDecoder(16, N, normalize_first=first, normalize_branch=branch, layer_scale=0.5)
    beside = {"context": CONTEXT, "context_mask": CONTEXT_REAL, "context_position_embedding": CONTEXT_PLACES}
    found = outputs_of(block, attention_bias=BIAS, position_embedding=PLACES, **beside)
    located = CONTEXT + CONTEXT_PLACES
    sublayers = {
        "attention": lambda x: attend(
            block.attention,
            x,
            x,
            REAL[:, None] & ORDER,
            located=x + PLACES,
            located_context=x + PLACES,
            bias=BIAS[:, 0],
        ),
        "cross_attention": lambda x: attend(
            block.cross_attention, x, CONTEXT, CONTEXT_REAL[:, None], located=x + PLACES, located_context=located
        ),
        "feed_forward": lambda x: feed(block.feed_forward, x),
    }
    np.testing.assert_allclose(found, expected(block, sublayers)[REAL], atol=1e-5)
    cache = block.init_cache(B, T, **given(**beside))
    tokens = [given(inputs=X[:, [t]], mask=REAL[:, [t]], position_embedding=PLACES[:, [t]]) for t in range(T)]
    for t, token in enumerate(tokens):
        outputs, cache = block(**token, cache=cache, attention_bias=tensor(BIAS[:, :, [t]].astype("float32")))
        wanted = expected(block, sublayers)[:, t][REAL[:, t]]
        np.testing.assert_allclose(array(outputs)[:, 0][REAL[:, t]], wanted, atol=1e-5)


@pytest.mark.parametrize(
    "make", [layers.MultiHeadCrossAttention, lambda heads: keras.layers.MultiHeadAttention(heads, 4)]
)
def test_an_encoder_attends_to_a_context(make):
    block = layers.TransformerEncoder(16, attention=make(N), normalize_first=True)
    pairs = RANDOM.random((B, T, S)) < 0.7
    pairs[:, :, 0] = True
    found = outputs_of(block, context=CONTEXT, context_mask=CONTEXT_REAL, context_attention_mask=pairs)
    sublayers = {
        "attention": lambda x: attend(block.attention, x, CONTEXT, pairs & CONTEXT_REAL[:, None]),
        "feed_forward": lambda x: feed(block.feed_forward, x),
    }
    np.testing.assert_allclose(found, expected(block, sublayers)[REAL], atol=1e-5)


@pytest.mark.parametrize("branch", [False, True])
@pytest.mark.parametrize("make", [layers.TransformerEncoder, layers.TransformerDecoder])
def test_branches_side_by_side_are_their_equation(make, branch):
    block = make(16, N, normalize_first=True, parallel=True, normalize_branch=branch, layer_scale=0.5)
    found = outputs_of(block)
    allowed = REAL[:, None] & (ORDER if make is layers.TransformerDecoder else True)
    x = np.where(REAL[..., None], X, 0)
    y = normalize(block.attention_norm, x)
    parts = {
        "attention": attend(block.attention, y, y, allowed),
        "feed_forward": feed(block.feed_forward, y),
    }
    assert block.feed_forward_norm is None
    for name, part in parts.items():
        part = normalize(getattr(block, f"{name}_branch_norm"), part) if branch else part
        x = x + array(getattr(block, f"{name}_layer_scale").gain) * part
    np.testing.assert_allclose(found, x[REAL], atol=1e-5)


@keras.saving.register_keras_serializable(package="keras_tx_tests")
class OwnNorm(keras.layers.Layer):
    """A norm of a user's own: a layer in it, and no `build`."""

    def __init__(self, epsilon, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.inner = keras.layers.LayerNormalization(epsilon=epsilon, name="inner", dtype=self.dtype_policy)

    def call(self, inputs):
        return 2 * self.inner(inputs)

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}


@pytest.mark.parametrize("norm", [OwnNorm(1e-2), keras.layers.GroupNormalization(2), keras.layers.RMSNormalization()])
def test_each_branch_has_a_norm_of_its_own_that_comes_back_as_it_was(norm, tmp_path):
    inputs, context = keras.Input((None, D)), keras.Input((None, D))
    options = {"normalize_first": True, "normalize_branch": True, "layer_scale": 0.5, "dtype": "mixed_bfloat16"}
    block = layers.TransformerDecoder(16, N, norm=norm, name="block", **options)
    model = keras.Model([inputs, context], block(inputs, context))
    stir(model)
    names = [f"{name}{kind}" for name in ("attention", "cross_attention", "feed_forward") for kind in ("", "_branch")]
    parts = [getattr(block, f"{name}_norm") for name in names]
    assert [part.name for part in parts] == [f"{name}_norm" for name in names]
    assert {type(part) for part in parts} == {type(norm)}
    assert {part.dtype_policy.name for part in parts} == {"mixed_bfloat16"}
    weights = [weight for part in parts for weight in part.weights]
    assert len({id(weight) for weight in weights}) == len(weights) == 6 * len(parts[0].weights)
    assert all(weight.path.startswith("block/") and weight.dtype == "float32" for weight in weights)
    block.attention_branch_norm.trainable = False
    block.cross_attention_norm.trainable = False
    block.feed_forward_layer_scale.trainable = False
    values = list(given(inputs=X, context=CONTEXT).values())
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    for copy in (clone, reloaded(model, tmp_path)):
        assert [(each.path, each.trainable) for each in copy.weights] == [
            (each.path, each.trainable) for each in model.weights
        ]
        np.testing.assert_allclose(array(copy(values)), array(model(values)), rtol=1e-5, atol=1e-6)
