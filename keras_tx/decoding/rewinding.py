"""Steps that are taken back in part: the caches of a model as if some of the last tokens of each row had not come."""

import keras
import numpy as np
from keras import ops

from ..ops.attention import KVCache, WindowCache, taking_back
from . import programs, proof
from .loop import flat, like
from .step import empty_caches, logits_step
from .trials import probe_conditioning, probe_ids, relative_error, tolerance

_TRIED = 4  # tokens of a trial's step, of which all but the first are taken back


def take_back(old, new, added, kept, real):
    """Returns the caches after a step of which each row keeps the first tokens alone, and how many slots are in use less.

    What is no part of a `KVCache` or a `WindowCache` must be the count of a row's tokens, or not be changed by the step.

    Args:
        old: caches before the step, a dict from path to structure.
        new: caches after it.
        added: int, T, the tokens of the step, the real ones of each row before the others.
        kept: int32 (B,), how many of its real tokens a row keeps.
        real: int32 (B,), how many of its tokens were real.

    Raises:
        ValueError: for a cache of another kind, naming the layer.
    """
    slots = added - ops.max(kept)

    def cut(path, before, after):
        if after is before or after is None:
            return after
        if isinstance(after, (KVCache, WindowCache)):
            same = all(one is other for one, other in zip(flat(before), flat(after), strict=True))
            return after if same else taking_back.take_back(after, added, kept, real, slots)
        if isinstance(after, dict):
            return {name: cut(path, before[name], each) for name, each in after.items()}
        if isinstance(after, (list, tuple)) and not hasattr(after, "_fields"):
            return type(after)(cut(path, *each) for each in zip(before, after, strict=True))
        if len(getattr(after, "shape", (0, 0))) == 1 and "int" in str(after.dtype):
            return after - ops.cast(real - kept, after.dtype)
        held = f"a tensor of shape {tuple(after.shape)}" if hasattr(after, "shape") else type(after).__name__
        raise ValueError(
            "`draft` must be for a model whose caches are KVCache, WindowCache, or counts of tokens (B,), of which tokens can be "
            f"taken back. Received: layer {path!r}, which holds {held}."
        )

    return {path: cut(path, old[path], new[path]) for path in new}, slots


def make_room(structure, slots, leaves, most, needed, room, shared=None):
    """Fills the gaps between the tokens of the rows, in caches of `room` slots, where fewer than `needed` would be free.

    Args:
        structure: the structure of the caches.
        slots: int32 scalar, how many slots are in use.
        leaves: list of tensors, the caches, flat.
        most: int32 scalar, the most tokens that a row has in the caches.
        needed: int.
        room: int, at least `most` + `needed`.
        shared: list of bools, which of the tensors no step changes, or `None`.

    Returns:
        How many slots are in use then, and the caches, flat.
    """
    flags = None if shared is None else like(structure, shared)

    def fill(slots, filled, leaves):
        caches = _each(like(structure, leaves), flags, taking_back.without_gaps)
        return ops.minimum(slots, most), ops.ones_like(filled), flat(caches)

    # A loop of one turn at most: a branch would have XLA copy the caches.
    start = (slots, ops.zeros((), "bool"), list(leaves))
    slots, _, leaves = ops.while_loop(
        lambda slots, filled, leaves: ops.logical_and(slots + needed > room, ops.logical_not(filled)), fill, start
    )
    return slots, leaves


def with_spare_slots(caches, spare):
    """Returns empty caches, or those of a model without a context, in which `spare` tokens may be taken back at once."""
    return _each(caches, None, lambda cache: taking_back.widened(cache, spare), WindowCache)


def without_constants(leaves, number):
    """Returns the tensors of caches with no constant of a graph among them; `number` is an integer tensor, and none itself.

    TensorFlow fails to compile a loop within a loop that hands a constant on ("Cannot find body function").
    """
    if keras.backend.backend() != "tensorflow":
        return list(leaves)
    kinds = [keras.backend.standardize_dtype(leaf.dtype) for leaf in leaves]
    return [
        leaf if "float" in kind else ops.where(ops.equal(number, number), leaf, leaf)
        for leaf, kind in zip(leaves, kinds, strict=True)
    ]


def _each(value, shared, function, kinds=(KVCache, WindowCache)):
    if isinstance(value, (KVCache, WindowCache)):
        untouched = not isinstance(value, kinds) or shared is not None and flat(shared)[0]
        return value if untouched else function(value)
    if isinstance(value, dict):
        parts = {name: None if shared is None else shared[name] for name in value}
        return {name: _each(each, parts[name], function, kinds) for name, each in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        parts = [None] * len(value) if shared is None else shared
        return type(value)(_each(each, part, function, kinds) for each, part in zip(value, parts, strict=True))
    return value


def check(decoder):
    """Raises `ValueError` unless tokens can be taken back of the model's caches: by a trial, unless its layers show it."""
    if decoder.can_take_back or proof.is_known(decoder):
        decoder.can_take_back = True
        return
    conditioning, ids = probe_conditioning(decoder), probe_ids(decoder)
    count = min(_TRIED, ids.shape[1] - 1)
    prompt, right = ids[:, : ids.shape[1] - count], ids[:, ids.shape[1] - count :]
    wrong = np.concatenate([right[:, :1], right[:, :0:-1]], axis=1)

    def trial(decoder, conditioning, prompt, right, wrong):
        caches = with_spare_slots(empty_caches(decoder, 1, ids.shape[1] + count, conditioning), _TRIED)
        _, caches = logits_step(decoder, prompt, caches)
        expected, _ = logits_step(decoder, right, caches)
        _, after = logits_step(decoder, wrong, caches)
        kept, real = (ops.convert_to_tensor([number], dtype="int32") for number in (1, count))
        after, _ = take_back(caches, after, count, kept, real)
        return expected, logits_step(decoder, right[:, 1:], after)[0]

    expected, outputs = programs.quick(decoder, trial)(conditioning, prompt, right, wrong)
    error = relative_error(outputs, ops.convert_to_numpy(expected)[:, 1:])
    if error > tolerance(outputs):
        raise ValueError(
            "`draft` must be for a model of whose caches tokens can be taken back. Received: "
            f"{decoder.model.name}, whose outputs then differ by {error:.2g} of their size."
        )
    decoder.can_take_back = True
