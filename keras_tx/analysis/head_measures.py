"""How much of a head's attention goes where, from the weights alone: sums over keys, and means over queries."""

import numpy as np

# Where a key lies, in the order in which ties are decided. "own_part" and "entropy" stand apart: see `attention_patterns`.
PLACES = ("next", "previous", "self", "same", "separator", "first", "punctuation")
MEASURES = (*PLACES, "own_part", "entropy")


def measure(scores, crosses, ids=None, mask=None, separators=(), punctuation=(), parts=None):
    """Returns what `attention_patterns` tells of the heads of one layer: each of `MEASURES` as float32 (N,).

    Args:
        scores: float array (B, N, T, S), rows of zeros at queries that are not real.
        crosses: bool, whether the keys are another sequence than the queries.
        ids: integer array (B, S) of the keys, or `None`.
        mask: boolean array (B, T), the real queries; `None` for those that attend to anything.
        separators: list of ids.
        punctuation: list of ids.
        parts: integer array (B, T), or `None`.
    """
    scores = scores.astype("float32")
    num_queries, num_keys = scores.shape[2:]
    pairs = (scores > 0).any(axis=1)  # (B, T, S): a mask is the same for all heads, so what any attends to is allowed
    real = pairs.any(axis=2) if mask is None else mask & pairs.any(axis=2)  # (B, T)
    real_keys = pairs.any(axis=1) if crosses else real  # (B, S)
    step = np.arange(num_keys) - np.arange(num_queries)[:, None]  # (T, S)
    looks_back = not crosses and not pairs[:, step > 0].any()
    # The first query of a causal model has one key, and so no choice.
    queries = real & (np.cumsum(real, axis=1) > 1) if looks_back else real
    queries = queries & (real_keys.sum(axis=1, keepdims=True) > 1)
    found = {}

    def share(name, keys, among=None):
        """The mean of what goes to keys (B, T, S), over queries (B, T)."""
        among = queries if among is None else queries & among
        keys = keys & real_keys[:, None, :]
        found[name] = _mean((scores * keys[:, None]).sum(axis=3), among)

    whole = np.broadcast_to
    first = np.cumsum(real_keys, axis=1) * real_keys == 1  # (B, S)
    share("first", whole(first[:, None], pairs.shape), None if crosses else ~first)
    if not crosses:
        for name, offset in (("next", 1), ("previous", -1), ("self", 0)):
            keys = whole(step == offset, pairs.shape)
            share(name, keys, (keys & real_keys[:, None, :]).any(axis=2))
    if ids is not None:
        reachable = real_keys[:, None, :] & ((step <= 0) | (not looks_back))  # (B, T, S)
        for name, chosen in (("separator", separators), ("punctuation", punctuation)):
            is_key = np.isin(ids, list(chosen))
            keys = is_key[:, None] & reachable
            others = ~is_key if name == "separator" and not crosses else True  # as "rest_sep" of Clark et al. 2019
            share(name, keys, keys.any(axis=2) & others)
        if not crosses:
            same = (ids[:, :, None] == ids[:, None, :]) & (step != 0) & reachable
            share("same", same, same.any(axis=2))
    if parts is not None and not crosses:
        found["own_part"] = _own_part(scores, pairs, parts, queries)
    found["entropy"] = _entropy(scores, pairs, queries)
    nothing = np.full(scores.shape[1], np.nan, "float32")
    return {name: found.get(name, nothing) for name in MEASURES}


def _mean(values, queries):
    """(N,), of values (B, N, T) over queries (B, T), nan where there is none."""
    count = queries.sum()
    if not count:
        return np.full(values.shape[1], np.nan, "float32")
    return (np.where(queries[:, None], values, 0.0).sum(axis=(0, 2)) / count).astype("float32")


def _own_part(scores, pairs, parts, queries):
    """How far attention keeps to the query's own part, 0 for as much as an even one would and 1 for all of it."""
    own = parts[:, :, None] == parts[:, None, :]
    even = (own & pairs).sum(axis=2) / np.maximum(pairs.sum(axis=2), 1)  # (B, T)
    inside = (scores * own[:, None]).sum(axis=3)  # (B, N, T)
    left = np.where(even < 1, 1 - even, 1.0)
    return _mean((inside - even[:, None]) / left[:, None], queries & (even < 1))


def _entropy(scores, pairs, queries):
    """Entropy over that of an even attention to the keys that a query may attend to, 0 to 1."""
    counts = pairs.sum(axis=2)  # (B, T)
    entropy = -(scores * np.log(np.where(scores > 0, scores, 1.0))).sum(axis=3)  # (B, N, T)
    return _mean(entropy / np.log(np.maximum(counts, 2))[:, None], queries & (counts > 1))
