"""Masks that come as floats: 0 and 1 say what False and True do; other numbers are refused, or let nobody attend."""

import keras
import numpy as np
import pytest

from keras_tx import layers

from .execution import BACKEND, COMPILES, SeenMask, array, compiled, tensor

X = np.random.default_rng(0).normal(size=(2, 4, 8)).astype("float32")
MAP = np.random.default_rng(1).normal(size=(2, 4, 6, 8)).astype("float32")
REAL = np.array([[1, 1, 0, 0], [1, 1, 1, 0]], bool)
PAIRS = np.random.default_rng(2).random((2, 4, 4)) < 0.5
ON_MAP = np.random.default_rng(3).random((2, 4, 6)) < 0.6
READERS = {
    "self-attention": (lambda: layers.MultiHeadSelfAttention(2), [X], {"mask": REAL, "attention_mask": PAIRS}),
    "pairs as mask": (lambda: layers.MultiHeadSelfAttention(2), [X], {"mask": PAIRS}),
    "cross-attention": (
        lambda: layers.MultiHeadCrossAttention(2),
        [X, X],
        {"mask": REAL, "context_mask": REAL, "attention_mask": PAIRS},
    ),
    "encoder": (lambda: layers.TransformerEncoder(8, 2), [X], {"mask": REAL, "attention_mask": PAIRS}),
    "recompute": (
        lambda: layers.TransformerEncoder(8, 2, recompute=True),
        [X],
        {"mask": REAL, "attention_mask": PAIRS},
    ),
    "decoder": (lambda: layers.TransformerDecoder(8, 2), [X, X], {"mask": REAL, "context_mask": REAL}),
    "windows": (lambda: layers.WindowAttention(2, 2, shift_size=1), [MAP], {"mask": ON_MAP}),
    "patches": (lambda: layers.PatchEmbedding(2, 4), [MAP], {"mask": ON_MAP}),
    "stem": (lambda: layers.ConvolutionalStem((4,)), [MAP], {"mask": ON_MAP}),
    "merging": (layers.PatchMerging, [MAP], {"mask": ON_MAP}),
    "tokens": (layers.ClassToken, [MAP], {"mask": ON_MAP}),
    "pooling": (layers.MaskedMeanPooling, [X], {"mask": REAL}),
}
every_reader = pytest.mark.parametrize("name", READERS)


def called(layer, inputs, masks):
    return layer(*map(tensor, inputs), **{name: tensor(mask) for name, mask in masks.items()})


@every_reader
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_0_and_1_say_what_booleans_do(name, policy):
    make, inputs, masks = READERS[name]
    with _Policy(policy):
        layer, seen = make(), SeenMask()
    wanted = array(seen(called(layer, inputs, masks)))
    carried = array(seen.mask)
    found = array(seen(called(layer, inputs, {name: mask.astype("float32") for name, mask in masks.items()})))
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(array(seen.mask), carried)


class _Policy:
    """The dtype policy that layers get meanwhile."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        self.before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.name)

    def __exit__(self, *error):
        keras.config.set_dtype_policy(self.before)


@every_reader
def test_other_numbers_are_refused_by_name(name):
    make, inputs, masks = READERS[name]
    for changed, mask in masks.items():
        layer = make()
        with pytest.raises(ValueError, match=rf"`{changed}` must be boolean.*`attention_bias`. Received: {changed} of"):
            called(layer, inputs, {**masks, changed: np.where(mask, 0.0, -1e9).astype("float32")})


@pytest.mark.skipif(not COMPILES, reason="torch runs eagerly, and raises")
def test_an_additive_mask_lets_nobody_attend_when_compiled():
    layer = layers.MultiHeadSelfAttention(2)
    additive = tensor(np.where(PAIRS, 0.0, -1e9).astype("float32"))
    layer(tensor(X))
    run = compiled(lambda x, mask: layer(x, attention_mask=mask))
    np.testing.assert_array_equal(array(run(tensor(X), additive)), 0.0)
    np.testing.assert_allclose(
        array(run(tensor(X), tensor(PAIRS.astype("float32")))),
        array(layer(tensor(X), attention_mask=tensor(PAIRS))),
        atol=1e-6,
    )


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the graphs of other backends raise nothing")
def test_a_graph_of_tensorflow_refuses_an_additive_mask():
    import tensorflow as tf

    layer = layers.MaskedMeanPooling()
    run = tf.function(lambda x, mask: layer(x, mask=mask))
    np.testing.assert_array_equal(array(run(X, REAL.astype("float32"))), array(layer(X, mask=tensor(REAL))))
    with pytest.raises(tf.errors.InvalidArgumentError, match="`mask` must be boolean.*`attention_bias`"):
        run(X, np.where(REAL, 0.0, -1e9).astype("float32"))
