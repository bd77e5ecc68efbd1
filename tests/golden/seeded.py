"""Weights made from their names, so that only what a model computes with them need be kept.

All are multiples of 1/256 with seven bits, which float16 and bfloat16 hold exactly.
"""

import zlib

import numpy as np


def tensor(name, shape):
    """A tensor of a checkpoint, the same in every process: scales of norms lie around 1, all else around 0."""
    draws = np.random.RandomState(zlib.crc32(name.encode())).randint(-127, 128, size=shape)
    if any(norm in name for norm in ("ln_", "LayerNorm", "layer_norm", "layernorm", ".norm.")) and name.endswith(
        "weight"
    ):
        return ((64 + draws // 4) / 64).astype("float32")
    return (draws / 256).astype("float32")
