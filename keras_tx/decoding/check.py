"""Whether a model can be decoded step by step: what cannot is refused by name, never decoded wrongly."""

import weakref

import keras
import numpy as np
from keras import ops

from ..graph import MISSING, fill_in, pack_inputs, parts, walk
from ..layers import decode_state
from .programs import fingerprint
from .step import decoded_input, init_caches, inputs_of_layers, step, steppers

_LENGTH, _CONTEXT_LENGTH, _PADDING = 64, 16, 3
_checked, _ignoring = weakref.WeakKeyDictionary(), weakref.WeakKeyDictionary()


def longest_sequence(model, given=()):
    """Returns the most tokens that the position tables hold where the model decodes, or `None` where nothing limits them."""
    return _least("sequence_length", steppers(model, given).values())


def longest_input(model, name):
    """Returns the most tokens that the position tables hold for one of the model's inputs, or `None`."""
    return _least("sequence_length", _layers_of(model, name))


def vocabulary_size(model, name=None):
    """Returns how many token ids the embeddings of an input know (`None`: all embeddings), or `None` where there are none."""
    layers = (
        _with_parts(model) if name is None else [x for layer in _layers_of(model, name) for x in _with_parts(layer)]
    )
    size = _least("vocabulary_size", layers)
    return size or _least("input_dim", (layer for layer in layers if isinstance(layer, keras.layers.Embedding)))


def reserves_zero(model, name):
    """Returns whether id 0 of an input is padding."""
    layers = [part for layer in _layers_of(model, name) for part in _with_parts(layer)]
    return any(getattr(layer, "mask_zero", False) for layer in layers)


def _layers_of(model, name):
    return [layer for layer, names in inputs_of_layers(model).values() if names == {name}]


def _with_parts(layer):
    return [layer, *(part for _, part in parts(layer))]


def _least(attribute, layers):
    sizes = [getattr(layer, attribute, None) for layer in layers]
    return min((size for size in sizes if isinstance(size, int)), default=None)


def input_tensors(model):
    """Returns the symbolic inputs of a functional model by name."""
    if isinstance(model.input, dict):
        return dict(model.input)
    return {tensor.name: tensor for tensor in model.inputs}


def check_decodable(model, given=()):
    """Raises `ValueError` unless cached steps of the model give what the whole model gives. Runs once for each model.

    Up to 64 tokens go through the model. A layer without a cache must give the first and the last of them what it gives
    them alone; a layer with one must not look ahead; and a prompt followed by two steps must equal the full pass. What
    reaches further than 64 tokens, or has no effect with the weights of that moment, is not seen.

    Args:
        model: functional `keras.Model` from token ids (B, T), and what it is given beside them, to logits (B, T, V).
        given: names of the inputs that are given, which are all but the ids; none for a model of one input.

    Raises:
        ValueError: naming the layer that mixes positions or looks ahead, or if the model has no layer with a cache.
    """
    check_inputs(model, given)
    given = tuple(sorted(given))
    known = _checked.setdefault(model, {})
    if known.get(given) == fingerprint(model):
        return
    context, name = _probe_context(model, given), decoded_input(model, given)
    caches = init_caches(model, 1, _LENGTH, context)
    ids = _probe_ids(model, name, given)
    full = _check_layers(model, context, name, ids)
    if isinstance(full, (list, tuple, dict)) or len(full.shape) != 3:
        raise ValueError(
            "`model` must map token ids (B, T) to logits (B, T, V) to be decoded. Received: "
            f"{model.name} with output {getattr(full, 'shape', type(full).__name__)}."
        )
    size = vocabulary_size(model, name)
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
    known[given] = fingerprint(model)


def check_inputs(model, given=()):
    """Raises `ValueError` unless the model is functional and has one input beside those that are given."""
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(f"`model` must be a functional keras.Model to be decoded. Received: model={model!r}.")
    decoded_input(model, given)


def ignores_padding(model, given, pad_id):
    """Returns whether padding at the end of what the model is given changes nothing: found out by a trial for each model."""
    key = (tuple(sorted(given)), pad_id)
    known = _ignoring.setdefault(model, {})
    if known.get(key, (None,))[0] != fingerprint(model):
        known[key] = (fingerprint(model), _tries_padding(model, given, pad_id))
    return known[key][1]


def padding_of(model, name, pad_id):
    """Returns what pads an input: the id where it holds tokens, else zero (False in a mask)."""
    return pad_id if vocabulary_size(model, name) is not None else 0


def _tries_padding(model, given, pad_id):
    sizes = [vocabulary_size(model, name) for name in given]
    if any(size is not None and not 0 <= pad_id < size for size in sizes):
        return False
    ids = _probe_ids(model, decoded_input(model, given), given)[:, :1]
    context = _probe_context(model, given, pad_id)
    padded = {}
    _, padding = _probe_lengths(model, given)
    for name, array in context.items():
        grows = array.ndim > 1 and input_tensors(model)[name].shape[1] is None
        width = [(0, 0), (0, padding), *[(0, 0)] * (array.ndim - 2)] if grows else [(0, 0)] * array.ndim
        padded[name] = np.pad(array, width, constant_values=padding_of(model, name, pad_id))
    plain, longer = (step(model, ids, init_caches(model, 1, _LENGTH, each))[0] for each in (context, padded))
    return _relative_error(longer, plain) <= _tolerance(plain)


def _probe_ids(model, name, given):
    length = min(_LENGTH, longest_sequence(model, given) or _LENGTH, input_tensors(model)[name].shape[1] or _LENGTH)
    return (7 * np.arange(length, dtype="int32")[None] + 1) % (vocabulary_size(model, name) or 8)


def _probe_lengths(model, given):
    """How long what is given is in a trial, one length for all as they may belong together, and how much padding has room."""
    limits = [longest_input(model, name) for name in given]
    limit = min((limit for limit in limits if limit), default=_CONTEXT_LENGTH)
    length = max(1, min(_CONTEXT_LENGTH, limit) - _PADDING)
    return length, min(_PADDING, limit - length)


def _probe_context(model, given, pad_id=0):
    """Returns something for each given input: tokens that are no padding, True, or numbers of unit size."""
    context = {}
    length, _ = _probe_lengths(model, given)
    for name in given:
        tensor = input_tensors(model)[name]
        shape = (1, *(length if size is None else size for size in tensor.shape[1:]))
        count = int(np.prod(shape))
        if tensor.dtype == "bool":
            values = np.ones(count)
        elif "int" in tensor.dtype:
            size = vocabulary_size(model, name) or 2
            values = (7 * np.arange(count) + 1) % size
            values = np.where(values == pad_id, (pad_id + 1) % size, values)
        else:
            values = np.sin(np.arange(1, count + 1))
        context[name] = values.reshape(shape).astype(tensor.dtype)
    return context


def _check_layers(model, context, name, ids):
    """Returns the model's outputs, each layer that decodes checked; what comes from the context is left as it is."""
    kept = {}

    def keep(operation, path, args, kwargs, there):
        kept[path] = there
        return MISSING

    walk(model, pack_inputs(model, context), _call_layer, call_partial=keep)

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


def _call_layer(layer, path, args, kwargs):
    return layer(*args, **kwargs)


def _check_layer(layer, path, args, kwargs, there):
    def call(part=None):
        cut = (args, kwargs) if part is None else (_cut(args, part), _cut(kwargs, part))
        filled, named = fill_in(*cut, there)
        return layer(*filled, **named)

    outputs = call()
    if decode_state.is_stepper(layer):
        if _differs(outputs, call(slice(0, 1)), slice(0, 1)):
            raise ValueError(
                "`model` must not look ahead to be decoded. Received: "
                f"layer {path!r} ({type(layer).__name__}), whose outputs depend on later positions."
            )
    elif any(_differs(outputs, call(end), end) for end in (slice(0, 1), slice(-1, None))):
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
