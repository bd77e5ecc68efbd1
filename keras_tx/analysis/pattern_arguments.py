"""What `attention_patterns` is given: tokens and masks as arrays of numpy that fit the layers, ids and bounds in their range."""

import keras
import numpy as np
from keras import ops

from .. import arguments
from ..graph import input_names


def ids_of(model, inputs):
    """Returns the tokens among the inputs, (B, T), or `None`."""
    names = input_names(model)
    if isinstance(inputs, dict) and "token_ids" in inputs:
        return whole_numbers("token_ids", inputs["token_ids"])
    flat = keras.tree.flatten(inputs)
    if len(names) != 1 or len(flat) != 1:
        return None
    ids = ops.convert_to_numpy(flat[0])
    return ids if ids.dtype.kind in "iu" and ids.ndim == 2 else None


def fitting(array, batch, count):
    """Returns the array (..., T) as (B, T), or `None` where a layer's positions are not those."""
    if array is None or array.shape[-1] != count or array.size != batch * count:
        return None
    return array.reshape(batch, count)


def check_used(maps, crossing, given, context_ids):
    """Raises `ValueError` for arrays that were given and are those of no layer's positions."""
    sizes = {path: (scores.shape[:-3], *scores.shape[-2:]) for path, scores in maps.items()}
    own = [(*batch, num_queries) for batch, num_queries, _ in sizes.values()]
    cross = [(*sizes[path][0], sizes[path][2]) for path in crossing]
    for name, array, shapes in (
        *((name, array, own) for name, array in given.items()),
        ("context_ids", context_ids, cross),
    ):
        if array is not None and tuple(np.shape(array)) not in shapes:
            raise ValueError(
                f"`{name}` must have the shape of the positions of a layer that attends{' to a context' * (shapes is cross)}, "
                f"of {sorted(set(shapes))}. Received: {name} of shape {tuple(np.shape(array))}."
            )


def whole_numbers(name, array):
    """Returns the array in numpy; raises `ValueError` unless it is of integers (B, T)."""
    array = ops.convert_to_numpy(array)
    if array.dtype.kind not in "iu" or array.ndim < 2:
        raise ValueError(
            f"`{name}` must be integers of shape (B, T). Received: {name} of shape {array.shape} and dtype {array.dtype}."
        )
    return array


def booleans(mask):
    """Returns the mask in numpy; raises `ValueError` unless it is of booleans (B, T)."""
    mask = ops.convert_to_numpy(mask)
    if mask.dtype != bool or mask.ndim < 2:
        raise ValueError(
            f"`mask` must be booleans of shape (B, T). Received: mask of shape {mask.shape} and dtype {mask.dtype}."
        )
    return mask


def check_alike(given):
    """Raises `ValueError` if arrays, a dict by name, have several shapes."""
    shapes = {name: array.shape for name, array in given.items() if array is not None}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"`token_ids`, `parts` and `mask` must have one shape. Received: {shapes}.")


def ids(name, ids):
    """Returns ids, or one, as a list; raises `ValueError` unless they are integers from 0."""
    ids = list(ids) if isinstance(ids, (list, tuple, set, frozenset, range, np.ndarray)) else [ids]
    return [arguments.integer(name, each, least=0) for each in ids]


def checked_thresholds(effects, effects_by, threshold, broad_threshold, null_threshold):
    """Returns the thresholds as a dict; raises `ValueError` for those out of range, and for other effects than there are."""
    if effects not in ("sinks", "all", None):
        raise ValueError(f"`effects` must be 'sinks', 'all' or None. Received: effects={effects!r}.")
    arguments.choice("effects_by", effects_by, ("ablation", "gradient"))
    for name, value in (("threshold", threshold), ("broad_threshold", broad_threshold)):
        if arguments.positive_float(name, value) >= 1:
            raise ValueError(f"`{name}` must lie between 0 and 1. Received: {name}={value!r}.")
    arguments.positive_float("null_threshold", null_threshold)
    return {"attends": threshold, "broad": broad_threshold, "null": null_threshold}
