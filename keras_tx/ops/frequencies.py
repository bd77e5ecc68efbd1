"""How fast the pairs of a rotary or sine embedding turn, as the published scalings for longer texts change it."""

import math

import numpy as np

from .. import arguments

# The keys of each scaling, as configs on Hugging Face have them: those that it needs, and those that it may have.
SCALINGS = {
    "default": ((), ()),
    "linear": (("factor",), ()),
    "llama3": (("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"), ()),
    "yarn": (
        ("factor", "original_max_position_embeddings"),
        ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"),
    ),
    "longrope": (
        ("factor", "original_max_position_embeddings", "short_factor", "long_factor"),
        ("attention_factor", "factors"),
    ),
}


def read_scaling(scaling):
    """Returns a scaling as a dict of plain numbers, `None` for `None`.

    Args:
        scaling: dict as in `frequencies`.

    Raises:
        ValueError: for a type that is not known, a key that its type lacks or does not have, and values out of range.
    """
    if scaling is None:
        return None
    if not isinstance(scaling, dict):
        raise ValueError(f"`scaling` must be a dict or None. Received: scaling={scaling!r}.")
    kind = scaling.get("type", scaling.get("rope_type"))
    if kind == "dynamic":
        raise ValueError(
            "`scaling` must not depend on the length of the text, as keys in a cache have been rotated for another. Received: "
            "scaling of type 'dynamic'."
        )
    if not isinstance(kind, str) or kind not in SCALINGS:
        raise ValueError(
            f"`scaling` must have a type, one of {', '.join(map(repr, SCALINGS))}. Received: type={kind!r} in {scaling}."
        )
    given = {key: value for key, value in scaling.items() if key not in ("type", "rope_type")}
    needed, optional = SCALINGS[kind]
    for name in needed:
        if given.get(name) is None:
            raise ValueError(f"`scaling` of type {kind!r} must have the key {name!r}. Received: keys {sorted(given)}.")
    for name in given:
        if name not in (*needed, *optional):
            raise ValueError(
                f"`scaling` of type {kind!r} must have no keys but {[*needed, *optional]}. Received: {name!r}."
            )
    read = {name: _value(name, value) for name, value in given.items() if value is not None}
    if kind == "llama3" and not read["low_freq_factor"] < read["high_freq_factor"]:
        raise ValueError(
            "`low_freq_factor` must be below `high_freq_factor`. Received: "
            f"low_freq_factor={read['low_freq_factor']}, high_freq_factor={read['high_freq_factor']}."
        )
    return {"type": kind, **read}


def _value(name, value):
    if name in ("short_factor", "long_factor"):
        if not isinstance(value, (list, tuple)) or not value:
            raise ValueError(f"`{name}` must be a list with a number for each pair. Received: {name}={value!r}.")
        return [arguments.positive_float(name, each) for each in value]
    if name == "factors":
        return arguments.choice(name, value, ("short", "long"))
    if name == "truncate":
        return arguments.flag(name, value)
    if name == "original_max_position_embeddings":
        return arguments.integer(name, value, least=2)
    return arguments.positive_float(name, value)


def frequencies(dim, max_wavelength=10_000.0, scaling=None):
    """Returns the angular frequencies of the pairs, and by what sines and cosines are multiplied.

    w_i = max_wavelength^(-2i / dim), and with a scaling that stretches the text by f = `factor` over L = the
    `original_max_position_embeddings` of training:

    - "linear": w_i / f.
    - "llama3": w_i where its wavelength is below L / `high_freq_factor`, w_i / f where it is above L / `low_freq_factor`, and
      between the two in between.
    - "yarn": w_i for pairs that turn `beta_fast` times (32) in L tokens, w_i / f for those that turn `beta_slow` times (1), and
      between the two in between, at whole pairs unless `truncate` is False; sines and cosines times `attention_factor`, or
      0.1 ln f + 1, or with `mscale` m and `mscale_all_dim` a (0.1 m ln f + 1) / (0.1 a ln f + 1).
    - "longrope": w_i / `short_factor`_i, or with `factors` = "long" w_i / `long_factor`_i; sines and cosines times
      `attention_factor`, or sqrt(1 + ln f / ln L). The choice is one for all lengths, as keys in a cache cannot be rotated anew:
      "short" is what `transformers` does up to L tokens, "long" beyond.

    Args:
        dim: int, the size of what is rotated.
        max_wavelength: float, the base.
        scaling: dict with "type" (or "rope_type") and the keys of that type, as `read_scaling` gives it, or `None`.

    Returns:
        float64 numpy array (dim / 2,), radians a position, and a float.

    Raises:
        ValueError: for lists of factors of another length than dim / 2, and "yarn" with a `max_wavelength` of 1 or less.

    Reference:
        Peng et al. 2023, "YaRN", section 3; Ding et al. 2024, "LongRoPE", section 3; Dubey et al. 2024, "The Llama 3 Herd of
        Models".
    """
    w = max_wavelength ** -(np.arange(0, dim, 2, dtype="float64") / dim)
    kind = "default" if scaling is None else scaling["type"]
    if kind == "default":
        return w, 1.0
    factor = scaling["factor"]
    if kind == "linear":
        return w / factor, 1.0
    original = scaling["original_max_position_embeddings"]
    if kind == "llama3":
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        kept = np.clip((original * w / (2 * math.pi) - low) / (high - low), 0.0, 1.0)
        return kept * w + (1 - kept) * w / factor, 1.0
    if kind == "yarn":
        if max_wavelength <= 1:  # all pairs turn alike, or faster and faster: there is no ramp over them
            raise ValueError(
                "`max_wavelength` must be above 1 beside a scaling of type 'yarn'. Received: "
                f"max_wavelength={max_wavelength}."
            )
        kept = _yarn_ramp(dim, max_wavelength, original, scaling)
        return kept * w + (1 - kept) * w / factor, scaling.get("attention_factor", _yarn_factor(scaling))
    for name in ("short_factor", "long_factor"):  # the one that is not used too: it is written with the other
        if len(scaling[name]) != len(w):
            raise ValueError(
                f"`scaling` must have a factor for each of {len(w)} pairs. Received: {len(scaling[name])} of them in `{name}` "
                f"for a size of {dim}."
            )
    stretched = scaling[f"{scaling.get('factors', 'short')}_factor"]
    default = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    return w / np.array(stretched, "float64"), scaling.get("attention_factor", default)


def _yarn_ramp(dim, base, original, scaling):
    """How much of each pair's own frequency is kept, from 1 to 0."""

    def pair_of(turns):
        return dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

    first, last = pair_of(scaling.get("beta_fast", 32.0)), pair_of(scaling.get("beta_slow", 1.0))
    if scaling.get("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, dim - 1)
    last += 0.001 if first == last else 0.0  # as `transformers` does
    return 1 - np.clip((np.arange(-(-dim // 2), dtype="float64") - first) / (last - first), 0.0, 1.0)


def _yarn_factor(scaling):
    def grown(weight):
        return 0.1 * weight * math.log(scaling["factor"]) + 1.0 if scaling["factor"] > 1 else 1.0

    if {"mscale", "mscale_all_dim"} <= set(scaling):
        return grown(scaling["mscale"]) / grown(scaling["mscale_all_dim"])
    return grown(1.0)
