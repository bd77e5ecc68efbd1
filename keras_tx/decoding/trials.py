"""Trials of a model with tokens of our own: what goes in, and whether padding at the end of what it is given changes anything."""

import keras
import numpy as np
from keras import ops

from ..graph import pack_inputs
from . import programs
from .step import empty_caches, run_step

LENGTH, _CONTEXT_LENGTH, _PADDING = 64, 16, 3


def ignores(decoder, pad_id, fixed=False):
    """Returns whether padding at the end of the other inputs changes nothing, found out by a trial once.

    With `fixed`, inputs of fixed length are meant, which are padded to it, else those of any length.
    """
    sizes = [decoder.inputs[name].vocabulary_size for name in decoder.conditioning]
    if any(size is not None and not 0 <= pad_id < size for size in sizes):
        return False
    if (fixed, pad_id) not in decoder.trials:
        decoder.trials[fixed, pad_id] = (_tries_fixed if fixed else _tries_free)(decoder, pad_id)
    return decoder.trials[fixed, pad_id]


def _tries_free(decoder, pad_id):
    _, padding = _probe_lengths(decoder)
    conditioning = probe_conditioning(decoder, pad_id)
    free = [
        name for name, array in conditioning.items() if array.ndim > 1 and decoder.inputs[name].fixed_length is None
    ]
    return _changes_nothing(decoder, pad_id, conditioning, free, padding)


def _tries_fixed(decoder, pad_id):
    """The layers are given less than the input's length, which they may not take: then nothing is known of padding."""
    whole, inputs = probe_conditioning(decoder, pad_id), decoder.inputs
    fixed = [name for name in whole if inputs[name].holds_tokens and inputs[name].fixed_length is not None]
    padding = min(_PADDING, *(whole[name].shape[1] - 1 for name in fixed)) if fixed else 0
    if padding < 1:
        return False
    conditioning = {name: array[:, :-padding] if name in fixed else array for name, array in whole.items()}
    try:
        return _changes_nothing(decoder, pad_id, conditioning, fixed, padding)
    except Exception:  # of a layer's own, or of the backend
        return False


def _changes_nothing(decoder, pad_id, conditioning, names, padding):
    """Returns whether a model gives the same for one token when padding is appended to the inputs of these names."""
    ids, padded = probe_ids(decoder)[:, :1], dict(conditioning)
    for name in names:
        width = [(0, 0), (0, padding), *[(0, 0)] * (padded[name].ndim - 2)]
        padded[name] = np.pad(padded[name], width, constant_values=decoder.inputs[name].padding(pad_id))

    def both(decoder, ids, *given):
        caches = (empty_caches(decoder, 1, LENGTH, each) for each in given)
        return [run_step(decoder.model, pack_inputs(decoder.model, {decoder.ids: ids}), each)[0] for each in caches]

    plain, longer = programs.quick(decoder, both)(ids, conditioning, padded)
    return relative_error(longer, plain) <= tolerance(plain)


def probe_ids(decoder):
    """Returns ids (1, T) to be tried, none of them padding, T as far as the model's tables and its input allow it."""
    known = decoder.inputs[decoder.ids]
    length = min(LENGTH, decoder.longest_sequence or LENGTH, known.tensor.shape[1] or LENGTH)
    size = known.vocabulary_size or 8
    ids = (7 * np.arange(length, dtype="int32")[None] + 1) % size
    return np.where(ids == 0, 1 % size, ids) if known.reserves_zero else ids


def _probe_lengths(decoder):
    """How long what is given is in a trial, one length for all as they may belong together, and how much padding has room."""
    limits = [decoder.inputs[name].longest for name in decoder.conditioning]
    limit = min((limit for limit in limits if limit), default=_CONTEXT_LENGTH)
    length = max(1, min(_CONTEXT_LENGTH, limit) - _PADDING)
    return length, min(_PADDING, limit - length)


def probe_conditioning(decoder, pad_id=0):
    """Returns something for each other input: tokens that are no padding, True, or numbers of unit size."""
    conditioning = {}
    length, _ = _probe_lengths(decoder)
    for name in decoder.conditioning:
        known = decoder.inputs[name]
        dtype, shape = known.tensor.dtype, (1, *(length if size is None else size for size in known.tensor.shape[1:]))
        count = int(np.prod(shape))
        if dtype == "bool":
            values = np.ones(count)
        elif "int" in dtype or known.vocabulary_size is not None:
            size = known.vocabulary_size or 2
            values = (7 * np.arange(count) + 1) % size
            values = np.where(values == pad_id, (pad_id + 1) % size, values)
        else:
            values = np.sin(np.arange(1, count + 1))
        conditioning[name] = values.reshape(shape).astype(dtype)
    return conditioning


def relative_error(a, b):
    """Returns the largest difference of two arrays as a share of the largest number in the second."""
    a, b = (np.asarray(ops.convert_to_numpy(ops.cast(x, "float32")), "float64") for x in (a, b))
    if a.shape != b.shape:
        return np.inf
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-6)) if a.size else 0.0


def tolerance(outputs):
    """Returns the relative error that rounding may make in numbers of this dtype."""
    return 1e-3 if keras.backend.standardize_dtype(outputs.dtype) in ("float32", "float64") else 5e-2
