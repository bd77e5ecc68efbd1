"""One step of cached decoding, by a walk over any functional model whose layers keep the cache protocol."""

import inspect

import keras
from keras import ops

from ..graph import MISSING, complete_arguments, input_names, optional_inputs, pack_inputs, walk
from ..layers import cache_protocol
from ..ops import masks, padding
from .decoder import Decoder
from .head import Head, call_without

_DECODED = "decoded: "  # an empty entry of this name tells which of several inputs the caches are for
_GIVEN = "given: "  # and one of this which optional inputs were given


def init_caches(model, batch_size, max_length, context=None, output=None, cache_dtype=None) -> dict:
    """Returns an empty cache for every layer that decodes, after all that depends on the context alone was computed, once.

    Args:
        model: functional `keras.Model` or built `keras.Sequential`.
        batch_size: int, B.
        max_length: int, the most tokens that the caches hold, padding included.
        context: dict from the name of an input to its tensor (B, ...), for every input but the token ids; `None` for a
            model of one input.
        output: str or int, the one of several outputs that the caches are for (see `generate`), or `None` for all.
        cache_dtype: "int8" for keys and values that are rounded (see `generate`), or `None`.

    Returns:
        Dict from layer path to cache: a pytree that goes through compiled functions and loops. A layer with a context of
        its own has its keys and values in it. A layer or an operation without a cache that needs something computed
        from the context has that, as a dict of tensors.

    Raises:
        ValueError: if `output` names none of the outputs; if no layer of the model has a cache, naming the layers that would
            give it one; if no layer can hold its cache in the `cache_dtype`; if `context` does not leave one input; and by
            name for a layer that decodes and attends to what depends on the ids.

    Example:

    ```python
    ids = keras.Input((None,), dtype="int32")
    x = keras_tx.layers.TokenAndPositionEmbedding(50, 16, 8)(ids)
    model = keras.Model(ids, keras_tx.layers.TransformerDecoder(16, 2, name="block")(x))
    caches = keras_tx.decoding.init_caches(model, batch_size=1, max_length=16)
    outputs, caches = keras_tx.decoding.step(model, np.array([[3, 4, 5]]), caches)  # the prompt
    outputs, caches = keras_tx.decoding.step(model, np.array([[6]]), caches)  # one more token
    ```
    """
    context = context or {}
    decoder = Decoder.of(model, output, context, whole=True)
    return empty_caches(decoder, batch_size, max_length, context, cache_dtype)


def step(model, inputs, caches, mask=None, output=None) -> tuple:
    """Runs a functional model on the next T tokens of each row: the prompt at once, or one token at a time.

    What depends on the context alone is in the caches, and is not computed again.

    Args:
        model: functional `keras.Model` or built `keras.Sequential`.
        inputs: int32 ids (B, T).
        caches: dict from `init_caches`, or from the step before.
        mask: boolean (B, T), which of the ids are real, or `None` if the model knows or all are. Ids that are not real
            take no position, and nobody attends to them.
        output: str or int, the one of several outputs for which `init_caches` made the caches, or `None` for all.

    Returns:
        The model's outputs for these tokens, such as logits (B, T, V), and the new caches. Outputs equal those of the
        model on the whole sequence, to rounding, but after padding inside a row, which takes a position there and none here.

    Raises:
        ValueError: if `output` names none of the outputs.
    """
    ids = next((key.removeprefix(_DECODED) for key in caches if key.startswith(_DECODED)), None)
    if ids is None:
        return run_step(Decoder.of(model, output, whole=True).model, inputs, caches, mask)
    left_out = {name for name in optional_inputs(model) if _GIVEN + name not in caches}
    decoder = Decoder.of(model, output, set(input_names(model)) - left_out - {ids}, whole=True)
    return run_step(decoder.model, pack_inputs(decoder.model, {ids: inputs}), caches, mask)


def empty_caches(decoder, batch_size, max_length, conditioning, cache_dtype=None):
    """Does what `init_caches` does for a `Decoder`, whose other inputs are `conditioning`, a dict of tensors."""
    cache_protocol.check_dtype(cache_dtype)
    model, name = decoder.model, decoder.ids
    if not decoder.cached_layers:
        raise ValueError(
            "`model` must have layers with a cache to be decoded, such as TransformerDecoder or "
            "MultiHeadSelfAttention(causal=True), and TokenAndPositionEmbedding or SinusoidalPositionEncoding for "
            f"positions. Received: {model.name} with layers {[layer.name for layer in model.layers]}."
        )
    caches = {_DECODED + name: None} if conditioning else {}
    caches |= {_GIVEN + each: None for each in set(optional_inputs(model)) & set(conditioning)}

    def call_partial(operation, path, args, kwargs, there):
        if _is_cached_layer(operation):
            arguments = _context_arguments(operation, path, args, kwargs, f"where {name!r} is decoded")
            caches[path] = cache_protocol.new_cache(operation, cache_dtype, batch_size, max_length, **arguments)
        elif there:
            caches[path] = {place: _by_row(tensor, batch_size, path) for place, tensor in there.items()}
        return MISSING

    walk(model, pack_inputs(model, conditioning), call, call_partial=call_partial)
    _check_held(decoder, caches, cache_dtype)
    return caches


def logits_step(decoder, ids, caches, mask=None, head=None, last=False):
    """Runs a model on the next ids as `step` does, and returns its logits and the new caches.

    Where the model ends in a softmax these are the logits before it, and log probabilities where they cannot be had. A
    probability of 0 becomes -inf.

    `head` is a `Head`, or `None` for the decoder's own; with `last`, the logits (B, V) of the last position alone come back.
    """
    head, model = head or decoder.head or Head(), decoder.model
    own_call = call if head.softmax is None else call_without(head)
    outputs, caches = run_step(model, pack_inputs(model, {decoder.ids: ids}), caches, mask, own_call)
    outputs = ops.cast(outputs[:, -1] if last else outputs, "float32")
    return ops.log(outputs) if head.log else outputs, caches


def call(operation, path, args, kwargs):
    """Calls a layer or an operation as the model does."""
    return operation(*args, **kwargs)


def run_step(model, inputs, caches, mask=None, call=call):
    """Does what `step` does for inputs in the model's structure; what has no cache is called through the caller's function."""
    new_caches = dict(caches)

    def with_cache(layer, path, args, kwargs):
        outputs, new_caches[path], *more = layer(*args, **{**kwargs, "cache": caches[path]})
        return (outputs, *more) if more else outputs  # attention scores, which the graph asks for

    def call_layer(layer, path, args, kwargs):
        if path not in caches:
            return call(layer, path, args, kwargs)
        if mask is None or not cache_protocol.hands_on_mask(layer):
            return with_cache(layer, path, args, kwargs)
        first = args[0] if args else next(iter(kwargs.values()))
        own = padding.given_or_implicit(kwargs.get("mask"), first)
        real = masks.combine(mask, own) if own is not None and len(own.shape) == 2 else mask
        outputs = with_cache(layer, path, args, {**kwargs, "mask": real})
        # Keras attaches the mask to the outputs: a layer after this one would be called with a mask that the model's own
        # call does not have.
        return padding.detach(outputs) if own is None else outputs

    def call_partial(operation, path, args, kwargs, there):
        if path not in caches:
            return MISSING  # depends on the context alone
        if not _is_cached_layer(operation):
            args, kwargs = complete_arguments(args, kwargs, caches[path])
            return call(operation, path, args, kwargs)
        args = [None if value is MISSING else value for value in args]
        return call_layer(operation, path, args, {key: x for key, x in kwargs.items() if x is not MISSING})

    return walk(model, inputs, call_layer, call_partial=call_partial, call_operation=call), new_caches


def _check_held(decoder, caches, cache_dtype):
    """Raises `ValueError` unless something of the caches is held in the dtype that was asked for."""
    if cache_dtype is None:
        return
    leaves = [leaf for leaf in keras.tree.flatten(caches) if hasattr(leaf, "dtype")]
    if not any(keras.backend.standardize_dtype(leaf.dtype) == cache_dtype for leaf in leaves):
        kinds = sorted({type(layer).__name__ for layer in decoder.cached_layers.values()})
        raise ValueError(
            "`cache_dtype` must be None for a model of which no layer holds keys and values in it. Received: "
            f"cache_dtype={cache_dtype!r}, {decoder.model.name} with caches in layers of the classes {', '.join(kinds)}."
        )


def _is_cached_layer(operation):
    return isinstance(operation, keras.Layer) and cache_protocol.is_cached_layer(operation)


def _context_arguments(layer, path, args, kwargs, where):
    """Returns the arguments of a call that the layer's `init_cache` takes, by name."""
    known = inspect.signature(layer.init_cache).parameters
    found = {}
    for name, value in inspect.signature(layer.call).bind_partial(*args, **kwargs).arguments.items():
        if name in known and value is MISSING:
            raise ValueError(
                "`model` must compute what a layer attends to from its context alone to be decoded. Received: "
                f"layer {path!r} ({type(layer).__name__}), whose `{name}` depends on the ids, {where}."
            )
        if name in known and value is not None:
            found[name] = value
        elif ops.is_tensor(value):
            raise ValueError(
                "`model` must hand nothing of its context to a layer with a cache but what its `init_cache` takes. "
                f"Received: `{name}` of layer {path!r} ({type(layer).__name__}), {where}."
            )
    return found


def _by_row(tensor, batch_size, path):
    """Returns the tensor; raises `ValueError` unless each of its first axis belongs to a row, as beams take for granted."""
    known = isinstance(batch_size, int) and len(tensor.shape) and tensor.shape[0] is not None
    if not len(tensor.shape) or (known and tensor.shape[0] != batch_size):
        raise ValueError(
            "`model` must compute from its context tensors of which the first axis is the batch. Received: a tensor of "
            f"shape {tuple(tensor.shape)} for {path!r}, with batch_size={batch_size}."
        )
    return tensor
