"""Rows of the contract table for the attentions."""

import keras

from keras_tx import layers

from .contract_rows import CONTEXT, HEADS, OTHER, Row, X


def _norm(slot, dtype, axis=-1):
    return keras.layers.RMSNormalization(axis, name=slot, dtype=dtype)


def _rotary_attention(dtype=None, **kwargs):
    scaling = {"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32}
    rotary = layers.RotaryEmbedding(100.0, 2, interleaved=True, scaling=scaling, name="rotary", dtype=dtype)
    return layers.MultiHeadSelfAttention(
        4,
        4,
        2,
        causal=True,
        use_bias=False,
        rotary=rotary,
        scale=0.7,
        query_norm=_norm("query_norm", dtype),
        key_norm=_norm("key_norm", dtype),
        window=3,
        dtype=dtype,
        **kwargs,
    )


def _biased_attention(dtype=None, **kwargs):
    bias = layers.WindowPositionBias(HEADS, (1, 9), "normal", name="position_bias", dtype=dtype)
    return layers.MultiHeadSelfAttention(HEADS, position_bias=bias, dtype=dtype, **kwargs)


def _normalized_cross_attention(dtype=None, **kwargs):
    """One whose norms go over all heads of a position."""
    norms = {slot: _norm(slot, dtype, axis=(-2, -1)) for slot in ("query_norm", "key_norm")}
    return layers.MultiHeadCrossAttention(
        HEADS, 4, 1, use_bias=False, use_output_bias=True, scale=1.0, dtype=dtype, **norms, **kwargs
    )


ATTENTIONS = [
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
        _normalized_cross_attention,
        inputs=(X, ("float32", (CONTEXT, 12))),
        trainable=7,
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
        trainable=6,
        inner=("query", "value"),
        attentions=("",),
        variant="causal-grouped-rotary",
    ),
    Row(
        layers.MultiHeadSelfAttention,
        _biased_attention,
        trainable=9,
        inner=("query",),
        attentions=("",),
        variant="position-bias",
    ),
]
