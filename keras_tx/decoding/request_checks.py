"""What generation is given, checked, and rounded up to the few sizes that programs are compiled for."""

import operator

import numpy as np
from keras import ops

from .. import arguments
from .inputs import reserves_zero, vocabulary_size

_STOP_ROWS, _STOP_LENGTH = 8, 8  # up to these sizes, stop sequences share a program
_SMALLEST_CACHE, _SMALLEST_CACHE_AFTER_ONE = 256, 32


def check_prompts(prompts, model, name, may_be_empty=False):
    """Returns the prompts as a list of int32 arrays; raises `ValueError` for ids that are not integers, and for an empty prompt
    unless it may be.
    """
    size, reserved = vocabulary_size(model, name), reserves_zero(model, name)
    checked = []
    for index, row in enumerate(prompts):
        ids = np.asarray(ops.convert_to_numpy(row) if ops.is_tensor(row) else row)
        if ids.shape == (0,) and may_be_empty:
            checked.append(ids.astype("int32"))
            continue
        if ids.ndim != 1 or ids.size == 0:
            raise ValueError(f"`prompts` must be rows of at least one token id. Received: {row!r} in row {index}.")
        if ids.dtype.kind not in "iu":
            raise ValueError(f"`prompts` must hold integer token ids. Received: dtype {ids.dtype} in row {index}.")
        if ids.min() < 0 or (size is not None and ids.max() >= size):
            raise ValueError(
                "`prompts` must hold token ids in [0, vocabulary_size). Received: ids from "
                f"{ids.min()} to {ids.max()} in row {index}, with vocabulary_size={size}."
            )
        if reserved and (ids == 0).any():
            raise ValueError(
                "`prompts` must hold no padding, id 0 in a model with mask_zero=True: give rows of unequal length as lists. "
                f"Received: 0 in row {index}."
            )
        checked.append(ids.astype("int32"))
    return checked


def check_lengths(longest_prompt, max_new_tokens, longest_sequence):
    """Returns `max_new_tokens` as an int; raises `ValueError` unless prompts and new tokens fit the position table."""
    max_new_tokens = arguments.integer("max_new_tokens", max_new_tokens, least=0)
    if longest_sequence is not None and longest_prompt + max_new_tokens > longest_sequence:
        raise ValueError(
            "`max_new_tokens` and the longest prompt together must not exceed the model's position table. Received: "
            f"max_new_tokens={max_new_tokens}, a prompt of {longest_prompt} tokens, sequence_length={longest_sequence}."
        )
    return max_new_tokens


def check_seed(seed):
    """Returns the seed as an int32; raises `ValueError` unless it is an integer."""
    return np.uint32(arguments.integer("seed", seed) % 2**32).astype("int32")


def check_stops(stop_ids):
    """Returns stop sequences as int32 (K, M), aligned right, as `loop.stopped` takes them."""
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
    rows = _multiple(len(sequences), _STOP_ROWS)
    length = _multiple(max((len(sequence) for sequence in sequences), default=1), _STOP_LENGTH)
    stops = np.full((rows, length), -3, "int32")
    for row, sequence in zip(stops, sequences, strict=False):
        row[:] = -2
        row[-len(sequence) :] = sequence
    return stops


def check_pad(pad_id):
    """Returns the padding id; raises `ValueError` unless it is an integer of 32 bits."""
    return arguments.integer("pad_id", pad_id, least=-(2**31), most=2**31 - 1)


def _is_id(value):
    return arguments.is_integer(value) and 0 <= value < 2**31


def round_up(batch, longest_prompt, max_new_tokens, chunk):
    """Returns the batch size (1, or a multiple of 4), the chunks of the prompt, and the cache size (a power of two)."""
    chunks = -(-int(longest_prompt) // chunk)
    # Where all start from one token, a program for each power of two pays: most of a large cache would stay empty.
    capacity = _SMALLEST_CACHE_AFTER_ONE if chunk == 1 else _SMALLEST_CACHE
    while capacity < chunks * chunk + max_new_tokens:
        capacity *= 2
    return (1 if batch == 1 else _multiple(batch, 4)), chunks, capacity


def cut_batch(prompts, batch, capacity, end):
    """Returns the prompts as int32 (batch, capacity), each row's last token in column `end - 1`."""
    array = np.zeros((batch, capacity), "int32")
    for row, prompt in zip(array, prompts, strict=False):
        row[end - len(prompt) : end] = prompt
    return array


def _multiple(number, step):
    return max(1, -(-operator.index(number) // step)) * step
