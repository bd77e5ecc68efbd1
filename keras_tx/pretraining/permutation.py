"""A seeded order of any number of things, of which any part is known without the rest."""

import numpy as np

_ROUNDS = 6


def permuted(numbers, size, seed):
    """Returns where a random permutation of 0 .. size - 1 sends some numbers.

    A Feistel network over the smallest even number of bits permutes a range of at most four times the size; what lands
    outside [0, size) is sent on until it lands inside (Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains").

    Args:
        numbers: int array (N,), in [0, size).
        size: int.
        seed: int or tuple of ints.

    Returns:
        An int64 array (N,).
    """
    half = np.uint64(max(1, -(-int(size - 1).bit_length() // 2)))
    mask = np.uint64((1 << int(half)) - 1)
    keys = np.random.default_rng(seed).integers(0, 2**63, _ROUNDS, dtype=np.uint64)
    found = np.asarray(numbers, np.uint64).copy()
    waiting = np.arange(len(found))
    while len(waiting):
        left, right = found[waiting] >> half, found[waiting] & mask
        for key in keys:
            left, right = right, left ^ (_mixed(right ^ key) & mask)
        found[waiting] = (left << half) | right
        waiting = waiting[found[waiting] >= np.uint64(size)]
    return found.astype("int64")


def _mixed(x):
    """The last step of SplitMix64 (Steele et al. 2014): every bit of x changes about half of the bits."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
