"""The contract table: a row, or some, for every public layer."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from keras_tx import graph, layers

from .execution import array, tensor

BATCH, LENGTH, CONTEXT, WIDTH, HEADS, INTERMEDIATE, VOCABULARY = 4, 5, 3, 16, 2, 32, 11
X = ("float32", (LENGTH, WIDTH))
OTHER = ("float32", (CONTEXT, WIDTH))
IDS = ("int32", (LENGTH,))
IN_HEADS = ("float32", (LENGTH, HEADS, 8))
PLACES = ("places", (CONTEXT,))  # integers below CONTEXT


def own_call(layer, *inputs):
    return layer(*inputs)


@dataclass(frozen=True)
class Row:
    """One way to make a layer, and what is to be true of it.

    Attributes:
        make: keyword arguments such as `dtype` -> the layer.
        inputs: (dtype, shape less the batch) of each call argument that is a tensor; the first axis is the time. The dtype
            "places" stands for int32 numbers that every axis has.
        outputs: shape less the batch.
        trainable, seeds: how many trainable weights and how many states of random numbers it has.
        carries_mask: whether its outputs carry the mask of its first input; `None` where masks do not concern it.
        inner: paths of the inner layers that take a low-rank adapter.
        attentions: paths of the attentions whose scores it returns, in order.
        variant: what sets the row apart from others of the same layer.
        graph_inputs, connect: where a functional model needs more than the layer: its inputs, and `(layer, *inputs) -> outputs`.
    """

    layer: type
    make: Callable
    inputs: tuple = (X,)
    outputs: tuple = (LENGTH, WIDTH)
    trainable: int = 0
    seeds: int = 0
    carries_mask: bool | None = True
    inner: tuple = ()
    attentions: tuple = ()
    variant: str = ""
    graph_inputs: tuple = ()
    connect: Callable = own_call

    def __str__(self):
        return f"{self.layer.__name__}{'-' if self.variant else ''}{self.variant}"

    def values(self, seed=0, graph=False):
        """Returns tensors for the layer's arguments, or for the inputs of its functional model."""
        return [tensor(value) for value in self.numbers(seed, graph)]

    def numbers(self, seed=0, graph=False):
        random = np.random.default_rng(seed)
        return [_draw(random, dtype, (BATCH, *shape)) for dtype, shape in (graph and self.graph_inputs) or self.inputs]

    def shapes(self):
        return [(BATCH, *shape) for _, shape in self.inputs]

    def symbols(self, batch=None, dynamic=True, graph=True):
        """Returns symbolic inputs, with unknown time where `dynamic`."""
        return [
            keras.Input(batch_shape=(batch, None if dynamic else shape[0], *shape[1:]), dtype=dtype.replace(*_NUMBERS))
            for dtype, shape in (graph and self.graph_inputs) or self.inputs
        ]

    def built(self, **kwargs):
        """Returns the layer, built, with every weight away from its start (biases are not zero)."""
        layer = self.make(**kwargs)
        layer.build(*self.shapes())
        stir(layer)
        return layer

    def model(self, layer=None):
        """Returns a functional model of this layer alone, for any batch and any length."""
        inputs = self.symbols()
        layer = layer or self.make(name="layer")
        model = keras.Model(inputs, self.connect(layer, *inputs))
        stir(model)
        return model


def stir(layer, seed=3):
    """Moves every weight a little from its start."""
    random = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        noise = random.normal(0, 0.1, weight.shape).astype("float32")
        weight.assign(array(weight) + noise)


def find(layer, path):
    """Returns the sublayer at a path of attributes or names; the layer itself for an empty path."""
    for name in path.split("/") if path else ():
        layer = getattr(layer, name, None) or next(part for _, part in graph.parts(layer) if part.name == name)
    return layer


def joint_model(rows):
    """Returns a functional model with a branch for each row; the layers are named "layer_0" and so on."""
    inputs, outputs = [], []
    for number, row in enumerate(rows):
        own = row.symbols()
        inputs += own
        outputs.append(row.connect(row.make(name=f"layer_{number}"), *own))
    return keras.Model(inputs, outputs)


def joint_numbers(rows):
    """Returns numbers for the inputs of the joint model."""
    return [value for row in rows for value in row.numbers(graph=True)]


def reloaded(model, folder):
    """Returns what comes back from the model's `.keras` file, without its optimizer."""
    path = folder / "model.keras"
    model.save(path)
    return keras.models.load_model(path, compile=False)


_NUMBERS = ("places", "int32")


def _draw(random, dtype, shape):
    if dtype == "places":
        return random.integers(0, CONTEXT, shape).astype("int32")
    if dtype == "int32":
        return random.integers(1, VOCABULARY, shape).astype("int32")
    return random.normal(size=shape).astype(dtype)


def _rotary_attention(dtype=None, **kwargs):
    rotary = layers.RotaryEmbedding(100.0, name="rotary", dtype=dtype)
    return layers.MultiHeadSelfAttention(4, 4, 2, causal=True, use_bias=False, rotary=rotary, dtype=dtype, **kwargs)


def _tied(dtype=None, **kwargs):
    embedding = layers.TokenAndPositionEmbedding(VOCABULARY, 8, WIDTH, name="embedding", dtype=dtype)
    return layers.TiedLogits(embedding, use_bias=True, dtype=dtype, **kwargs)


def _slots(block, dtype=None, **kwargs):
    """A block with a layer of the caller's in each slot."""
    causal = block is layers.TransformerDecoder
    slots = {
        "attention": layers.MultiHeadSelfAttention(HEADS, None, 1, causal, name="attention", dtype=dtype),
        "feed_forward": layers.FeedForward(INTERMEDIATE, "gelu", gated=True, name="network", dtype=dtype),
    }
    if causal:
        slots["cross_attention"] = layers.MultiHeadCrossAttention(HEADS, key_dim=4, name="cross", dtype=dtype)
    return block(**slots, dtype=dtype, **kwargs)


ROWS = [
    Row(
        layers.Dropout,
        lambda **kw: layers.Dropout(0.25, noise_shape=(None, 1, None), seed=1, **kw),
        seeds=1,
    ),
    Row(layers.DropPath, lambda **kw: layers.DropPath(0.25, seed=1, **kw), seeds=1),
    Row(
        layers.FeedForward,
        lambda **kw: layers.FeedForward(INTERMEDIATE, dropout=0.1, **kw),
        trainable=4,
        seeds=1,
        inner=("intermediate", "output_dense"),
    ),
    Row(
        layers.FeedForward,
        lambda **kw: layers.FeedForward(INTERMEDIATE, "silu", gated=True, use_bias=False, **kw),
        trainable=3,
        inner=("intermediate", "gate", "output_dense"),
        variant="gated",
    ),
    Row(
        layers.GatherPositions,
        lambda **kw: layers.GatherPositions(**kw),
        inputs=(X, PLACES),
        outputs=(CONTEXT, WIDTH),
        carries_mask=False,
    ),
    Row(
        layers.MaskedMeanPooling,
        lambda **kw: layers.MaskedMeanPooling(**kw),
        outputs=(WIDTH,),
        carries_mask=False,
    ),
    Row(
        layers.MultiHeadCrossAttention,
        lambda **kw: layers.MultiHeadCrossAttention(HEADS, dropout=0.1, **kw),
        inputs=(X, OTHER),
        trainable=8,
        seeds=1,
        inner=("query", "key", "value", "attention_output"),
        attentions=("",),
    ),
    Row(
        layers.MultiHeadCrossAttention,
        lambda **kw: layers.MultiHeadCrossAttention(HEADS, 4, 1, use_bias=False, **kw),
        inputs=(X, ("float32", (CONTEXT, 12))),
        trainable=4,
        inner=("query", "key"),
        attentions=("",),
        variant="grouped",
    ),
    Row(
        layers.MultiHeadSelfAttention,
        lambda **kw: layers.MultiHeadSelfAttention(HEADS, dropout=0.1, **kw),
        trainable=8,
        seeds=1,
        inner=("query", "key", "value", "attention_output"),
        attentions=("",),
    ),
    Row(
        layers.MultiHeadSelfAttention,
        _rotary_attention,
        trainable=4,
        inner=("query", "value"),
        attentions=("",),
        variant="causal-grouped-rotary",
    ),
    Row(
        layers.RotaryEmbedding,
        lambda **kw: layers.RotaryEmbedding(100.0, **kw),
        inputs=(IN_HEADS,),
        outputs=IN_HEADS[1],
        carries_mask=None,
    ),
    Row(
        layers.SegmentEmbedding,
        lambda **kw: layers.SegmentEmbedding(VOCABULARY, WIDTH, **kw),
        inputs=(IDS,),
        trainable=1,
        inner=("segment_embedding",),
    ),
    Row(
        layers.SinusoidalPositionEncoding,
        lambda **kw: layers.SinusoidalPositionEncoding(100.0, **kw),
    ),
    Row(
        layers.SpanBoundary,
        lambda **kw: layers.SpanBoundary(CONTEXT, **kw),
        inputs=(X, PLACES, PLACES, PLACES),
        outputs=(CONTEXT, WIDTH),
        trainable=9,
        carries_mask=False,
        inner=("boundary", "transform"),
    ),
    Row(
        layers.TiedLogits,
        _tied,
        outputs=(LENGTH, VOCABULARY),
        trainable=3,
        inner=("embedding/token_embedding",),
        graph_inputs=(IDS,),
        connect=lambda layer, ids: layer(layer.embedding(ids)),
    ),
    Row(
        layers.TokenAndPositionEmbedding,
        lambda **kw: layers.TokenAndPositionEmbedding(VOCABULARY, 8, WIDTH, embeddings_initializer="he_normal", **kw),
        inputs=(IDS,),
        trainable=2,
        inner=("token_embedding",),
    ),
    Row(
        layers.TransformerDecoder,
        lambda **kw: layers.TransformerDecoder(INTERMEDIATE, HEADS, dropout=0.1, normalize_first=True, **kw),
        trainable=16,
        seeds=3,
        inner=("attention/query", "feed_forward/intermediate"),
        attentions=("attention",),
    ),
    Row(
        layers.TransformerDecoder,
        lambda **kw: layers.TransformerDecoder(INTERMEDIATE, HEADS, dropout=0.1, activation="gelu", **kw),
        inputs=(X, OTHER),
        trainable=26,
        seeds=5,
        inner=("attention/query", "cross_attention/key", "feed_forward/output_dense"),
        attentions=("attention", "cross_attention"),
        variant="context",
    ),
    Row(
        layers.TransformerDecoder,
        lambda **kw: _slots(layers.TransformerDecoder, **kw),
        inputs=(X, OTHER),
        trainable=28,
        inner=("attention/value", "network/gate"),
        attentions=("attention", "cross"),
        variant="slots",
    ),
    Row(
        layers.TransformerEncoder,
        lambda **kw: layers.TransformerEncoder(INTERMEDIATE, HEADS, dropout=0.1, drop_path=0.1, **kw),
        trainable=16,
        seeds=5,
        inner=("attention/query", "feed_forward/intermediate"),
        attentions=("attention",),
    ),
    Row(
        layers.TransformerEncoder,
        lambda **kw: layers.TransformerEncoder(INTERMEDIATE, HEADS, activation="gelu", normalize_first=True, **kw),
        trainable=16,
        inner=("attention/attention_output",),
        attentions=("attention",),
        variant="pre-norm",
    ),
    Row(
        layers.TransformerEncoder,
        lambda **kw: _slots(layers.TransformerEncoder, **kw),
        trainable=18,
        inner=("attention/key", "network/intermediate"),
        attentions=("attention",),
        variant="slots",
    ),
]
