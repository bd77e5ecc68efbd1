"""Trials of a model with tokens of our own: what goes in, and whether padding at the end of what it is given changes anything."""

import weakref

import keras
import numpy as np
from keras import ops

from .inputs import (
    holds_tokens,
    input_tensors,
    longest_input,
    longest_sequence,
    padding_of,
    reserves_zero,
    vocabulary_size,
)
from .programs import fingerprint
from .step import decoded_input, init_caches, step

LENGTH, _CONTEXT_LENGTH, _PADDING = 64, 16, 3
_ignoring = weakref.WeakKeyDictionary()


def ignores_padding(model, given, pad_id):
    """Returns whether padding at the end of what the model is given changes nothing: found out by a trial for each model."""
    return _remembered(model, given, pad_id, _tries_padding)


def ignores_filling(model, given, pad_id):
    """Returns whether padding that fills inputs of fixed length up changes nothing: found out by a trial for each model."""
    return _remembered(model, given, pad_id, _tries_filling)


def _remembered(model, given, pad_id, trial):
    sizes = [vocabulary_size(model, name) for name in given]
    if any(size is not None and not 0 <= pad_id < size for size in sizes):
        return False
    key = (tuple(sorted(given)), pad_id, trial)
    known = _ignoring.setdefault(model, {})
    if known.get(key, (None,))[0] != fingerprint(model):
        known[key] = (fingerprint(model), trial(model, given, pad_id))
    return known[key][1]


def _tries_padding(model, given, pad_id):
    _, padding = _probe_lengths(model, given)
    context = probe_context(model, given, pad_id)
    free = [name for name in given if context[name].ndim > 1 and input_tensors(model)[name].shape[1] is None]
    return _changes_nothing(model, given, pad_id, context, free, padding)


def _tries_filling(model, given, pad_id):
    """The layers are given less than the input's length, which they may not take: then nothing is known of padding."""
    whole = probe_context(model, given, pad_id)
    fixed = [name for name in given if holds_tokens(model, name) and input_tensors(model)[name].shape[1] is not None]
    padding = min(_PADDING, *(whole[name].shape[1] - 1 for name in fixed)) if fixed else 0
    if padding < 1:
        return False
    context = {name: array[:, :-padding] if name in fixed else array for name, array in whole.items()}
    try:
        return _changes_nothing(model, given, pad_id, context, fixed, padding)
    except Exception:  # of a layer's own, or of the backend
        return False


def _changes_nothing(model, given, pad_id, context, names, padding):
    """Returns whether a model gives the same for one token when padding is appended to the inputs of these names."""
    ids = probe_ids(model, decoded_input(model, given), given)[:, :1]
    padded = dict(context)
    for name in names:
        width = [(0, 0), (0, padding), *[(0, 0)] * (context[name].ndim - 2)]
        padded[name] = np.pad(context[name], width, constant_values=padding_of(model, name, pad_id))
    plain, longer = (step(model, ids, init_caches(model, 1, LENGTH, each))[0] for each in (context, padded))
    return relative_error(longer, plain) <= tolerance(plain)


def probe_ids(model, name, given):
    """Returns ids (1, T) to be tried, none of them padding, T as far as the model's tables and its input allow it."""
    length = min(LENGTH, longest_sequence(model, given) or LENGTH, input_tensors(model)[name].shape[1] or LENGTH)
    size = vocabulary_size(model, name) or 8
    ids = (7 * np.arange(length, dtype="int32")[None] + 1) % size
    return np.where(ids == 0, 1 % size, ids) if reserves_zero(model, name) else ids


def _probe_lengths(model, given):
    """How long what is given is in a trial, one length for all as they may belong together, and how much padding has room."""
    limits = [longest_input(model, name) for name in given]
    limit = min((limit for limit in limits if limit), default=_CONTEXT_LENGTH)
    length = max(1, min(_CONTEXT_LENGTH, limit) - _PADDING)
    return length, min(_PADDING, limit - length)


def probe_context(model, given, pad_id=0):
    """Returns something for each given input: tokens that are no padding, True, or numbers of unit size."""
    context = {}
    length, _ = _probe_lengths(model, given)
    for name in given:
        tensor = input_tensors(model)[name]
        shape = (1, *(length if size is None else size for size in tensor.shape[1:]))
        count = int(np.prod(shape))
        if tensor.dtype == "bool":
            values = np.ones(count)
        elif "int" in tensor.dtype or vocabulary_size(model, name) is not None:
            size = vocabulary_size(model, name) or 2
            values = (7 * np.arange(count) + 1) % size
            values = np.where(values == pad_id, (pad_id + 1) % size, values)
        else:
            values = np.sin(np.arange(1, count + 1))
        context[name] = values.reshape(shape).astype(tensor.dtype)
    return context


def relative_error(a, b):
    """Returns the largest difference of two arrays as a share of the largest number in the second."""
    a, b = (np.asarray(ops.convert_to_numpy(ops.cast(x, "float32")), "float64") for x in (a, b))
    if a.shape != b.shape:
        return np.inf
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-6)) if a.size else 0.0


def tolerance(outputs):
    """Returns the relative error that rounding may make in numbers of this dtype."""
    return 1e-3 if keras.backend.standardize_dtype(outputs.dtype) in ("float32", "float64") else 5e-2
