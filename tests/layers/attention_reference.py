"""Attention in float64 and in numpy, written with loops over rows, heads and positions, as one reads it."""

import keras
import numpy as np

from .execution import array


def doubles(variable):
    return np.asarray(array(variable), "float64")


def normalized(norm, heads):
    """Heads (T, N, H) divided by their root mean square over the norm's axes, and scaled."""
    if norm is None:
        return heads
    assert isinstance(norm, keras.layers.RMSNormalization)
    axes = tuple(norm.axis)
    return heads / np.sqrt(np.mean(heads**2, axis=axes, keepdims=True) + norm.epsilon) * doubles(norm.scale)


def projected(projection, x):
    """Rows (T, D) in heads (T, N, H)."""
    heads = np.einsum("td,dhk->thk", x, doubles(projection.kernel))
    return heads if projection.bias is None else heads + doubles(projection.bias)


def attended(layer, x, context, allowed, located=None, located_context=None, rotate=lambda heads: heads, bias=None):
    """The outputs (T, D) of an attention for one row of inputs (T, D) and of a context (S, C).

    Pairs meet where `allowed` (T, S) is True; a query without keys gets zeros. Queries and keys are made of `located` and
    `located_context`, where these are given, and rotated after their norms. A bias (T, S) is added to the scores.
    """
    query = projected(layer.query, x if located is None else located)
    key = projected(layer.key, context if located_context is None else located_context)
    value = projected(layer.value, context)
    query, key = rotate(normalized(layer.query_norm, query)), rotate(normalized(layer.key_norm, key))
    scale = layer.scale or query.shape[-1] ** -0.5
    groups = query.shape[1] // key.shape[1]
    bias = np.zeros(allowed.shape) if bias is None else bias
    outputs = np.zeros(x.shape)
    kernel = doubles(layer.attention_output.kernel)  # (N, H, D)
    for place in range(len(x)):
        keys = np.flatnonzero(allowed[place])
        if not len(keys):
            continue
        for head in range(query.shape[1]):
            scores = scale * key[keys, head // groups] @ query[place, head] + bias[place, keys]
            weights = np.exp(scores - scores.max())
            outputs[place] += weights / weights.sum() @ value[keys, head // groups] @ kernel[head]
        if layer.attention_output.bias is not None:
            outputs[place] += doubles(layer.attention_output.bias)
    return outputs
