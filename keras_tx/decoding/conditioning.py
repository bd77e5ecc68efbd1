"""What a model is given beside the ids that it decodes: checked, and padded to the few sizes that programs are compiled for."""

import functools

import keras
import numpy as np
from keras import ops

from ..graph import pack_inputs
from .request import as_lists, next_multiple
from .text import context_ids
from .trials import ignores

_LENGTHS = 32  # lengths are rounded up to multiples of this


def check_names(context):
    """Returns the context as a dict, empty for `None`; raises `ValueError` unless it is one whose keys are names."""
    if context is None:
        return {}
    if not isinstance(context, dict) or not all(isinstance(name, str) for name in context):
        raise ValueError(
            f"`context` must be a dict from the names of inputs to arrays. Received: context={context!r} of type "
            f"{type(context).__name__}."
        )
    return context


def check_conditioning(decoder, context, num_rows, pad_id, tokenizer=None):
    """Returns the context as numpy arrays, unequal rows padded, and all lengths rounded up where padding changes nothing.

    Strings become ids by the tokenizer. Rows of an input of fixed length that are shorter are padded to it, where the model
    ignores that padding. The context is as in `generate`, for as many prompts as there are rows; what does not fit is a
    `ValueError` that names the input.
    """
    if not context:
        return {}
    free, fixable = (functools.partial(ignores, decoder, pad_id, fixed) for fixed in (False, True))
    arrays, limits = {}, {}
    sizes = {name: decoder.inputs[name].vocabulary_size for name in context}
    context = {name: context_ids(name, value, tokenizer, sizes[name]) for name, value in context.items()}
    for name, value in context.items():
        known, value = decoder.inputs[name], as_lists(value)
        tensor, size, limits[name] = known.tensor, known.vocabulary_size, known.longest
        padding, fixed = known.padding(pad_id), known.fixed_length if known.holds_tokens else None
        if isinstance(value, (list, tuple)) and len(tensor.shape) == 2 and "float" not in tensor.dtype:
            value = _as_array(name, value, padding, free if fixed is None else fixable, size)
        value = _from_lists(name, value) if isinstance(value, (list, tuple)) else ops.convert_to_numpy(value)
        if fixed is not None and value.ndim == 2 and value.shape[1] < fixed:
            value = _as_long(name, value, fixed, padding, fixable)
        arrays[name] = value = _check_array(name, value, tensor, num_rows, size)
        if limits[name] is not None and value.ndim > 1 and value.shape[1] > limits[name]:
            raise ValueError(
                "`context` must not be longer than the model's position table. Received: "
                f"{value.shape[1]} tokens of {name!r}, sequence_length={limits[name]}."
            )
    grow = [name for name in arrays if arrays[name].ndim > 1 and decoder.inputs[name].fixed_length is None]
    lengths = {name: arrays[name].shape[1] for name in grow}
    _check_together(decoder, arrays, lengths, limits)
    for name, length in lengths.items() if free() else ():
        # Inputs of one length may belong together: they get one length again, that which all their tables hold.
        tables = [limits[other] for other in grow if lengths[other] == length and limits[other] is not None]
        padded = min([next_multiple(length, _LENGTHS), *tables])
        width = [(0, 0), (0, padded - length), *[(0, 0)] * (arrays[name].ndim - 2)]
        arrays[name] = np.pad(arrays[name], width, constant_values=decoder.inputs[name].padding(pad_id))
    return arrays


def _as_array(name, value, padding, ignored, vocabulary_size):
    rows = [np.asarray(row) for row in value]
    for index, row in enumerate(rows):
        if row.ndim != 1 or row.size == 0 or row.dtype.kind not in "biu":
            raise ValueError(
                "`context` must be an array, or rows of at least one token id, or strings beside a tokenizer. Received: "
                f"{value[index]!r} in row {index} of {name!r}."
            )
        _check_range(name, row, vocabulary_size, "int32")
    lengths = [len(row) for row in rows] or [1]
    if min(lengths) < max(lengths) and not ignored():
        raise ValueError(
            "`context` must have rows of one length, or `pad_id` be padding that the model ignores. Received: rows of "
            f"{min(lengths)} to {max(lengths)} tokens of {name!r}, pad_id={padding}."
        )
    dtype = "bool" if rows and all(row.dtype == bool for row in rows) else "int64"
    array = np.full((len(rows), max(lengths)), padding, dtype)
    for place, row in zip(array, rows, strict=True):
        place[: len(row)] = row
    return array


def _from_lists(name, value):
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(
            "`context` must be an array; only rows of ids and of a mask may differ in length. Received: lists of unequal "
            f"lengths for {name!r}."
        ) from error


def _as_long(name, array, length, padding, ignored):
    """Returns rows (B, S) with padding up to the length that the input has."""
    if not ignored():
        raise ValueError(
            "`context` must have rows of the length that its input has, or `pad_id` be padding that the model ignores. "
            f"Received: {array.shape[1]} tokens of {name!r}, which takes {length}, pad_id={padding}."
        )
    return np.pad(array, [(0, 0), (0, length - array.shape[1])], constant_values=padding)


def _check_array(name, array, tensor, num_rows, vocabulary_size):
    kinds = "iu" if "int" in tensor.dtype else "biuf"
    if vocabulary_size is not None and "float" in tensor.dtype and array.dtype.kind == "f":
        if not np.array_equal(array, np.trunc(array)):
            raise ValueError(f"`context` must hold whole numbers, token ids, for {name!r}. Received: fractions.")
        array = array.astype("int64")
    sizes = zip(array.shape[1:], tensor.shape[1:], strict=False)
    if (
        array.dtype.kind not in kinds
        or array.ndim != len(tensor.shape)
        or any(size not in (None, held) for held, size in sizes)
    ):
        raise ValueError(
            f"`context` must hold what the model takes, {tensor.dtype} of shape {tuple(tensor.shape)} for {name!r}. "
            f"Received: {array.dtype} of shape {array.shape}."
        )
    if len(array) != num_rows:
        raise ValueError(
            f"`context` must have a row for each prompt. Received: {len(array)} rows of {name!r}, {num_rows} prompts."
        )
    if tensor.dtype == "bool" and not np.isin(array, (0, 1)).all():
        raise ValueError(
            f"`context` must hold True and False, or 1 and 0, for {name!r}. Received: "
            f"{array[~np.isin(array, (0, 1))][0]} among {array.dtype} of shape {array.shape}."
        )
    if "int" in tensor.dtype or vocabulary_size is not None:
        _check_range(name, array, vocabulary_size, tensor.dtype if "int" in tensor.dtype else "int32")
    return array.astype(tensor.dtype)


def _check_range(name, array, vocabulary_size, dtype):
    if not array.size:
        return
    least, most = int(array.min()), int(array.max())
    if vocabulary_size is not None and not 0 <= least <= most < vocabulary_size:
        raise ValueError(
            "`context` must hold token ids in [0, vocabulary_size). Received: ids from "
            f"{least} to {most} in {name!r}, with vocabulary_size={vocabulary_size}."
        )
    if least < np.iinfo(dtype).min or most > np.iinfo(dtype).max:
        raise ValueError(
            f"`context` must hold integers of {dtype} for {name!r}. Received: integers from {least} to {most}."
        )


def _check_together(decoder, arrays, lengths, limits):
    """Raises `ValueError` where lengths differ that the model needs equal; padded up, each for itself, nothing would tell.

    The model is run on shapes alone. A length of 1, which might be broadcast, is tried as one like no other; that of a mask
    that the model broadcasts to the others becomes theirs.
    """
    if len(set(lengths.values())) < 2:
        return
    tried = {
        name: next((n for n in range(2, (limits[name] or 9) + 1) if n not in lengths.values()), 1)
        if length == 1
        else length
        for name, length in lengths.items()
    }
    error = _error_of(decoder, arrays, tried)
    if error is None:
        return
    (longer, *others), short = {n for n in lengths.values() if n > 1}, [name for name in lengths if lengths[name] == 1]
    masks = [name for name in short if decoder.inputs[name].tensor.dtype == "bool"]
    whole = {**tried, **dict.fromkeys(masks, longer)}
    if masks and not others and all(_error_of(decoder, arrays, each) is None for each in (lengths, whole)):
        for name in masks:
            arrays[name], lengths[name] = np.repeat(arrays[name], longer, axis=1), longer
        return
    raise ValueError(
        "`context` must hold inputs of one length where the model puts them together. Received: lengths of "
        f"{lengths}, for which it fails: {error}"
    ) from error


def _error_of(decoder, arrays, lengths):
    """Returns the error that the model raises for inputs of these lengths, or `None`."""
    shapes = {}
    for name, known in decoder.inputs.items():
        shape = [1 if size is None else size for size in arrays.get(name, known.tensor).shape]
        shape[0] = 1
        if name in lengths:
            shape[1] = lengths[name]
        shapes[name] = keras.KerasTensor(tuple(shape), known.tensor.dtype)
    try:
        decoder.model.compute_output_spec(pack_inputs(decoder.model, shapes))
    except Exception as error:  # of a layer's own, or of the backend
        return error
    return None
