"""Whether a model can be decoded step by step: what cannot is refused by name, never decoded wrongly."""

import weakref

import keras
import numpy as np
from keras import ops

from ..graph import MISSING, fill_in, pack_inputs, walk
from ..layers import cache_protocol
from .inputs import vocabulary_size
from .logits import Head, heads, logits_step, remember
from .outputs import decoded_model
from .programs import fingerprint
from .step import call, decoded_input, init_caches
from .trials import LENGTH, probe_context, probe_ids, relative_error, tolerance

_checked = weakref.WeakKeyDictionary()


def check_decodable(model, given=(), output=None) -> None:
    """Raises `ValueError` unless cached steps of the model give what the whole model gives. Runs once for each model.

    Up to 64 tokens go through the model. A layer without a cache must give the first and the last of them what it gives
    them alone; a layer with one must not look ahead; and a prompt followed by two steps must equal the full pass. What
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
    model = decoded_model(model, output)
    given = tuple(sorted(given))
    known = _checked.setdefault(model, {})
    if known.get(given) == fingerprint(model):
        return
    name, context = decoded_input(model, given), probe_context(model, given)
    caches = init_caches(model, 1, LENGTH, context)
    ids = probe_ids(model, name, given)
    full = _check_layers(model, context, name, ids)
    if isinstance(full, (list, tuple, dict)) or len(full.shape) != 3:
        raise ValueError(
            "`model` must map token ids (B, T) to logits (B, T, V) to be decoded. Received: "
            f"{model.name} with output {getattr(full, 'shape', type(full).__name__)}."
        )
    size, allowed = vocabulary_size(model, name), tolerance(full)
    if size is not None and full.shape[-1] > size:
        raise ValueError(
            "`model` must have no more outputs than its embedding has rows to be decoded. Received: "
            f"{model.name} with {full.shape[-1]} outputs and an embedding of {size} rows."
        )
    full = ops.convert_to_numpy(ops.cast(full, "float32"))
    for head in heads(model, full, allowed):
        error = relative_error(_in_steps(model, ids, caches, head), full)
        if error <= allowed:
            break
    if error > allowed:
        raise ValueError(
            "`model` must give the same outputs step by step as at once. Received: "
            f"{model.name}, whose cached steps differ from its full pass by {error:.2g} of the outputs' size. An operation "
            "outside the layers may mix positions."
        )
    remember(model, head)
    if not np.isnan(full).any():  # of which nothing can be seen
        known[given] = fingerprint(model)


def _in_steps(model, ids, caches, head):
    """Returns the model's outputs as numpy: of a prompt at once, and of two tokens one after the other."""
    pieces, prompt = [], max(ids.shape[1] - 2, 1)
    for piece in (ids[:, :prompt], *(ids[:, i : i + 1] for i in range(prompt, ids.shape[1]))):
        logits, caches = logits_step(model, piece, caches, head=head)
        pieces.append(ops.convert_to_numpy(logits if head == Head() else ops.softmax(logits)))
    return np.concatenate(pieces, axis=1)


def _check_layers(model, context, name, ids):
    """Returns the model's outputs, each layer that decodes checked; what comes from the context is left as it is."""
    kept = {}

    def keep(operation, path, args, kwargs, there):
        kept[path] = there
        return MISSING

    walk(model, pack_inputs(model, context), call, call_partial=keep)

    def check(layer, path, args, kwargs):
        return _check_layer(layer, path, args, kwargs, {})

    def check_partial(operation, path, args, kwargs, there):
        if path not in kept:
            return MISSING
        if isinstance(operation, keras.Layer):
            return _check_layer(operation, path, args, kwargs, kept[path])
        args, kwargs = fill_in(args, kwargs, kept[path])
        return operation(*args, **kwargs)

    return walk(model, pack_inputs(model, {name: ids}), check, call_partial=check_partial)


def _check_layer(layer, path, args, kwargs, there):
    def call_part(part=None):
        cut = (args, kwargs) if part is None else (_cut(args, part), _cut(kwargs, part))
        filled, named = fill_in(*cut, there)
        return layer(*filled, **named)

    outputs = call_part()
    if cache_protocol.is_stepper(layer):
        if _differs(outputs, call_part(slice(0, 1)), slice(0, 1)):
            raise ValueError(
                "`model` must not look ahead to be decoded. Received: "
                f"layer {path!r} ({type(layer).__name__}), whose outputs depend on later positions."
            )
    elif any(_differs(outputs, call_part(end), end) for end in (slice(0, 1), slice(-1, None))):
        raise ValueError(
            "`model` must have a cache in every layer that mixes positions to be decoded. Received: "
            f"layer {path!r} ({type(layer).__name__}), which mixes positions and has none."
        )
    return outputs


def _is_sequence(value):
    return hasattr(value, "shape") and len(value.shape) >= 2 and value.shape[0] == 1


def _cut(arguments, part):
    if isinstance(arguments, dict):
        return {name: _cut(value, part) for name, value in arguments.items()}
    if isinstance(arguments, (list, tuple)):
        return type(arguments)(_cut(value, part) for value in arguments)
    return arguments[:, part] if _is_sequence(arguments) else arguments


def _differs(whole, partial, part):
    if not _is_sequence(whole) or whole.shape[1:2] == partial.shape[1:2] and whole.shape[1] != 1:
        return True  # the sequence axis is gone, or does not follow that of the inputs
    return relative_error(partial, whole[:, part]) > tolerance(whole)
