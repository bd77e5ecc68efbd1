"""Whether a model can be decoded step by step: what cannot is refused by name, never decoded wrongly."""

import functools
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from ..graph import MISSING, complete_arguments, pack_inputs, walk
from ..layers import cache_protocol, stepwise
from . import programs, proof
from .decoder import Decoder
from .head import Head, heads
from .step import call, empty_caches, logits_step
from .trials import LENGTH, probe_conditioning, probe_ids, relative_error, tolerance

_PADDING = 2  # tokens that are not real, before the prompt of a trial


def check_decodable(model, given=(), output=None) -> None:
    """Raises `ValueError` unless cached steps of the model give what the whole model gives. Runs once for each model.

    A graph whose layers all are of classes that are known to work in steps shows it without a trial: ours with a cache, and
    those of Keras that treat each position by itself. Else up to 64 tokens go through the model, in one program where
    operations alone would be compiled one by one (JAX). Of the layers that are not known, one without a cache must
    give the first and the last token what it gives them alone, and one with a cache must not look ahead; and a prompt, with
    padding before it, followed by two steps must equal the full pass. What a class of one's own says by `is_stepwise` is
    believed. What reaches further than 64 tokens, or has no effect with the weights of that moment, is not seen.

    Args:
        model: functional `keras.Model` or built `keras.Sequential` from token ids (B, T), and what it is given beside them,
            to logits (B, T, V), or to probabilities.
        given: names of the inputs that are given, which are all but the ids; none for a model of one input.
        output: str or int, which of several outputs is decoded (see `generate`).

    Raises:
        ValueError: naming the layer that mixes positions or looks ahead, or that ends the model with anything but logits or
            probabilities; or if the model has no layer with a cache, or several outputs of which `output` names none.
    """
    check(Decoder.of(model, output, given))


def check(decoder):
    """Does what `check_decodable` does for a `Decoder`, which learns how logits are had of its model."""
    if decoder.is_checked or proof.is_known(decoder):
        decoder.is_checked = True
        return
    model, ids, trials = decoder.model, probe_ids(decoder), []
    run = programs.quick(decoder, functools.partial(_full_pass, known=proof.known_calls(decoder), trials=trials))
    full, caches, errors = run(ids, probe_conditioning(decoder))
    for trial, error in zip(trials, errors, strict=True):
        trial.raise_if(float(ops.convert_to_numpy(error)))
    if isinstance(full, (list, tuple, dict)) or len(full.shape) != 3:
        raise ValueError(
            "`model` must map token ids (B, T) to logits (B, T, V) to be decoded. Received: "
            f"{model.name} with output {getattr(full, 'shape', type(full).__name__)}."
        )
    size, allowed = decoder.inputs[decoder.ids].vocabulary_size, tolerance(full)
    if size is not None and full.shape[-1] > size:
        raise ValueError(
            "`model` must have no more outputs than its embedding has rows to be decoded. Received: "
            f"{model.name} with {full.shape[-1]} outputs and an embedding of {size} rows."
        )
    full = ops.convert_to_numpy(ops.cast(full, "float32"))
    for head in heads(model, full, allowed):
        error = relative_error(_in_steps(decoder, ids, caches, head), full)
        if error <= allowed:
            break
    if error > allowed:
        own = ", ".join(
            f"{layer.name!r} ({type(layer).__name__})"
            for layer in decoder.cached_layers.values()
            if not stepwise.is_stepwise(layer)
        )
        raise ValueError(
            "`model` must give the same outputs step by step as at once. Received: "
            f"{model.name}, whose cached steps differ from its full pass by {error:.2g} of the outputs' size. An operation "
            "outside the layers may mix positions, or a layer with a cache may forget something, or read what its `mask` calls "
            f"padding{f'; of classes that are not known to work in steps: {own}' if own else ''}."
        )
    decoder.head = head
    decoder.is_checked = not np.isnan(full).any()  # of which nothing can be seen


def _in_steps(decoder, ids, caches, head):
    """Returns the model's outputs as numpy: of a prompt at once, after padding, and of two tokens one after the other."""

    def step(decoder, ids, caches, mask):
        logits, caches = logits_step(decoder, ids, caches, mask, head=head)
        return logits if head == Head() else ops.softmax(logits), caches

    step, pieces, prompt = programs.quick(decoder, step), [], max(ids.shape[1] - 2, 1)
    begin = np.pad(ids[:, :prompt], [(0, 0), (_PADDING, 0)])
    for piece, padding in ((begin, _PADDING), *((ids[:, i : i + 1], 0) for i in range(prompt, ids.shape[1]))):
        outputs, caches = step(piece, caches, np.arange(piece.shape[1])[None] >= padding)
        pieces.append(ops.convert_to_numpy(outputs)[:, padding:])
    return np.concatenate(pieces, axis=1)


class Trial(NamedTuple):
    """A layer that was tried: what is raised where its outputs for a part of the positions differ by more than is allowed."""

    layer: Any
    path: str
    allowed: float

    def raise_if(self, error):
        """Raises `ValueError` unless the relative error is one that rounding may make."""
        if not error > self.allowed:  # nor where it is NaN, of which nothing can be seen
            return
        if cache_protocol.is_cached_layer(self.layer):
            raise ValueError(
                "`model` must not look ahead to be decoded. Received: "
                f"layer {self.path!r} ({type(self.layer).__name__}), whose outputs depend on later positions."
            )
        raise ValueError(
            "`model` must have a cache in every layer that mixes positions to be decoded. Received: "
            f"layer {self.path!r} ({type(self.layer).__name__}), which mixes positions and has none."
        )


class _Refused(Exception):
    """Ends a pass at a layer whose shapes alone refuse it."""


def _full_pass(decoder, ids, conditioning, known, trials):
    """Runs the model on all tokens at once; what comes from the other inputs is left as it is.

    Returns the model's outputs, the empty caches, and the relative errors of the layers that were tried, in the order of
    `trials`, a list to which a `Trial` is added for each. The outputs are `None` behind a layer whose error is infinite.
    """
    model, kept, errors = decoder.model, {}, []
    caches = empty_caches(decoder, 1, LENGTH + _PADDING, conditioning)

    def keep(operation, path, args, kwargs, there):
        kept[path] = there
        return MISSING

    walk(model, pack_inputs(model, conditioning), call, call_partial=keep)

    def check(layer, path, args, kwargs, there=()):
        if path in known:
            args, kwargs = complete_arguments(args, kwargs, dict(there))
            return layer(*args, **kwargs)
        outputs, found = _try_layer(layer, args, kwargs, dict(there))
        # What is no tensor, or several, is refused by its infinite error.
        whole = outputs[0] if isinstance(outputs, tuple) and outputs else outputs
        trials.extend([Trial(layer, path, tolerance(whole) if hasattr(whole, "dtype") else 0.0)] * len(found))
        errors.extend(found)
        if np.inf in [error for error in found if isinstance(error, float)]:
            raise _Refused
        return outputs

    def check_partial(operation, path, args, kwargs, there):
        if path not in kept:
            return MISSING
        if isinstance(operation, keras.Layer):
            return check(operation, path, args, kwargs, kept[path])
        args, kwargs = complete_arguments(args, kwargs, kept[path])
        return operation(*args, **kwargs)

    try:
        full = walk(model, pack_inputs(model, {decoder.ids: ids}), check, call_partial=check_partial)
    except _Refused:
        full = None
    return full, caches, errors


def _try_layer(layer, args, kwargs, there):
    """Returns a layer's outputs, and a list of the relative errors of what it gives for a part of the positions alone."""

    def call_part(part=None):
        def cut(value):
            return value[:, part] if part is not None and _is_sequence(value) else value

        positional, named = complete_arguments(*keras.tree.map_structure(cut, (args, kwargs)), there)
        return layer(*positional, **named)

    outputs = call_part()
    if cache_protocol.is_cached_layer(layer):
        # Scores beside the outputs have their positions elsewhere; they follow from the same queries and keys.
        whole, first = (each[0] if isinstance(each, tuple) else each for each in (outputs, call_part(slice(0, 1))))
        return outputs, [_error(whole, first, slice(0, 1))]
    try:
        return outputs, [_error(outputs, call_part(end), end) for end in (slice(0, 1), slice(-1, None))]
    except Exception:  # of the layer or of the backend: it takes no other number of positions
        return outputs, [np.inf]


def _is_sequence(value):
    return hasattr(value, "shape") and len(value.shape) >= 2 and value.shape[0] == 1


def _error(whole, partial, part):
    """Returns by how much outputs for a part of the positions differ from the whole: a scalar, or inf where shapes tell."""
    if hasattr(whole, "shape") and not _is_sequence(whole):  # it has no positions, such as biases by distance
        expected = whole
    elif not _is_sequence(whole) or whole.shape[1:2] == partial.shape[1:2] and whole.shape[1] != 1:
        return np.inf  # the sequence axis is gone, or does not follow that of the inputs
    else:
        expected = whole[:, part]
    if tuple(expected.shape) != tuple(partial.shape):
        return np.inf
    if 0 in expected.shape:
        return 0.0
    expected, partial = (ops.cast(x, "float32") for x in (expected, partial))
    return ops.max(ops.abs(partial - expected)) / ops.maximum(ops.max(ops.abs(expected)), 1e-6)
