"""What a language model of text has to beat, in bits per byte: compressors, and counts of what followed three bytes."""

import gzip
import lzma

import numpy as np


def gzip_bits(text):
    """Bits per byte of the bytes `text` as gzip writes them, at its best level."""
    return 8 * len(gzip.compress(text, 9, mtime=0)) / len(text)


def primed_xz_bits(train, text):
    """Bits per byte that `text` adds to xz's output when it follows the training text."""
    return 8 * (len(lzma.compress(train + text, preset=9)) - len(lzma.compress(train, preset=9))) / len(text)


def ngram_bits(train, text, order=3):
    """Bits per byte of `text` under counts of which byte followed which `order` bytes in the training text.

    Each order is mixed with the next lower one by the share of new bytes that its context has shown, down to all 256
    alike (interpolated Witten-Bell smoothing: Chen and Goodman 1998, "An Empirical Study of Smoothing Techniques for
    Language Modeling", section 2.5).

    Args:
        train: bytes.
        text: bytes, not empty.
        order: int, at least 0.
    """
    probability = np.full(len(text), 1 / 256)
    for length in range(order + 1):
        pairs, counts = np.unique(_pairs(train, length), return_counts=True)
        contexts, first, kinds = np.unique(pairs >> 8, return_index=True, return_counts=True)
        totals = np.add.reduceat(counts, first)
        asked = _pairs(text, length)
        seen = _look_up(pairs, counts, asked)
        total, kind = (_look_up(contexts, values, asked >> 8) for values in (totals, kinds))
        known = total > 0
        mixed = (seen + kind * probability) / np.maximum(total + kind, 1)
        probability = np.where(known, mixed, probability)
    return float(-np.log2(probability).mean())


def _pairs(text, length):
    """Returns each byte below the `length` bytes before it, as one integer; zeros stand before the first."""
    data = np.frombuffer(bytes(length) + text, np.uint8).astype(np.int64)
    numbers = np.zeros(len(text), np.int64)
    for place in range(length + 1):
        numbers = (numbers << 8) | data[place : place + len(text)]
    return numbers


def _look_up(keys, values, asked):
    places = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[places] == asked, values[places], 0)
