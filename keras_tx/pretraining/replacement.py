"""What becomes of chosen tokens, and the example made of them: shared by masked tokens and masked spans."""

from typing import NamedTuple

import numpy as np

from .. import arguments
from . import rates_and_ids, tensors


class Replacement(NamedTuple):
    """The law by which a chosen token becomes the mask, a random token, or stays.

    Attributes:
        mask_id: int.
        special: bool table (V,), the special tokens and the mask: never chosen, and never a random token.
        ordinary: int array, all other ids.
        mask_rate: float, the chance to become the mask.
        random_rate: float, the chance to become an ordinary token, each alike.
    """

    mask_id: int
    special: np.ndarray
    ordinary: np.ndarray
    mask_rate: float
    random_rate: float


def checked(vocabulary_size, mask_id, special_ids, mask_rate, random_rate):
    """Returns the `Replacement` of these arguments of `mask_tokens`; raises `ValueError` for bad ones."""
    vocabulary_size = arguments.integer("vocabulary_size", vocabulary_size, 1)
    if mask_id is None:
        raise ValueError("`mask_id` must be the id of a mask token. Received: mask_id=None, a vocabulary without one.")
    special = np.zeros(vocabulary_size, dtype=bool)
    special[np.array(rates_and_ids.token_ids("special_ids", special_ids, vocabulary_size), dtype=int)] = True
    special[arguments.token_id("mask_id", mask_id, vocabulary_size)] = True
    if special.all():
        raise ValueError(
            "`special_ids` must leave an ordinary token to put in place of another. Received: all "
            f"{vocabulary_size} ids are special or the mask."
        )
    mask_rate, random_rate = rates_and_ids.rate("mask_rate", mask_rate), rates_and_ids.rate("random_rate", random_rate)
    if mask_rate + random_rate > 1 + 1e-9:
        raise ValueError(
            "`mask_rate` and `random_rate` must add to at most 1. Received: "
            f"mask_rate={mask_rate}, random_rate={random_rate}."
        )
    return Replacement(int(mask_id), special, np.flatnonzero(~special), mask_rate, random_rate)


def make_examples(choose, token_ids, seed, replacement, num_predictions, extra=()):
    """Chooses tokens and replaces them, on an array or on a tensor.

    Args:
        choose: (generator, ids (B, T), candidates (B, T)) -> rows, columns and draws of the chosen tokens, in order, and a
            dict of further values for each. The draws, in [0, 1), decide between mask, random token and neither.
        token_ids: int array or tensor (B, T) or (T,).
        seed: as in `mask_tokens`.
        replacement: `Replacement`.
        num_predictions: int, M.
        extra: the names of the further values.

    Returns:
        A dict, as `mask_tokens` and `mask_spans` return it.

    Raises:
        ValueError: for ids of another dtype, rank or range, and for more predictions than positions.
    """
    token_ids = _check_ids(token_ids)
    num_predictions = arguments.integer("num_predictions", num_predictions, 1)
    *batch, length = token_ids.shape
    _check_length(num_predictions, length)

    def masked(generator, ids):
        _check_length(num_predictions, ids.shape[-1])
        _check_range(ids, len(replacement.special))
        ids, alone = np.atleast_2d(ids).astype("int32"), ids.ndim == 1
        found = _replace(
            generator, ids, choose(generator, ids, ~replacement.special[ids]), replacement, num_predictions
        )
        return {name: value[0] for name, value in found.items()} if alone else found

    outputs = {"token_ids": ("int32", (*batch, length))}
    for name in ("mask_positions", "mask_ids", "mask_weights", *extra):
        outputs[name] = ("float32" if name == "mask_weights" else "int32", (*batch, num_predictions))
    return tensors.call(masked, [token_ids], seed, outputs)


def _replace(generator, ids, chosen, replacement, num_predictions):
    rows, columns, draws, extra = chosen
    originals = ids[rows, columns]
    random_ids = generator.choice(replacement.ordinary, len(rows))
    kept = np.where(draws < replacement.mask_rate + replacement.random_rate, random_ids, originals)
    replaced = ids.copy()
    replaced[rows, columns] = np.where(draws < replacement.mask_rate, replacement.mask_id, kept)
    slots = np.arange(len(rows)) - np.searchsorted(rows, rows)
    found = {"token_ids": replaced}
    for name, values in {"mask_positions": columns, "mask_ids": originals, "mask_weights": 1.0, **extra}.items():
        found[name] = np.zeros((len(ids), num_predictions), "float32" if name == "mask_weights" else "int32")
        found[name][rows, slots] = values
    return found


def _check_ids(token_ids):
    shape, dtype = getattr(token_ids, "shape", None), getattr(token_ids, "dtype", None)
    if tensors.in_tensorflow(token_ids):
        if hasattr(token_ids, "row_splits"):
            raise ValueError("`token_ids` must be padded to one length. Received: token_ids as a RaggedTensor.")
        integers, rank = dtype.is_integer, shape.rank
    else:
        try:
            token_ids = np.asarray(token_ids)
        except ValueError as error:
            raise ValueError("`token_ids` must be padded to one length. Received: rows of unequal length.") from error
        shape, dtype = token_ids.shape, token_ids.dtype
        integers, rank = dtype.kind in "iu", token_ids.ndim
    if not integers:
        name = getattr(dtype, "name", dtype)
        raise ValueError(f"`token_ids` must hold integer token ids. Received: token_ids of dtype {name}.")
    if rank not in (1, 2):
        raise ValueError(f"`token_ids` must have 1 or 2 axes. Received: token_ids of shape {shape}.")
    return token_ids


def _check_length(num_predictions, length):
    if length is not None and num_predictions > length:
        raise ValueError(
            "`num_predictions` must not be greater than the length: no masking more positions than exist. Received: "
            f"num_predictions={num_predictions}, length {length}."
        )


def _check_range(ids, vocabulary_size):
    if ids.size and not 0 <= ids.min() <= ids.max() < vocabulary_size:
        raise ValueError(
            "`token_ids` must hold token ids in [0, vocabulary_size). Received: ids from "
            f"{ids.min()} to {ids.max()} with vocabulary_size={vocabulary_size}."
        )
