"""Whether a model can be decoded step by step: what cannot is refused by name, never decoded wrongly."""

import keras
import numpy as np
from keras import ops

from ..graph import MISSING, complete_arguments, pack_inputs, walk
from ..layers import cache_protocol
from . import proof
from .decoder import Decoder
from .head import Head, heads
from .step import call, empty_caches, logits_step
from .trials import LENGTH, probe_conditioning, probe_ids, relative_error, tolerance


def check_decodable(model, given=(), output=None) -> None:
    """Raises `ValueError` unless cached steps of the model give what the whole model gives. Runs once for each model.

    A graph whose layers all are of classes that are known to work in steps shows it without a trial: ours with a cache, and
    those of Keras that treat each position by itself. Else up to 64 tokens go through the model. A layer without a cache must
    give the first and the last of them what it gives them alone; a layer with one must not look ahead; and a prompt followed
    by two steps must equal the full pass. What a class of one's own says by `is_stepwise` is believed. What
    reaches further than 64 tokens, or has no effect with the weights of that moment, is not seen.

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
    model, conditioning, ids = decoder.model, probe_conditioning(decoder), probe_ids(decoder)
    caches = empty_caches(decoder, 1, LENGTH, conditioning)
    full = _check_layers(decoder, conditioning, ids)
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
        raise ValueError(
            "`model` must give the same outputs step by step as at once. Received: "
            f"{model.name}, whose cached steps differ from its full pass by {error:.2g} of the outputs' size. An operation "
            "outside the layers may mix positions."
        )
    decoder.head = head
    decoder.is_checked = not np.isnan(full).any()  # of which nothing can be seen


def _in_steps(decoder, ids, caches, head):
    """Returns the model's outputs as numpy: of a prompt at once, and of two tokens one after the other."""
    pieces, prompt = [], max(ids.shape[1] - 2, 1)
    for piece in (ids[:, :prompt], *(ids[:, i : i + 1] for i in range(prompt, ids.shape[1]))):
        logits, caches = logits_step(decoder, piece, caches, head=head)
        pieces.append(ops.convert_to_numpy(logits if head == Head() else ops.softmax(logits)))
    return np.concatenate(pieces, axis=1)


def _check_layers(decoder, conditioning, ids):
    """Returns the model's outputs, each layer that decodes checked; what comes from the other inputs is left as it is."""
    model, kept = decoder.model, {}

    def keep(operation, path, args, kwargs, there):
        kept[path] = there
        return MISSING

    walk(model, pack_inputs(model, conditioning), call, call_partial=keep)

    def check(layer, path, args, kwargs):
        return _check_layer(layer, path, args, kwargs, {})

    def check_partial(operation, path, args, kwargs, there):
        if path not in kept:
            return MISSING
        if isinstance(operation, keras.Layer):
            return _check_layer(operation, path, args, kwargs, kept[path])
        args, kwargs = complete_arguments(args, kwargs, kept[path])
        return operation(*args, **kwargs)

    return walk(model, pack_inputs(model, {decoder.ids: ids}), check, call_partial=check_partial)


def _check_layer(layer, path, args, kwargs, there):
    def call_part(part=None):
        def cut(value):
            return value[:, part] if part is not None and _is_sequence(value) else value

        positional, named = complete_arguments(*keras.tree.map_structure(cut, (args, kwargs)), there)
        return layer(*positional, **named)

    def mixes(end):
        try:
            return _differs(outputs, call_part(end), end)
        except ValueError:  # the layer itself takes no other number of positions
            return True

    outputs = call_part()
    if cache_protocol.is_cached_layer(layer):
        # Scores beside the outputs have their positions elsewhere; they follow from the same queries and keys.
        whole, first = (each[0] if isinstance(each, tuple) else each for each in (outputs, call_part(slice(0, 1))))
        if _differs(whole, first, slice(0, 1)):
            raise ValueError(
                "`model` must not look ahead to be decoded. Received: "
                f"layer {path!r} ({type(layer).__name__}), whose outputs depend on later positions."
            )
    elif any(mixes(end) for end in (slice(0, 1), slice(-1, None))):
        raise ValueError(
            "`model` must have a cache in every layer that mixes positions to be decoded. Received: "
            f"layer {path!r} ({type(layer).__name__}), which mixes positions and has none."
        )
    return outputs


def _is_sequence(value):
    return hasattr(value, "shape") and len(value.shape) >= 2 and value.shape[0] == 1


def _differs(whole, partial, part):
    if hasattr(whole, "shape") and not _is_sequence(whole):  # it has no positions, such as biases by distance
        return whole.shape != partial.shape or relative_error(partial, whole) > tolerance(whole)
    if not _is_sequence(whole) or whole.shape[1:2] == partial.shape[1:2] and whole.shape[1] != 1:
        return True  # the sequence axis is gone, or does not follow that of the inputs
    return relative_error(partial, whole[:, part]) > tolerance(whole)
