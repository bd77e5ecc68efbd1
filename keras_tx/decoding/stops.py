"""Where a row stops: the sequences of tokens that end it, as one array, and which rows end with one of them."""

import numpy as np
from keras import ops

from .. import arguments
from .request import next_multiple

_ROWS, _LENGTH = 8, 8  # up to these sizes, stop sequences share a program
PADDING = -1  # stands in the tokens after a row has stopped
ANY_TOKEN, NO_TOKEN = -2, -3  # what stands in the array beside ids: what fits every token, and what fits none


def check_stops(stop_ids, tokenizer=None):
    """Returns stop sequences as int32 (K, M), aligned right, `ANY_TOKEN` to their left and rows of `NO_TOKEN` below.

    Where `stop_ids` is `None` they are the attribute `stop_ids` of a tokenizer that has one.
    """
    stop_ids = getattr(tokenizer, "stop_ids", None) if stop_ids is None else stop_ids
    if stop_ids is None:
        sequences = []
    else:
        entries = stop_ids.tolist() if hasattr(stop_ids, "tolist") else stop_ids
        entries = list(entries) if isinstance(entries, (list, tuple, set, range)) else [entries]
        sequences = [list(entry) if isinstance(entry, (list, tuple, np.ndarray)) else [entry] for entry in entries]
    for sequence in sequences:
        if not sequence or not all(_is_id(i) for i in sequence):
            raise ValueError(
                f"`stop_ids` must hold token ids, or non-empty lists of them. Received: stop_ids={stop_ids!r}."
            )
    rows = next_multiple(len(sequences), _ROWS)
    length = next_multiple(max((len(sequence) for sequence in sequences), default=1), _LENGTH)
    stops = np.full((rows, length), NO_TOKEN, "int32")
    for row, sequence in zip(stops, sequences, strict=False):
        row[:] = ANY_TOKEN
        row[-len(sequence) :] = sequence
    return stops


def single_stops(stops):
    """Returns the ids that stop a row by themselves, int32 (K,), of stop sequences (K, M)."""
    return stops[(stops[:, :-1] == ANY_TOKEN).all(axis=1), -1]


def stopped(recent_tokens, stops):
    """Returns which rows end with a stop sequence, boolean (B,): `recent_tokens` (B, M) are the last generated ones of each."""
    fits = ops.logical_or(stops[None] == ANY_TOKEN, stops[None] == recent_tokens[:, None])  # (B, K, M)
    return ops.any(ops.all(fits, axis=-1), axis=-1)


def _is_id(value):
    return arguments.is_integer(value) and 0 <= value < 2**31
