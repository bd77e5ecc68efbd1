"""Drafts for tests: one that propose what a test says, and the models that drafts are tried with."""

import keras
from keras import ops

from keras_tx import layers
from keras_tx.applications import GPT, T5, Llama, Translator
from keras_tx.decoding.drafts import Drafter

from .conftest import own_model, shaken

VOCABULARY = 11
SMALL = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 24}


class Script(Drafter):
    """Proposes the right tokens in some steps, and wrong ones in the others.

    Args:
        rows: int (B, S), what the rows come to be.
        num_tokens: int.
        is_right: function (int32 (B, k) places in the row, int32 (B, 1) rows) -> boolean (B, k).
    """

    def __init__(self, rows, num_tokens, is_right):
        super().__init__(num_tokens)
        self.rows, self.is_right = rows, is_right

    def static(self):
        return {**super().static(), "rows": id(self.rows), "right": self.is_right}

    def propose(self, kept, history, lengths, going, limits, choose):
        known = ops.convert_to_tensor(self.rows, dtype="int32")
        places = lengths[:, None] + ops.arange(self.num_tokens, dtype="int32")[None]
        right = ops.take_along_axis(known, ops.minimum(places, known.shape[1] - 1), axis=1)
        rows = ops.arange(known.shape[0], dtype="int32")[:, None]
        return ops.where(self.is_right(places, rows), right, ops.mod(right + 1, VOCABULARY)), lambda accepted: kept


@keras.saving.register_keras_serializable(package="tests")
class Summed(keras.layers.Layer):
    """A layer of one's own with a cache of its own kind: each position gets the mean of those up to it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs, mask=None, cache=None):
        real = ops.ones(ops.shape(inputs)[:2]) if mask is None else ops.cast(mask, "float32")
        before = 0.0 if cache is None else cache[0][:, None]
        total = before + ops.cumsum(inputs * real[..., None], axis=1)
        outputs = inputs + total / 8.0
        return outputs if cache is None else (outputs, (total[:, -1],))

    def init_cache(self, batch_size, max_length, context=None):
        return (ops.zeros((batch_size, 16)),)


class Wrapped(keras.layers.Layer):
    """A layer of one's own whose cache is that of one of ours, and a count of tokens."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attention = layers.MultiHeadSelfAttention(2, causal=True)
        self.supports_masking = True

    def build(self, shape):
        self.attention.build(shape)

    def call(self, inputs, mask=None, cache=None):
        if cache is None:
            return inputs + self.attention(inputs)
        outputs, attended = self.attention(inputs, mask=mask, cache=cache["attended"])
        added = ops.shape(inputs)[1] if mask is None else ops.sum(ops.cast(mask, "int32"), axis=1)
        return inputs + outputs, {"attended": attended, "count": cache["count"] + added}

    def init_cache(self, batch_size, max_length, context=None):
        return {"attended": self.attention.init_cache(batch_size, max_length), "count": ops.zeros(batch_size, "int32")}

    def compute_output_shape(self, shape):
        return shape


def model_with(layer):
    ids = keras.Input((None,), dtype="int32")
    x = layer(layers.TokenAndPositionEmbedding(VOCABULARY, 128, 16)(ids))
    x = layers.TransformerDecoder(32, 2)(x)
    return keras.Model(ids, keras.layers.Dense(VOCABULARY)(x))


def windows():
    sizes = {**SMALL, "num_layers": 2, "num_heads": 4, "num_key_value_heads": 2}
    return Llama(VOCABULARY, **sizes, window=[None, 3], tied=True)


def padding():
    ids = keras.Input((None,), dtype="int32")
    x = layers.TokenAndPositionEmbedding(VOCABULARY, None, 16, mask_zero=True)(ids)
    x = layers.TransformerDecoder(32, 2)(layers.LearnedPositionEncoding(128)(x))
    return keras.Model(ids, keras.layers.Dense(VOCABULARY)(x))


MODELS = {
    "own": lambda: own_model(VOCABULARY, 128),
    "GPT": lambda: GPT(VOCABULARY, 128, **SMALL),
    "Llama with windows": windows,
    "T5": lambda: T5(VOCABULARY, **SMALL),
    "Translator": lambda: Translator(VOCABULARY, **SMALL, copies=True),
    "padding": padding,
    "layer of one's own": lambda: model_with(Wrapped()),
}


def made(name, seed=0):
    """Returns the model of a name, with weights that make its choices clear."""
    keras.utils.set_random_seed(seed)
    return shaken(MODELS[name](), seed)


def context_of(model, rows):
    """Returns what a model is given beside its ids, for so many prompts."""
    texts = [[3, 4, 5, 6, 7], [8, 9], [2, 3, 2, 3], [5]]
    return {"source_ids": [texts[row % 4] for row in range(rows)]} if len(model.inputs) > 1 else None
