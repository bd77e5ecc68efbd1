"""Models by hand under names of their own: each like that of an application up to one change, and without values."""

import keras
from keras import ops

from keras_tx import graph, layers
from keras_tx.applications import BERT, bert_pretrainer

from . import rows

SLOTS = ("attention", "feed_forward")


def attention(**options):
    """The change of a block that has an attention of its own."""
    return {"num_heads": None, "attention": lambda: layers.MultiHeadSelfAttention(2, **options)}


def feed_forward(**options):
    """The change of a block that has a feed-forward network of its own."""
    return {"intermediate_dim": None, "feed_forward": lambda: layers.FeedForward(12, **options)}


def same(x):
    return x


def _block(cls, name, **options):
    options = {key: value() if key in SLOTS else value for key, value in options.items() if value is not None}
    return cls(**options, name=name)


def gpt2(block=None, second=None, norm=None, positions=8, mask_zero=False, between=same, bias=False, **rest):
    inputs = keras.Input((None,), dtype="int32")
    embedding = layers.TokenAndPositionEmbedding(11, positions, 8, mask_zero=mask_zero)
    x = embedding(inputs)
    context = [x] if "context" in rest else []
    x = between(x)
    options = {"intermediate_dim": 12, "num_heads": 2, "normalize_first": True, **(block or {})}
    for number, change in enumerate([{}, second or {}]):
        decoder = _block(layers.TransformerDecoder, f"block_{number}", **{**options, **change})
        x = decoder(x, *context)
        if "twice" in rest:
            x = decoder(x)
    x = keras.layers.LayerNormalization(epsilon=1e-5, **(norm or {}))(x)
    head = keras.layers.Dense(3) if "dense" in rest else layers.TiedLogits(embedding, use_bias=bias)
    return keras.Model(inputs, [head(x), x] if "outputs" in rest else head(x))


def bert(block=None, second=None, norm=None, dropout=0.0, padding=0, pooler="tanh", **rest):
    ids = keras.Input((7,), dtype="int32", name="token_ids")
    segments = keras.Input((7,), dtype="int32", name="segment_ids")
    options = {"sequence_length": rest.get("positions", 8), "mask_zero": "mask_zero" in rest, "name": "words"}
    words = layers.TokenAndPositionEmbedding(11, embedding_dim=8, **options)
    x = keras.layers.Add()([words(ids), layers.SegmentEmbedding(2, 8, name="parts")(segments)])
    x = keras.layers.LayerNormalization(**{"epsilon": 1e-5, **(norm or {})}, name="first_norm")(x)
    if dropout is not None:
        x = layers.Dropout(dropout, name="first_dropout")(x)
    x = rest.get("between", same)(x)
    mask = None if padding is None else ops.not_equal(ids, padding)
    options = {"intermediate_dim": 12, "num_heads": 2, "activation": "gelu", **(block or {})}
    for number, change in enumerate([{}] if "shared" in rest else [{}, second or {}]):
        encoder = _block(layers.TransformerEncoder, f"look_{number}", **{**options, **change})
        x = encoder(x, mask=mask)
        if "shared" in rest:
            x = encoder(x, mask=mask)
    outputs = {"sequence_output": x}
    if pooler:
        outputs["pooled_output"] = keras.layers.Dense(8, activation=pooler, name="sum_up")(x[:, rest.get("place", 0)])
    return keras.Model({"token_ids": ids, "segment_ids": segments}, rest.get("outputs", same)(outputs), name="mine")


def vit(block=None, bias=True, positions=True, tokens=1, token_positions=True, activation=None, more=same):
    images = keras.Input((16, 16, 3))
    x = layers.PatchEmbedding(4, 12, use_bias=bias)(images)
    if positions:
        x = layers.GridPositionEncoding(4)(x)
    x = layers.Dropout(0.0)(layers.ClassToken(tokens, use_positions=token_positions)(x))
    options = {"intermediate_dim": 12, "num_heads": 2, "activation": "relu", "normalize_first": True, **(block or {})}
    x = _block(layers.TransformerEncoder, "block", **options)(x)
    x = keras.layers.LayerNormalization(epsilon=1e-5)(x)
    x = more(keras.layers.Dense(3, name="head", activation=activation)(x[:, 0]))
    return keras.Model(images, x, name="mine")


def bert_head(kind):
    """A BERT encoder under a head that no folder of BERT has."""
    encoder = BERT(**rows.BERT_SIZES)
    if kind == "span":
        return bert_pretrainer(encoder, span_boundary=True)
    if kind == "activation":
        return bert_pretrainer(encoder, activation="relu")
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "segment_ids")}
    encoded = encoder(inputs)
    tokens, pooled = encoded["sequence_output"], encoded["pooled_output"]
    if kind == "tied":
        other = layers.TokenAndPositionEmbedding(23, 10, 12)
        other(inputs["token_ids"])
        return keras.Model(inputs, layers.TiedLogits(other, use_bias=True)(tokens))
    outputs = {
        "two": lambda: keras.layers.Dense(3)(keras.layers.Dense(4)(pooled)),
        "tokens": lambda: keras.layers.Dense(3, name="tags")(layers.Dropout(0.1)(tokens)),
        "softmax": lambda: keras.layers.Dense(3, activation="softmax", name="classes")(layers.Dropout(0.1)(pooled)),
        "again": lambda: {**encoded, "again": pooled},
        "none": lambda: encoded,
    }
    return keras.Model(inputs, outputs[kind]())


def with_a_weight_more(model, name):
    """A copy of a model, whose layer of a name has a weight that is in no config."""

    def copied(layer):
        copy = type(layer).from_config(layer.get_config())
        if layer.name == name:
            copy.extra = copy.add_weight(name="extra", shape=(), initializer="zeros")
        return copy

    with graph.without_values():
        return keras.models.clone_model(model, clone_function=copied)
