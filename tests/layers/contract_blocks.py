"""Rows of the contract table for the blocks."""

import keras

from keras_tx import layers

from .contract_rows import HEADS, INTERMEDIATE, OTHER, Row, X, with_context


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


def _co_attention(dtype=None, **kwargs):
    attention = layers.MultiHeadCrossAttention(HEADS, name="attention", dtype=dtype)
    return layers.TransformerEncoder(INTERMEDIATE, attention=attention, normalize_branch=True, dtype=dtype, **kwargs)


def _all_norms(**kwargs):
    options = {"normalize_first": True, "normalize_branch": True, "layer_scale": 0.5}
    norm = keras.layers.RMSNormalization()
    return layers.TransformerEncoder(INTERMEDIATE, HEADS, activation="gelu", norm=norm, **options, **kwargs)


BLOCKS = [
    Row(
        layers.TransformerDecoder,
        lambda **kw: layers.TransformerDecoder(
            INTERMEDIATE, HEADS, dropout=0.1, normalize_first=True, attention_dropout=0.2, **kw
        ),
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
        lambda **kw: layers.TransformerDecoder(INTERMEDIATE, HEADS, normalize_first=True, parallel=True, **kw),
        trainable=14,
        inner=("attention/value", "feed_forward/intermediate"),
        attentions=("attention",),
        variant="parallel",
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
        lambda **kw: layers.TransformerEncoder(INTERMEDIATE, HEADS, dropout=0.1, recompute=True, **kw),
        trainable=16,
        seeds=3,
        inner=("attention/query",),
        attentions=("attention",),
        variant="recompute",
    ),
    Row(
        layers.TransformerEncoder,
        _all_norms,
        trainable=18,
        inner=("attention/attention_output",),
        attentions=("attention",),
        variant="all-norms",
    ),
    Row(
        layers.TransformerEncoder,
        _co_attention,
        inputs=(X, OTHER),
        call=with_context,
        trainable=16,
        inner=("attention/query",),
        attentions=("attention",),
        variant="context",
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
