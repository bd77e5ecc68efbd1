"""Functional models drawn at random from the layers and their arguments, for what has to be true of all of them."""

import random
from dataclasses import dataclass

import keras
import numpy as np

from keras_tx import layers

from .layers.contract_rows import stir

VOCABULARY, WIDTH, LONGEST, CLASSES = 11, 8, 24, 3


@dataclass(frozen=True)
class Drawn:
    """A model, and what tests need to know of it.

    Attributes:
        model: the functional model, with weights away from their start.
        kind: "decoder", "translator", "encoder" or "images".
        story: the choices that were made, for the message of a test that fails.
    """

    model: keras.Model
    kind: str
    story: str

    @property
    def decodes(self):
        return self.kind in ("decoder", "translator")

    def values(self, batch=3, length=7, seed=0):
        """Returns arrays for the model's inputs; the last ids of the second row are padding, zeros."""
        numbers = np.random.default_rng(seed)
        if self.kind == "images":
            return [numbers.normal(size=(batch, 8, length + 4, 3)).astype("float32")]
        values = [numbers.integers(1, VOCABULARY, (batch, length)).astype("int32") for _ in self.model.inputs]
        for ids in values if self.kind != "decoder" else ():
            ids[1, length - 2 :] = 0
        return values


class Choices:
    """Draws arguments, and remembers what it drew."""

    def __init__(self, seed):
        self.random, self.story = random.Random(seed), []

    def of(self, name, *options):
        """Returns one of the options; the first is the usual one, and comes half of the time."""
        value = options[0] if self.random.random() < 0.5 else self.random.choice(options[1:] or options)
        if value is not options[0]:
            shown = value.get_config()["name"] if isinstance(value, keras.Layer) else value
            self.story.append(f"{name}={shown}")
        return value

    def attention(self, causal):
        """Returns a self-attention for a block's slot, or `None` for the block's own."""
        if not self.of("own attention", False, True):
            return None
        heads = self.of("num_heads", 2, 4)
        return layers.MultiHeadSelfAttention(
            heads,
            key_dim=self.of("key_dim", None, 6),
            num_key_value_heads=self.of("num_key_value_heads", None, 1, heads // 2),
            causal=causal,
            use_bias=self.of("use_bias", True, False),
            rotary=self.of("rotary", None, layers.RotaryEmbedding(self.of("max_wavelength", 1e4, 50.0))),
            window=self.of("window", None, 2, 4),
            scale=self.of("scale", None, 0.7),
            query_norm=self.of("query_norm", None, layers.RMSNormalization(zero_centered=True)),
        )

    def feed_forward(self):
        """Returns a layer for a block's slot, or `None` for the block's own."""
        plain = [keras.layers.Dense(12, "gelu"), keras.layers.Dense(WIDTH)]
        return self.of("feed_forward", None, layers.FeedForward(12, "silu"), keras.Sequential(plain))

    def block(self, cls, has_context=False):
        """Returns an encoder or a decoder block."""
        attention, network = self.attention(cls is layers.TransformerDecoder), self.feed_forward()
        first, activation = self.of("normalize_first", False, True), self.of("activation", "relu", "gelu")
        return cls(
            None if network else 16,
            attention.num_heads if attention else 2,
            activation="relu" if network else activation,
            normalize_first=first,
            attention=attention,
            feed_forward=network,
            norm=self.of("norm", None, keras.layers.RMSNormalization(), keras.layers.LayerNormalization(center=False)),
            normalize_branch=self.of("normalize_branch", False, True),
            parallel=self.of("parallel", False, first and not has_context),
            layer_scale=self.of("layer_scale", None, 0.5),
            recompute=self.of("recompute", False, True),
        )

    def embedding(self, mask_zero):
        """Returns the embedding of tokens, and a function ids -> vectors with positions."""
        kind = self.of("positions", "table", "sinusoidal", "learned")
        if kind == "table":
            embedding = layers.TokenAndPositionEmbedding(VOCABULARY, LONGEST, WIDTH, mask_zero=mask_zero)
            return embedding, embedding
        embedding = keras.layers.Embedding(VOCABULARY, WIDTH, mask_zero=mask_zero)
        places = (
            layers.SinusoidalPositionEncoding() if kind == "sinusoidal" else layers.LearnedPositionEncoding(LONGEST)
        )
        return embedding, lambda ids: places(embedding(ids))

    def stack(self, cls, x, *context):
        """Applies blocks, plain layers between them, and nested models."""
        for _ in range(self.of("blocks", 1, 2)):
            # Keras drops the mask of what a nested model gives, and says so.
            if self.of("nested", False, cls is layers.TransformerDecoder and not context):
                inputs = keras.Input((None, WIDTH))
                x = keras.Model(inputs, self.block(cls)(inputs))(x)
            else:
                x = self.block(cls, bool(context))(x, *context)
            between = self.of("between", None, "norm", "dense", "residual")
            if between == "norm":
                x = keras.layers.LayerNormalization()(x)
            elif between == "dense":
                x = keras.layers.Dense(WIDTH, "tanh")(x)
            elif between == "residual":
                attended = layers.MultiHeadSelfAttention(2, causal=cls is layers.TransformerDecoder)(x)
                x = keras.layers.Add()([x, attended])  # x + y is an operation, and carries no mask
        return x

    def head(self, x, embedding):
        """Logits over the vocabulary."""
        table = isinstance(embedding, layers.TokenAndPositionEmbedding)
        if table and self.of("tied", False, True):
            return layers.TiedLogits(embedding)(x)
        return keras.layers.Dense(VOCABULARY)(x)


def draw(seed):
    """Returns the `Drawn` model of a seed, the same on every backend."""
    keras.utils.set_random_seed(seed)
    choices = Choices(seed)
    kind = ("decoder", "encoder", "translator", "images")[seed % 4]
    if kind == "images":
        inputs = keras.Input((None, None, 3))
        outputs = _of_images(choices, inputs)
    else:
        inputs = keras.Input((None,), dtype="int32", name="token_ids")
        embedding, embed = choices.embedding(mask_zero=kind == "encoder")
        if kind == "decoder":
            outputs = choices.head(choices.stack(layers.TransformerDecoder, embed(inputs)), embedding)
        elif kind == "encoder":
            x = choices.stack(layers.TransformerEncoder, embed(inputs))
            x = layers.MaskedMeanPooling()(x) if choices.of("pooled", True, False) else x
            outputs = keras.layers.Dense(CLASSES)(x)
        else:
            source = keras.Input((None,), dtype="int32", name="source_ids")
            context = choices.stack(layers.TransformerEncoder, choices.embedding(mask_zero=True)[1](source))
            outputs = choices.head(choices.stack(layers.TransformerDecoder, embed(inputs), context), embedding)
            inputs = [source, inputs]
    model = keras.Model(inputs, outputs)
    stir(model)
    return Drawn(model, kind, f"seed {seed}, {kind}: {', '.join(choices.story)}")


def _of_images(choices, inputs):
    x = layers.PatchEmbedding(2, WIDTH, padding="mask")(inputs)
    for _ in range(choices.of("blocks", 1, 2)):
        window = choices.of("window", (2, 2), (3, 2), (4, 4))
        shift = choices.of("shift", (0, 0), tuple(size // 2 for size in window))
        attention = layers.WindowAttention(2, window, shift)
        block = {"normalize_first": choices.of("normalize_first", False, True), "attention": attention}
        x = layers.TransformerEncoder(16, **block, recompute=choices.of("recompute", False, True))(x)
    if choices.of("merged", False, True):
        x = layers.PatchMerging()(x)
    if choices.of("class token", False, True):
        x = layers.ClassToken()(x)
    return keras.layers.Dense(CLASSES)(layers.MaskedMeanPooling()(x))
