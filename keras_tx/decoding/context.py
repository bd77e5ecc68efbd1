"""What a model is given beside the ids that it decodes: checked, and padded to the few sizes that programs are compiled for."""

import numpy as np
from keras import ops

from .check import ignores_padding, input_tensors, longest_input, padding_of, vocabulary_size

_LENGTHS = 32  # lengths are rounded up to multiples of this


def check_context(model, context, num_rows, pad_id):
    """Returns the context as numpy arrays, unequal rows padded, and all lengths rounded up where padding changes nothing.

    Args:
        model: functional `keras.Model`.
        context: dict from the name of an input to an array (B, ...), or to a list of B lists of ids.
        num_rows: int, B.
        pad_id: int, the id of padding.

    Returns:
        Dict from name to array.

    Raises:
        ValueError: for rows that are empty, or of unequal length though the model does not ignore padding; ids that are
            none or outside the vocabulary; more tokens than the position table; another shape; another number of rows.
    """
    if not context:
        return {}
    free = ignores_padding(model, tuple(context), pad_id)
    arrays = {}
    for name, value in context.items():
        tensor, limit = input_tensors(model)[name], longest_input(model, name)
        padding = padding_of(model, name, pad_id)
        if isinstance(value, (list, tuple)) and len(tensor.shape) == 2 and "int" in tensor.dtype:
            value = _as_array(name, value, padding, free)
        array = _check_array(name, ops.convert_to_numpy(value), tensor, num_rows)
        _check_ids(name, array, vocabulary_size(model, name), limit)
        if free and array.ndim > 1 and tensor.shape[1] is None:
            length = -(-array.shape[1] // _LENGTHS) * _LENGTHS
            length = length if limit is None else min(length, limit)
            width = [(0, 0), (0, length - array.shape[1]), *[(0, 0)] * (array.ndim - 2)]
            array = np.pad(array, width, constant_values=padding)
        arrays[name] = array
    return arrays


def more_rows(context, num_rows):
    """Returns the arrays with their last row repeated up to a number of rows."""
    return {
        name: np.concatenate([array, np.repeat(array[-1:], num_rows - len(array), axis=0)])
        for name, array in context.items()
    }


def _as_array(name, value, padding, free):
    rows = [np.asarray(row) for row in value]
    for index, row in enumerate(rows):
        if row.ndim != 1 or row.size == 0 or row.dtype.kind not in "iu":
            raise ValueError(
                "`context` must be an array, or rows of at least one token id. Received: "
                f"{value[index]!r} in row {index} of {name!r}."
            )
    lengths = [len(row) for row in rows] or [1]
    if not free and min(lengths) < max(lengths):
        raise ValueError(
            "`context` must have rows of one length, or `pad_id` be padding that the model ignores. Received: rows of "
            f"{min(lengths)} to {max(lengths)} tokens of {name!r}, pad_id={padding}."
        )
    array = np.full((len(rows), max(lengths)), padding)
    for place, row in zip(array, rows, strict=True):
        place[: len(row)] = row
    return array


def _check_array(name, array, tensor, num_rows):
    kinds = "iu" if "int" in tensor.dtype else "biuf"
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
    return array.astype(tensor.dtype)


def _check_ids(name, array, vocabulary_size, limit):
    if vocabulary_size is not None and array.size and not 0 <= array.min() <= array.max() < vocabulary_size:
        raise ValueError(
            "`context` must hold token ids in [0, vocabulary_size). Received: ids from "
            f"{array.min()} to {array.max()} in {name!r}, with vocabulary_size={vocabulary_size}."
        )
    if limit is not None and array.ndim > 1 and array.shape[1] > limit:
        raise ValueError(
            "`context` must not be longer than the model's position table. Received: "
            f"{array.shape[1]} tokens of {name!r}, sequence_length={limit}."
        )
