"""The attention in a block's slot: which call it has, and that it gets every mask that it needs or is refused.

It maps (..., T, D) to the same, with the masks among the arguments of its call; or it is called with a query and a value, as
Keras' own attention is, and gets one mask over pairs.
"""

import inspect

import keras
from keras import ops

from ..ops import attention as attention_ops
from ..ops import masks, padding, sizes
from ..ops.attention.attention_mask import AttentionMask
from ..ops.leading_axes import LeadingAxes
from . import cache_protocol, slots, sublayers


def check(slot, attention, may_have_context=True):
    """Raises `ValueError` unless a layer for the slot has one of the two calls."""
    if attention is None:
        return
    signature = inspect.signature(attention.call)
    needed = [
        name
        for name, argument in signature.parameters.items()
        if argument.default is argument.empty and argument.kind not in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
    ]
    is_keras = takes_pairs(attention)
    axes = getattr(attention, "attention_axes", None)
    alone = needed[:1] + [name for name in needed[1:2] if may_have_context and name == "context"]
    if isinstance(attention, keras.layers.Attention) or not (needed == alone or is_keras and len(needed) == 2):
        raise ValueError(
            f"`{slot}` must hold a layer called as (inputs{', context' if may_have_context else ''}), with its masks by name, "
            "or as (query, value), as keras.layers.MultiHeadAttention is. Received: "
            f"{slot} of class {type(attention).__name__} with call{signature}."
        )
    if is_keras and axes is not None and tuple(axes) not in ((1,), (-2,)):
        raise ValueError(
            f"`{slot}` must attend along the positions alone, axis 1: axes before them are batch. Received: {slot} of class "
            f"{type(attention).__name__} with attention_axes={axes}."
        )


def takes_pairs(attention):
    """Returns whether a layer is called with a query and a value, and takes one mask over their pairs."""
    return list(inspect.signature(attention.call).parameters)[:2] == ["query", "value"]


def build(attention, inputs_shape, context_shape=None):
    """Builds the attention for inputs (..., T, D) and, where there is one, a context (..., S, C)."""
    shapes = [inputs_shape] if context_shape is None else [inputs_shape, context_shape]
    if takes_pairs(attention):
        shapes = [sublayers.folded_shape(shapes[0]), sublayers.folded_shape(shapes[-1])]
    slots.build(attention, *(keras.KerasTensor(shape, attention.compute_dtype) for shape in shapes))


def check_context(slot, attention, context_shape):
    """Raises `ValueError` if there is a context, and the attention takes none."""
    if context_shape is not None and not takes_pairs(attention) and not cache_protocol.takes(attention, "context"):
        raise ValueError(
            f"`{slot}` must hold a layer that takes a context, as MultiHeadCrossAttention does, to be given one. Received: "
            f"context of shape {tuple(context_shape)} for {_named(attention)}."
        )


def check_cached(slot, attention, block):
    """Raises `ValueError` unless the attention in a block's slot has a cache."""
    if not cache_protocol.is_cached_layer(attention):
        raise ValueError(
            f"`{slot}` must have a cache (`init_cache`, and `cache` among the arguments of its call) for its block to be decoded "
            f"step by step, as the block's own has. Received: {slot} of class {type(attention).__name__} in {block.name}."
        )


def call_attention(attention, inputs, call=None, causal=False, **arguments):
    """Calls the attention in a block's slot with those arguments that were given, and splits off what follows its
    outputs.

    Args:
        attention: the layer in the slot.
        inputs: its first argument.
        call: what to call in place of the layer: its `compute_output_spec`, while a graph is built.
        causal: whether the block's positions must not look ahead: what is told to a layer that takes a mask over pairs and
            does not say itself whether it is `causal`.
        **arguments: its others, of those `attend_by_pairs` names; those that are `None` or False are left out.

    Returns:
        The outputs, and a tuple of what else it returned.

    Raises:
        ValueError: if the layer has no such argument, or not the masks that it needs. `training` is offered, not required.
    """
    if takes_pairs(attention):
        return attend_by_pairs(attention, inputs, call, causal, **arguments)
    if arguments.get("context") is not None:
        implicit = padding.given_or_implicit(arguments.get("context_mask"), arguments["context"])
        arguments["context_mask"] = implicit
    elif call is None:
        inputs, arguments = _for_foreign(attention, inputs, causal and not hasattr(attention, "causal"), arguments)
    given = {}
    for name, value in arguments.items():
        if value is None or value is False:
            continue
        if cache_protocol.takes(attention, name):
            given[name] = value
        elif name not in ("mask", "training"):
            raise _not_taken(name, attention)
    outputs = (call or attention)(inputs, **given)
    return (outputs[0], tuple(outputs[1:])) if isinstance(outputs, (tuple, list)) else (outputs, ())


def extras_spec(attention, inputs, **arguments):
    """Returns the symbolic form of what follows the outputs of the attention when it is called so."""
    return call_attention(attention, inputs, call=attention.compute_output_spec, **arguments)[1]


def _for_foreign(attention, inputs, causal, arguments):
    """What a layer that knows nothing of this package gets: its masks in the arguments that it has."""
    mask, pairs, cache = (arguments.get(name) for name in ("mask", "attention_mask", "cache"))
    takes_mask, takes_both = (cache_protocol.takes(attention, name) for name in ("mask", "attention_mask"))
    if mask is not None and not takes_mask and not takes_both:
        if len(mask.shape) != len(inputs.shape) - 1 or not attention.supports_masking:
            raise ValueError(
                "`attention` must have `mask` or `attention_mask` among the arguments of its call to be given padded inputs, or "
                "set `supports_masking` in its constructor, where it is enough that padding is zeros. Received: a mask for "
                f"{_named(attention)}."
            )
        inputs = padding.zero_masked(inputs, mask)
    if causal and cache_protocol.takes(attention, "use_causal_mask"):
        arguments, causal = {**arguments, "use_causal_mask": True}, False
    mask, causal = None if takes_mask else mask, causal and cache is None
    if takes_both and (mask is not None or causal):
        mask, pairs = masks.read(inputs, mask, pairs, _heads(attention), inputs.shape[-2])
        batch = LeadingAxes(inputs)
        folded, mask = batch.fold(inputs, 2), batch.fold(mask, 1)
        whole = _whole(AttentionMask(mask, mask, batch.fold(pairs, 3), causal), folded, folded)
        arguments = {**arguments, "attention_mask": batch.unfold(whole)}
    return inputs, arguments


def _heads(attention):
    return getattr(attention, "num_heads", getattr(attention, "num_query_heads", None))


def attend_by_pairs(
    attention,
    inputs,
    call=None,
    causal=False,
    mask=None,
    context=None,
    context_mask=None,
    attention_mask=None,
    context_attention_mask=None,
    training=None,
    return_attention_scores=False,
    **others,
):
    """Calls an attention of a query and a value with one mask over their pairs; keeps the mask contract as ours do.

    Args and returns: as `call_attention`. Others than these arguments are refused.
    """
    for argument, value in others.items():
        if value is not None:
            raise ValueError(
                f"`{argument}` must be among the arguments of the attention's call to be used, and these begin with the inputs, "
                f"not with a query and a value. Received: {argument} for {_named(attention)}."
            )
    keys, name, pairs = inputs, "attention_mask", attention_mask
    if context is not None:
        keys, name, pairs = context, "context_attention_mask", context_attention_mask
    heads = _heads(attention)
    mask, pairs = masks.read(inputs, mask, pairs, heads, keys.shape[-2], name)
    if pairs is not None and sizes.known(pairs.shape[-3]) != 1:
        raise ValueError(
            f"`{name}` must be one for all heads, (T, S) or (B, T, S), where the attention is called with a query and a value: "
            "a head that it leaves no key would attend to what is masked. Received: "
            f"{name} of shape {tuple(pairs.shape)} for {_named(attention)}."
        )
    key_mask = mask if context is None else masks.over_positions(context, context_mask, "context_mask")
    has_mask = not AttentionMask(mask, key_mask, pairs, causal).allows_all
    alone = (
        causal
        and AttentionMask(mask, key_mask, pairs).allows_all
        and cache_protocol.takes(attention, "use_causal_mask")
    )
    asked = {"return_attention_scores": return_attention_scores, "attention_mask": has_mask and not alone}
    for argument, is_asked in asked.items():
        if is_asked and not cache_protocol.takes(attention, argument):
            raise _not_taken(argument, attention)
    given = {"return_attention_scores": True} if return_attention_scores else {}
    if call is not None:
        query, value = (keras.KerasTensor(sublayers.folded_shape(x.shape), x.dtype) for x in (inputs, keys))
        outputs = call(query, value, **given)
        outputs, *scores = outputs if isinstance(outputs, (tuple, list)) else [outputs]
        heads = heads if heads is not None or not scores else scores[0].shape[1]
        scores = [attention_ops.scores_spec(inputs, heads, keys.shape[-2], attention.compute_dtype)] if scores else []
        return keras.KerasTensor((*inputs.shape[:-1], outputs.shape[-1]), outputs.dtype), tuple(scores)

    batch, others = LeadingAxes(inputs), LeadingAxes(keys)
    if context is not None:
        keys = padding.zero_masked(context, key_mask)
    inputs, keys, pairs = batch.fold(inputs, 2), others.fold(keys, 2), batch.fold(pairs, 3)
    attention_mask = AttentionMask(batch.fold(mask, 1), others.fold(key_mask, 1), pairs, causal)
    lengths = ops.shape(inputs)[1], ops.shape(keys)[1]
    if alone:
        given["use_causal_mask"] = True
    elif has_mask:
        given["attention_mask"] = _whole(attention_mask, inputs, keys)
    if training is not None and cache_protocol.takes(attention, "training"):
        given["training"] = training
    outputs = attention(inputs, keys, **given)
    outputs, *scores = outputs if isinstance(outputs, (tuple, list)) else [outputs]
    outputs = batch.unfold(padding.zero_masked(outputs, attention_mask.queries_with_keys(*lengths)))
    if scores:
        scores, pair_mask = scores[0], attention_mask.whole(*lengths)
        scores = ops.cast(scores, keras.backend.result_type(scores.dtype, "float32"))
        scores = scores if pair_mask is None else ops.where(pair_mask, scores, ops.zeros((), dtype=scores.dtype))
        scores = [batch.unfold(scores)]
    return outputs, tuple(scores)


def _whole(attention_mask, queries, keys):
    """The mask over all pairs: (B, T, S), as Keras' attention documents it, or (B, N, T, S) where it is not one for all heads."""
    (batch, num_queries, _), num_keys = ops.shape(queries), ops.shape(keys)[1]
    mask = masks.as_pairs(attention_mask.whole(num_queries, num_keys))
    if sizes.known(mask.shape[1]) == 1:
        return ops.broadcast_to(ops.squeeze(mask, 1), (batch, num_queries, num_keys))
    return mask


def _not_taken(argument, attention):
    return ValueError(
        f"`{argument}` must be among the arguments of the attention's call to be used. Received: {argument} for "
        f"{_named(attention)}, whose call has none."
    )


def _named(attention):
    return f"{type(attention).__name__} ({attention.path or attention.name})"
