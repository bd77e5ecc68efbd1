"""Which models need no trial to be decoded: their graph is of classes that are known to work in steps. What it shows is true."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.applications import GPT, Llama, Translator
from keras_tx.decoding import check, check_decodable, generate, proof
from keras_tx.decoding.decoder import Decoder
from keras_tx.graph import layer_calls
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


@pytest.fixture
def tried(monkeypatch):
    """The list of the layers that are called with a part of the positions; `None` stands in it for a full pass."""
    found, full_pass, try_layer = [], check._full_pass, check._try_layer

    def pass_and_note(*args, **kwargs):
        found.append(None)
        return full_pass(*args, **kwargs)

    def try_and_note(layer, *others):
        found.append(layer)
        return try_layer(layer, *others)

    monkeypatch.setattr(check, "_full_pass", pass_and_note)
    monkeypatch.setattr(check, "_try_layer", try_and_note)
    return found


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_known_is_what_a_trial_finds(name, monkeypatch, tried):
    model = KNOWN[name]()
    check_decodable(model)
    assert not tried
    head, decoder = Decoder.of(model).head, Decoder.of(model)
    assert head is not None
    if BACKEND == "jax" and name != "biases by distance":
        return  # where each trial is compiled
    decoder.is_checked = False
    monkeypatch.setattr(proof, "is_known", lambda decoder: False)
    monkeypatch.setattr(proof, "known_calls", lambda decoder: set())
    check_decodable(model)
    assert decoder.head == head
    assert len(tried) == 1 + len(layer_calls(model))


class Doubled(keras.layers.Layer):
    """A class that nothing is known of."""

    def call(self, x):
        return 2 * x


def test_only_a_layer_of_an_unknown_class_is_tried(tried):
    doubled = Doubled(name="doubled")
    model = model_of(lambda x: doubled(keras.layers.Dense(8)(x)))
    check_decodable(model)
    check_decodable(model)
    assert tried == [None, doubled]


class Swapped(keras.layers.Dense):
    """Inherits from a class that is known, with a call of its own."""

    def call(self, x):
        return super().call(ops.flip(x, axis=1))


ADVERSARIES = {
    "a subclass": (lambda x: Swapped(8, name="bad")(x), "'bad'"),
    "a normalization": (lambda x: keras.layers.LayerNormalization(axis=1, name="bad")(x), "'bad'"),
    "a softmax": (lambda x: x * keras.layers.Softmax(axis=1, name="bad")(4 * x), "'bad'"),
    "a transposition": (lambda x: keras.layers.Permute((2, 1), name="bad")(x), "'bad'"),
    "a function": (lambda x: keras.layers.Lambda(lambda x: ops.cumsum(x, 1), name="bad")(x), "'bad'"),
    "a mean": (lambda x: x + 3 * ops.mean(x, axis=1, keepdims=True), "step by step"),
    "a slice": (lambda x: x + 3 * x[:, :1], "step by step"),
}


@pytest.mark.parametrize("name", ADVERSARIES)
def test_what_mixes_positions_among_known_layers_is_refused(name):
    between, said = ADVERSARIES[name]
    # The length is that of the vectors, so that shapes tell nothing.
    model = model_of(lambda x: keras.layers.Dense(8)(between(keras.layers.Dense(8)(x))), ids=keras.Input((8,)))
    rng = np.random.default_rng(0)
    for weight in model.trainable_variables:
        weight.assign(rng.standard_normal(weight.shape))
    with pytest.raises(ValueError, match=f"`model` must .*{said}"):
        check_decodable(model)


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
def test_a_class_of_ones_own_may_say_that_it_works_in_steps(tried):
    class Told(Shifted):
        is_stepwise = True

    assert stepwise.is_stepwise(Told(16, 2))
    assert not stepwise.is_stepwise(Shifted(16, 2))
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
