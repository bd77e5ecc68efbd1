"""Small models that decode, made once for all tests: a user's own, and GPT with each kind of positions."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.applications import GPT

SIZES = {"vocabulary_size": 40, "sequence_length": 300, "num_layers": 2, "num_heads": 4, "hidden_dim": 16}


def own_model(vocabulary_size=11, length=64):
    """What a user writes: keras.Input, layers of the package, a plain Dense, and a nested model."""
    inner_inputs = keras.Input((None, 16))
    inner = keras.Model(inner_inputs, layers.TransformerDecoder(32, 2, name="block")(inner_inputs), name="inner")
    ids = keras.Input((None,), dtype="int32")
    x = layers.TokenAndPositionEmbedding(vocabulary_size, length, 16)(ids)
    x = layers.MultiHeadSelfAttention(
        4, num_key_value_heads=2, causal=True, rotary=layers.RotaryEmbedding(), name="attention"
    )(x)
    x = inner(keras.layers.LayerNormalization()(x))
    return keras.Model(ids, keras.layers.Dense(vocabulary_size, name="head")(x), name="own")


def shaken(model, seed=0, scale=0.5):
    """Gives the model weights far from zero, so that its choices are clear."""
    rng = np.random.default_rng(seed)
    for weight in model.trainable_variables:
        weight.assign(ops.convert_to_numpy(weight) + scale * rng.standard_normal(weight.shape).astype("float32"))
    return model


@pytest.fixture
def as_graphs():
    """Programs are TensorFlow's graphs, not XLA's: of each that XLA compiles a hundred megabytes stay until the process ends."""
    with pytest.MonkeyPatch.context() as patch:
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            function = tf.function
            patch.setattr(
                tf, "function", lambda traced, **options: function(traced, **{**options, "jit_compile": False})
            )
        yield


@pytest.fixture(scope="session")
def make_own():
    """The function that makes a user's own model, for tests that need one of which nothing is compiled yet."""
    return own_model


@pytest.fixture(scope="session")
def own():
    """A user's own model."""
    return shaken(own_model())


@pytest.fixture(scope="session")
def gpt():
    """GPT with learned positions."""
    return shaken(GPT(**SIZES, intermediate_dim=32))


@pytest.fixture(scope="session", params=["own", "learned", "sinusoidal", "rotary"])
def any_model(request):
    """Each model that decodes."""
    if request.param in ("own", "learned"):  # of which other tests have compiled a part
        return request.getfixturevalue("own" if request.param == "own" else "gpt")
    return shaken(GPT(**{**SIZES, "num_layers": 1}, intermediate_dim=32, positions=request.param))


@pytest.fixture(scope="session")
def naive():
    """Greedy decoding without a cache: the whole sequence through the model for each token.

    What follows a position is padding to one length, so that there is one shape to compile; the models are causal.
    """

    def decode(model, prompt, count):
        ids = np.zeros((1, 64), "int32")
        ids[0, : len(prompt)] = prompt
        for end in range(len(prompt), len(prompt) + count):
            ids[0, end] = model.predict_on_batch(ids)[0, end - 1].argmax()
        return ids[0, : len(prompt) + count].tolist()

    return decode


@pytest.fixture(scope="session")
def shake():
    """The function that gives a model weights far from zero."""
    return shaken
