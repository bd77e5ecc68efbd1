"""Layers with a cache, and what they are stepped with."""

import keras
import numpy as np

from keras_tx import layers

from .contract_rows import VOCABULARY

BATCH, LENGTH, SIZE, WIDTH = 2, 6, 8, 16

_RANDOM = np.random.default_rng(11)
FLOATS = _RANDOM.normal(size=(BATCH, LENGTH, WIDTH)).astype("float32")
IDS = _RANDOM.integers(1, VOCABULARY, (BATCH, LENGTH)).astype("int32")
CONTEXT = _RANDOM.normal(size=(BATCH, 4, WIDTH)).astype("float32")
BIAS = _RANDOM.normal(size=(5, 2)).astype("float32")
CONTEXT_REAL = np.array([[1, 1, 1, 0], [0, 1, 1, 1]], bool)


def _rotary():
    scaling = {"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32}
    norms = {slot: keras.layers.RMSNormalization() for slot in ("query_norm", "key_norm")}
    rotary = layers.RotaryEmbedding(100.0, rotary_dim=2, interleaved=True, scaling=scaling)
    return layers.MultiHeadSelfAttention(4, num_key_value_heads=2, causal=True, rotary=rotary, scale=0.7, **norms)


def _biased():
    bias = layers.WindowPositionBias(2, (1, SIZE), "normal")
    return layers.MultiHeadSelfAttention(2, causal=True, position_bias=bias)


STEPPERS = {
    "causal": lambda: layers.MultiHeadSelfAttention(2, causal=True),
    "grouped": lambda: layers.MultiHeadSelfAttention(4, num_key_value_heads=2, causal=True),
    "rotary": _rotary,
    "position bias": _biased,
    "alibi": lambda: layers.MultiHeadSelfAttention(2, causal=True, position_bias=layers.AlibiBias(2)),
    "distance bias": lambda: layers.MultiHeadSelfAttention(2, causal=True),
    "decoder, distance bias": lambda: layers.TransformerDecoder(32, 2),
    "decoder": lambda: layers.TransformerDecoder(32, 2, normalize_first=True, parallel=True),
    "decoder, rotary": lambda: layers.TransformerDecoder(32, attention=_rotary()),
    "decoder, context": lambda: layers.TransformerDecoder(32, 2, normalize_branch=True, layer_scale=0.5),
    "learned positions": lambda: layers.TokenAndPositionEmbedding(VOCABULARY, SIZE, WIDTH),
    "learned positions alone": lambda: layers.LearnedPositionEncoding(SIZE),
    "sine positions": lambda: layers.SinusoidalPositionEncoding(100.0),
}
