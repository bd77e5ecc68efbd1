"""Which models need no trial to be decoded: their graph is of classes that are known to work in steps. What it shows is true."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.applications import GPT, Llama, Translator
from keras_tx.decoding import check, check_decodable, generate, proof
from keras_tx.decoding.decoder import Decoder
from keras_tx.layers import stepwise

from ..layers.execution import BACKEND

ATTENTION = layers.MultiHeadSelfAttention


def model_of(between=lambda x: x, block=None, end=None, ids=None):
    ids = keras.Input((None,), dtype="int32") if ids is None else ids
    embedding = layers.TokenAndPositionEmbedding(9, 16, 8)
    x = (block or layers.TransformerDecoder(16, 2))(between(embedding(ids)))
    return keras.Model(ids, (end or layers.TiedLogits(embedding))(x))


def is_known(model, context=()):
    return proof.is_known(Decoder.of(model, None, context))


def of_llama():
    sizes = {"num_layers": 2, "num_heads": 4, "hidden_dim": 16, "intermediate_dim": 24, "num_key_value_heads": 2}
    return Llama(9, **sizes, query_key_norm="all", window=[None, 3], parallel=True, tied=True)


def of_distances():
    ids = keras.Input((None,), dtype="int32")
    embedding = layers.TokenAndPositionEmbedding(9, None, 8)
    x = embedding(ids)
    bias = layers.RelativePositionBias(2, bidirectional=False)(x)
    x = layers.TransformerDecoder(16, 2)(x, distance_bias=bias)
    return keras.Model(ids, layers.TiedLogits(embedding)(x))


KNOWN = {
    "GPT": lambda: GPT(9, 16, 1, 2, 8, 16),
    "rotary": lambda: GPT(9, 16, 1, 2, 8, 16, positions="rotary"),
    "sinusoidal": lambda: GPT(9, 16, 1, 2, 8, 16, positions="sinusoidal"),
    "Llama": of_llama,
    "biases by distance": of_distances,
    "scores that nothing reads": lambda: model_of(
        block=lambda x: ATTENTION(2, causal=True)(x, return_attention_scores=True)[0]
    ),
    "ALiBi": lambda: model_of(block=ATTENTION(2, causal=True, position_bias=layers.AlibiBias(2))),
    "Keras' layers": lambda: model_of(
        lambda x: keras.layers.Dropout(0.1)(keras.layers.LayerNormalization()(ops.tanh(x * 2.0) + x)),
        end=keras.layers.Dense(9, activation="softmax"),
    ),
    "merged": lambda: model_of(
        lambda x: keras.layers.Add()([x, layers.FeedForward(16, "gelu", gated=True)(x)]),
        layers.MultiHeadSelfAttention(2, causal=True, key_norm=keras.layers.RMSNormalization()),
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_known_is_what_a_trial_finds(name, monkeypatch):
    model = KNOWN[name]()
    assert is_known(model)
    head = Decoder.of(model).head
    if BACKEND == "jax" and name != "biases by distance":
        return  # a trial there compiles each operation
    monkeypatch.setattr(proof, "is_known", lambda decoder: False)
    check_decodable(model)
    assert Decoder.of(model).head == head


@pytest.mark.once
def test_a_context_is_known_where_only_an_attention_to_it_takes_it():
    model = Translator(9, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
    assert is_known(model, ["source_ids"])
    source = keras.Input((None, 8), name="source")
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = layers.TokenAndPositionEmbedding(9, 16, 8)(ids)
    mixed = keras.Model([ids, source], keras.layers.Dense(9)(layers.TransformerDecoder(16, 2)(x + source)))
    assert not is_known(mixed, ["source"])


class Shifted(layers.TransformerDecoder):
    """Changes what it inherits."""

    def call(self, inputs, **others):
        return super().call(ops.roll(inputs, 1, axis=1), **others)


class Turned(keras.layers.Layer):
    """A slot of one's own."""

    def call(self, inputs, positions):
        return inputs


def of_matrix():
    ids = keras.Input((4,))
    return keras.Model(
        ids, layers.TransformerDecoder(16, 2)(layers.TokenAndPositionEmbedding(9, 16, 8)(keras.layers.Dense(4)(ids)))
    )


UNKNOWN = {
    "a subclass": lambda: model_of(block=Shifted(16, 2)),
    "a function of one's own": lambda: model_of(block=layers.TransformerDecoder(16, 2, activation=lambda x: ops.cumsum(x, 1))),
    "no order": lambda: model_of(block=ATTENTION(2)),
    "a slot of one's own": lambda: model_of(block=ATTENTION(2, causal=True, rotary=Turned())),
    "positions as a layer": lambda: model_of(lambda x: layers.RotaryEmbedding()(x)),
    "an axis of positions": lambda: model_of(lambda x: keras.layers.LayerNormalization(axis=1)(x), ids=keras.Input((4,))),
    "a constant for each position": lambda: model_of(lambda x: x + np.ones((4, 8), "float32"), ids=keras.Input((4,))),
    "a part of the positions": lambda: model_of(lambda x: x + x[:, :1]),
    "an operation": lambda: model_of(lambda x: ops.cumsum(x, axis=1)),
    "Keras' attention": lambda: model_of(block=layers.TransformerDecoder(16, attention=keras.layers.MultiHeadAttention(2, 4))),
    "a bias": lambda: model_of(
        lambda x: ATTENTION(2, causal=True)(x, attention_bias=np.zeros((4, 4), "float32")), ids=keras.Input((4,))
    ),
    "a layer over the ids": of_matrix,
    "a head with numbers of its own": lambda: model_of(end=keras.layers.Dense(9, activation="relu")),
    "a batch": lambda: model_of(lambda x: keras.layers.BatchNormalization()(x)),
}  # fmt: skip


@pytest.mark.once
@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_is_tried(name):
    assert not is_known(UNKNOWN[name]())


@pytest.mark.once
def test_a_class_of_ones_own_may_say_that_it_works_in_steps(monkeypatch):
    class Told(Shifted):
        is_stepwise = True

    assert stepwise.is_stepwise(Told(16, 2))
    assert not stepwise.is_stepwise(Shifted(16, 2))
    tried = []
    monkeypatch.setattr(check, "_check_layers", lambda *given: tried.append(given))
    generate(model_of(block=Told(16, 2)), [[1, 2]], 1)
    assert not tried


def test_a_model_that_asks_for_attention_scores_decodes_as_one_that_does_not():
    models = []
    for asks in (False, True):
        keras.utils.set_random_seed(0)
        ids, source = keras.Input((None,), dtype="int32", name="ids"), keras.Input((None, 8), name="source")
        embedding = layers.TokenAndPositionEmbedding(9, 16, 8)
        x = layers.TransformerDecoder(16, 2)(embedding(ids))
        y = layers.MultiHeadCrossAttention(2, name="cross")(x, source, return_attention_scores=asks)
        x = keras.layers.Add()([x, y[0] if asks else y])
        models.append(keras.Model([ids, source], layers.TiedLogits(embedding)(x)))
    given = {"context": {"source": np.random.default_rng(0).standard_normal((2, 3, 8)).astype("float32")}}
    found = [np.asarray(generate(model, [[1, 2], [3, 4]], 4, **given)) for model in models]
    assert np.array_equal(*found)
