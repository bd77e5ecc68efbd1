"""The protocol by which decoding reaches a layer: any layer that keeps it can be stepped, whatever its class.

A cached layer has `init_cache(batch_size, max_length, context=None)` and accepts `call(..., cache=c) -> (outputs,
new_cache)`. A cache is a value (a pytree of tensors); the layer keeps nothing. Where its `init_cache` takes `cache_dtype` too, it
can hold what it holds in "int8".
"""

import inspect

import keras

from .. import arguments
from ..ops import attention, sizes, token_ids
from ..ops.attention import KVCache, WindowCache


def is_cached_layer(layer):
    """Returns whether a layer has a cache: `init_cache`, and `cache` among the arguments of its `call`."""
    return callable(getattr(layer, "init_cache", None)) and takes(layer, "cache")


def takes(layer, argument):
    """Returns whether the layer's `call` has an argument of this name."""
    return argument in inspect.signature(layer.call).parameters


def hands_on_mask(layer):
    """Returns whether the layer's `call` has a `mask`, or takes whatever it is given by name."""
    return _is_given(layer.call, "mask")


def _is_given(function, argument):
    known = inspect.signature(function).parameters
    return argument in known or any(each.kind is each.VAR_KEYWORD for each in known.values())


def gives_scores(layer):
    """Returns whether a layer can be asked for attention weights: a block cannot, where what stands in its slot has none."""
    return takes(layer, "return_attention_scores") and not mixes_without_scores(layer)


def mixes_without_scores(layer):
    """Returns whether a layer says by `gives_attention_scores` that it mixes positions by other means than attention weights."""
    return not getattr(layer, "gives_attention_scores", True)


def check_dtype(cache_dtype):
    """Returns the dtype of caches that was asked for; raises `ValueError` unless it is `None` or "int8"."""
    if cache_dtype is not None and (not isinstance(cache_dtype, str) or cache_dtype != "int8"):
        raise ValueError(
            "`cache_dtype` must be 'int8', or None for the dtype that a layer computes in. Received: "
            f"cache_dtype={cache_dtype!r}."
        )
    return cache_dtype


def new_cache(layer, cache_dtype, *arguments, **named):
    """Returns the layer's `init_cache(...)`, in the dtype that was asked for where the layer has a choice."""
    if cache_dtype is not None and _is_given(layer.init_cache, "cache_dtype"):
        named["cache_dtype"] = cache_dtype
    return layer.init_cache(*arguments, **named)


def check_new(layer, batch_size, max_length, cache_dtype=None):
    """Raises `ValueError` unless such a cache can be made. Sizes that are tensors are taken as they are."""
    check_dtype(cache_dtype)
    if not layer.built:
        raise ValueError(
            f"A layer must be built by its first call before `init_cache`. Received: {layer.name}, which is not built."
        )
    if not hasattr(batch_size, "shape"):
        arguments.integer("batch_size", batch_size, least=0)
    if not hasattr(max_length, "shape"):
        arguments.positive_int("max_length", max_length)


def check_keys(cache, inputs, num_heads, key_dim, window=None):
    """Raises `ValueError` unless the cache is for this batch size, heads of this number and size, and this window."""
    if not isinstance(cache, KVCache if window is None else (KVCache, WindowCache)):
        raise ValueError(
            f"`cache` must be a KVCache from `init_cache`. Received: cache of type {type(cache).__name__}."
        )
    check_rank("inputs", inputs)
    (rows, _, size), batch = cache.keys.shape, cache.batch_size
    expected = None if batch is None else batch * num_heads
    other = isinstance(cache, WindowCache) and not cache.fits(window)
    if sizes.differ(batch, inputs.shape[0]) or sizes.differ(rows, expected) or size != key_dim or other:
        raise ValueError(
            "`cache` must come from this layer's `init_cache` for the same batch size. Received: cache with keys of shape "
            f"{tuple(cache.keys.shape)} for inputs of shape {tuple(inputs.shape)} and {num_heads} heads of size {key_dim}"
            f"{'' if window is None else f', window={window}'}."
        )


def check_no_pairs(cache, **arguments):
    """Raises `ValueError` for a mask or a bias over pairs beside a cache whose slots are not in the order of the tokens."""
    for name, value in arguments.items():
        if value is not None and isinstance(cache, WindowCache):
            raise ValueError(
                f"`{name}` must not be given beside the cache of a window, whose slots are not in the tokens' order. Received: "
                f"{name} of shape {tuple(value.shape)}."
            )


def check_rank(name, tensor, rank=3):
    """Raises `ValueError` unless a tensor has the axes that a cache is made for, of which one alone is batch."""
    if len(tensor.shape) != rank:
        raise ValueError(
            f"`{name}` must have {rank} axes where there is a cache. Received: {name} of shape {tuple(tensor.shape)}."
        )


def pair(cache):
    """Returns the two caches of a decoder block, `None` for none; raises `ValueError` for anything else than a pair."""
    if cache is None:
        return None, None
    if not isinstance(cache, (tuple, list)) or len(cache) != 2:
        raise ValueError(
            "`cache` must be the pair of caches from `init_cache`. Received: cache of type "
            f"{type(cache).__name__}{f' with {len(cache)} parts' if isinstance(cache, (tuple, list)) else ''}."
        )
    return cache


def check_count(cache, inputs):
    """Returns the cache as integers; raises `ValueError` unless it counts tokens for each row of the inputs: (B,)."""
    token_ids.check_whole("cache", cache, what="counts")
    dtype, shape = keras.backend.standardize_dtype(cache.dtype), tuple(cache.shape)
    if len(shape) != 1 or sizes.differ(shape[0], inputs.shape[0]):
        raise ValueError(
            "`cache` must be the count of tokens from `init_cache` for the same batch size, integers of shape "
            f"({inputs.shape[0]},). Received: cache of shape {shape} and dtype {dtype}."
        )
    return token_ids.as_integers(cache)


def with_extras(outputs, return_attention_scores, scores, cache, new_cache):
    """Returns what `call` returns: the outputs, then the new cache if one came in, then the scores if they were asked for."""
    extras = []
    if cache is not None:
        extras.append(new_cache)
    if return_attention_scores:
        extras.append(scores)
    return (outputs, *extras) if extras else outputs


def attention_spec(layer, inputs, context, given):
    """Returns the symbolic form of `with_extras` for attention from inputs to a context, or to a cache among what is given."""
    num_keys = context.shape[-2] if given.cache is None else given.cache.num_keys(inputs.shape[-2])
    scores = attention.scores_spec(inputs, layer.num_heads, num_keys, layer.compute_dtype)
    outputs = keras.KerasTensor(inputs.shape, dtype=layer.compute_dtype)
    return with_extras(outputs, given.return_attention_scores, scores, given.cache, given.cache)
