"""What only a GPU runs: cuDNN's attention beside our own, in half floats. Needs JAX and a GPU."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.ops import attention
from keras_tx.ops.attention import fused
from keras_tx.ops.attention.attention_mask import AttentionMask

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax" or not fused.on_gpu(None), reason="cuDNN runs on a GPU alone"
)


def operands(length, heads=4, key_heads=4, size=64, dtype="bfloat16", keys=None):
    random = np.random.default_rng(0)
    shapes = [(2, length, heads, size), (2, keys or length, key_heads, size), (2, keys or length, key_heads, size)]
    return [ops.cast(ops.convert_to_tensor(random.normal(size=shape).astype("float32")), dtype) for shape in shapes]


def exact(query, key, value, causal):
    """The same in float32, all pairs written out."""
    query, key, value = (ops.cast(each, "float32") for each in (query, key, value))
    return attention.dot_product_attention(query, key, value, mask=AttentionMask(causal=causal), return_scores=True)[0]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("length", "sizes"),
    [
        (512, {}),
        (513, {}),
        (640, {"key_heads": 2, "size": 80}),
        (512, {"size": 128, "heads": 2, "key_heads": 1}),
        (512, {"dtype": "float16"}),
        (333, {"size": 8}),
        (2, {}),
        (1, {}),
    ],
)
def test_cudnn_gives_the_numbers_and_gradients_of_the_whole(length, sizes, causal):
    import jax

    query, key, value = operands(length, **sizes)
    mask = AttentionMask(causal=causal)
    assert fused.supports(query, value, mask, None, None)

    def by_cudnn(query, key, value):
        scaled = query * ops.cast(query.shape[-1] ** -0.5, query.dtype)
        return ops.cast(fused.fused_attention(scaled, key, value, mask), "float32")

    def whole(query, key, value):
        return exact(query, key, value, causal)

    found = []
    for attend in (by_cudnn, whole):
        loss = lambda *each, attend=attend: ops.sum(ops.sin(attend(*each)))  # noqa: E731
        found.append([jax.jit(attend)(query, key, value), *jax.jit(jax.grad(loss, (0, 1, 2)))(query, key, value)])
    for got, expected in zip(*found, strict=True):
        got, expected = (np.asarray(ops.cast(each, "float32")) for each in (got, expected))
        assert np.abs(got - expected).max() <= 0.02 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("causal", [False, True])
def test_nan_reaches_those_alone_that_attend_to_it(causal):
    query, key, value = operands(512)
    key = ops.convert_to_tensor(np.asarray(ops.cast(key, "float32")).copy())
    dirty = np.asarray(key).copy()
    dirty[0, 300, 1] = np.nan
    got = attention.dot_product_attention(query, ops.cast(dirty, "bfloat16"), value, mask=AttentionMask(causal=causal))[
        0
    ]
    missing = np.isnan(np.asarray(ops.cast(got, "float32"))).all(-1)  # (B, T, N)
    expected = np.zeros_like(missing)
    expected[0, 300 if causal else 0 :, 1] = True
    np.testing.assert_array_equal(missing, expected)


@pytest.mark.parametrize("causal", [False, True])
def test_a_padded_batch_is_the_batch_of_its_rows(causal):
    layer = layers.MultiHeadSelfAttention(4, causal=causal, dtype="mixed_bfloat16")
    x = np.random.default_rng(0).normal(size=(2, 1024, 64)).astype("float32")
    mask = np.arange(1024) < np.array([[1024], [700]])
    padded = np.asarray(ops.cast(layer(x, mask=mask), "float32"))
    alone = np.asarray(ops.cast(layer(x[1:, :700]), "float32"))
    np.testing.assert_allclose(padded[1:, :700], alone, atol=0.03, rtol=0.03)


def test_products_of_float32_are_near_those_of_the_processor():
    """XLA may round the operands of float32 products to 10 bits on a GPU (TF32)."""
    layer = layers.TransformerEncoder(256, 4)
    x = np.random.default_rng(0).normal(size=(2, 64, 64)).astype("float32")
    import jax

    found = []
    for device in (jax.devices("gpu")[0], jax.devices("cpu")[0]):
        layer.build(x.shape)
        weights = [jax.device_put(weight.value, device) for weight in layer.trainable_variables]
        rest = [jax.device_put(weight.value, device) for weight in layer.non_trainable_variables]
        found.append(np.asarray(layer.stateless_call(weights, rest, jax.device_put(x, device))[0]))
    assert np.abs(found[0] - found[1]).max() <= 2e-2
