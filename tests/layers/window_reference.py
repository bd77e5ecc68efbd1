"""Attention in windows in plain numpy: one query at a time, from the definition."""

import numpy as np


def window_attention(x, real, weights, window, shift):
    """Returns the outputs (B, Y, X, D) and the weights (B, N, Y X, Y X) of masked window attention.

    Args:
        x: float array (B, Y, X, D).
        real: boolean array (B, Y, X).
        weights: dict of the kernels and biases of "query", "key", "value" and "attention_output", and of "bias_table".
        window: (rows, columns).
        shift: (rows, columns).
    """
    batch, rows, columns, width = x.shape
    places = [(row, column) for row in range(rows) for column in range(columns)]
    shift = [step if size > part else 0 for size, part, step in zip((rows, columns), window, shift, strict=True)]
    x = np.where(real[..., None], x, 0.0)
    flat = x.reshape(batch, -1, width)
    query, key, value = (
        np.einsum("bpd,dnh->bpnh", flat, weights[name][0]) + weights[name][1] for name in ("query", "key", "value")
    )
    heads, size = query.shape[2:]
    scores = np.zeros((batch, heads, len(places), len(places)))
    context = np.zeros((batch, len(places), heads, size))
    for b in range(batch):
        for t, here in enumerate(places):
            if not real[b][here]:
                continue
            # Windows begin at the shift, less whole windows: those above and to the left of it are cut short.
            seen = [
                s
                for s, there in enumerate(places)
                if real[b][there] and _window(here, window, shift) == _window(there, window, shift)
            ]
            for n in range(heads):
                logits = [
                    query[b, t, n] @ key[b, s, n] / np.sqrt(size)
                    + _bias(weights["bias_table"], here, places[s], window)[n]
                    for s in seen
                ]
                share = np.exp(np.array(logits) - max(logits))
                share /= share.sum()
                scores[b, n, t, seen] = share
                context[b, t, n] = share @ value[b, seen, n]
    kernel, bias = weights["attention_output"]
    outputs = np.einsum("bpnh,nhd->bpd", context, kernel) + bias
    outputs = np.where(real.reshape(batch, -1)[..., None], outputs, 0.0)
    return outputs.reshape(x.shape), scores


def _window(place, window, shift):
    return tuple((at - step) // part for at, part, step in zip(place, window, shift, strict=True))


def _bias(table, query, key, window):
    row, column = (q - k + part - 1 for q, k, part in zip(query, key, window, strict=True))
    return table[row * (2 * window[1] - 1) + column]
