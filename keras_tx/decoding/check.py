"""Whether a model can be decoded step by step: what cannot is refused by name, never decoded wrongly."""

import weakref

import keras
import numpy as np
from keras import ops

from ..graph import parts, walk
from ..layers import decode_state
from .programs import fingerprint
from .step import init_caches, step, steppers

_LENGTH = 64
_checked = weakref.WeakKeyDictionary()


def longest_sequence(model):
    """Returns the most tokens that the model's position tables hold, or `None` where nothing limits them."""
    lengths = [getattr(layer, "sequence_length", None) for layer in steppers(model).values()]
    return min((length for length in lengths if length is not None), default=None)


def vocabulary_size(model):
    """Returns how many token ids the model's embeddings know, or `None` where it has no embedding."""
    layers = [layer for _, layer in parts(model)]
    sizes = [layer.vocabulary_size for layer in layers if isinstance(getattr(layer, "vocabulary_size", None), int)]
    sizes = sizes or [layer.input_dim for layer in layers if isinstance(layer, keras.layers.Embedding)]
    return min(sizes, default=None)


def check_decodable(model):
    """Raises `ValueError` unless cached steps of the model give what the whole model gives. Runs once for each model.

    Up to 64 tokens go through the model. A layer without a cache must give the first and the last of them what it gives
    them alone; a layer with one must not look ahead; and a prompt followed by two steps must equal the full pass. What
    reaches further than 64 tokens, or has no effect with the weights of that moment, is not seen.

    Args:
        model: functional `keras.Model` from token ids (B, T) to logits (B, T, V).

    Raises:
        ValueError: naming the layer that mixes positions or looks ahead, or if the model has no layer with a cache.
    """
    check_one_input(model)
    if _checked.get(model) == fingerprint(model):
        return
    caches = init_caches(model, 1, _LENGTH)
    ids = _probe_ids(model)
    full = walk(model, ids, _check_layer)
    if isinstance(full, (list, tuple, dict)) or len(full.shape) != 3:
        raise ValueError(
            "`model` must map token ids (B, T) to logits (B, T, V) to be decoded. Received: "
            f"{model.name} with output {getattr(full, 'shape', type(full).__name__)}."
        )
    size = vocabulary_size(model)
    if size is not None and full.shape[-1] > size:
        raise ValueError(
            "`model` must have no more outputs than its embedding has rows to be decoded. Received: "
            f"{model.name} with {full.shape[-1]} outputs and an embedding of {size} rows."
        )
    pieces = []
    prompt = max(ids.shape[1] - 2, 1)
    for piece in (ids[:, :prompt], *(ids[:, i : i + 1] for i in range(prompt, ids.shape[1]))):
        outputs, caches = step(model, piece, caches)
        pieces.append(ops.convert_to_numpy(ops.cast(outputs, "float32")))
    error = _relative_error(np.concatenate(pieces, axis=1), full)
    if error > _tolerance(full):
        raise ValueError(
            "`model` must give the same outputs step by step as at once. Received: "
            f"{model.name}, whose cached steps differ from its full pass by {error:.2g} of the outputs' size. An operation "
            "outside the layers may mix positions."
        )
    _checked[model] = fingerprint(model)


def check_one_input(model):
    """Raises `ValueError` unless the model is functional with one input."""
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(f"`model` must be a functional keras.Model to be decoded. Received: model={model!r}.")
    if len(model.inputs) != 1:
        raise ValueError(
            "`model` must have one input, the token ids, to be decoded; a model with a context is decoded by "
            f"`init_caches(..., contexts=...)` and `step`. Received: {model.name} with {len(model.inputs)} inputs."
        )


def _probe_ids(model):
    length = min(_LENGTH, longest_sequence(model) or _LENGTH, model.inputs[0].shape[1] or _LENGTH)
    return (7 * np.arange(length, dtype="int32")[None] + 1) % (vocabulary_size(model) or 8)


def _check_layer(layer, path, args, kwargs):
    outputs = layer(*args, **kwargs)
    if decode_state.is_stepper(layer):
        first = layer(*_cut(args, slice(0, 1)), **_cut(kwargs, slice(0, 1)))
        if _differs(outputs, first, slice(0, 1)):
            raise ValueError(
                "`model` must not look ahead to be decoded. Received: "
                f"layer {path!r} ({type(layer).__name__}), whose outputs depend on later positions."
            )
    else:
        ends = (slice(0, 1), slice(-1, None))
        if any(_differs(outputs, layer(*_cut(args, end), **_cut(kwargs, end)), end) for end in ends):
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
    return _relative_error(partial, whole[:, part]) > _tolerance(whole)


def _relative_error(a, b):
    a, b = (np.asarray(ops.convert_to_numpy(ops.cast(x, "float32")), "float64") for x in (a, b))
    if a.shape != b.shape:
        return np.inf
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-6)) if a.size else 0.0


def _tolerance(outputs):
    return 1e-3 if keras.backend.standardize_dtype(outputs.dtype) in ("float32", "float64") else 5e-2
