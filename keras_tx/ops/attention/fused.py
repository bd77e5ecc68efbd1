"""The backend's own fused attention, for the cases that it supports: torch everywhere, JAX on a GPU."""

import keras
import numpy as np
from keras import ops

from .. import masks, sizes
from .blocks import LOWEST
from .blockwise import block_size, blockwise_attention

_HALF_FLOATS = ("float16", "bfloat16")


def supports(query, value, mask, bias, dropout_mask):
    """Says whether the fused attention computes this case without writing out all pairs.

    Dropout is not among them, as a library's drops other weights than ours would for the same seed. (Beside scores of 1e7 and
    more torch's gradients are off: its kernel keeps the logarithm of the sum added to the maximum, which rounds it away.)
    """
    if any(each is not None for each in (bias, dropout_mask, mask.pairs, mask.segments)):
        return False
    aligned = not sizes.differ(query.shape[1], value.shape[1]) and sizes.known(mask.offset) == 0
    if (mask.causal or mask.window is not None) and not aligned:
        return False
    name = keras.backend.backend()
    if mask.window is not None and (name != "torch" or mask.query_positions is not None):
        return False
    if name == "torch":
        return mask.keys is None or (not mask.causal and mask.window is None)
    # With padding as a bias cuDNN gave other numbers on an H100 (cuDNN of JAX 0.11.2, causal).
    return name == "jax" and mask.keys is None and on_gpu(query) and _for_cudnn(query, value)


def on_gpu(x):
    """Says whether the tensor is on a GPU, where the fused attention is the faster one for short sequences too."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() == "gpu"
    return keras.backend.backend() == "torch" and getattr(x, "is_cuda", False)


def fused_attention(query, key, value, mask):
    """softmax(Q K^T) V by the backend's own operation.

    Args:
        query: float tensor (B, T, N, H), scaled.
        key: float tensor (B, S, M, H).
        value: float tensor (B, S, M, H).
        mask: `AttentionMask` that `supports` has agreed to.

    Returns:
        The context (B, T, N, H), zeros for a query without keys.
    """
    # The library adds minus infinity to what is masked out, and NaN stays NaN then. So what is not finite is taken out, and
    # those that may attend to it are told so.
    good = ops.all(ops.isfinite(key), axis=-1, keepdims=True) & ops.all(ops.isfinite(value), axis=-1, keepdims=True)
    key, value = (ops.where(good, each, ops.zeros((), dtype=each.dtype)) for each in (key, value))
    context = _BACKENDS[keras.backend.backend()](query, key, value, mask)

    bad = ops.logical_not(good)  # (B, S, M, 1)
    if mask.keys is not None:
        bad = bad & ops.expand_dims(mask.keys, (2, 3))
    if mask.window is not None:
        length = query.shape[1]
        total = ops.pad(ops.cumsum(ops.cast(bad, "int32"), axis=1), [(0, 0), (1, 0), (0, 0), (0, 0)])
        first, end = (
            ops.convert_to_tensor(each, dtype="int32") for each in _in_window(mask, np.arange(length), length)
        )
        seen = ops.take(total, end, axis=1) > ops.take(total, first, axis=1)
    elif mask.causal:
        seen = ops.cumsum(ops.cast(bad, "int32"), axis=1) > 0
    else:
        seen = ops.any(bad, axis=1, keepdims=True)
    seen = ops.repeat(seen, query.shape[2] // key.shape[2], axis=2)
    seen = seen | ops.logical_not(ops.all(ops.isfinite(query), axis=-1, keepdims=True))
    context = ops.where(seen, ops.cast(float("nan"), context.dtype), context)
    found = mask.queries_with_keys(query.shape[1], key.shape[1])
    return (
        context
        if found is None
        else ops.where(ops.expand_dims(found, (2, 3)), context, ops.zeros((), dtype=context.dtype))
    )


def _in_window(mask, places, length):
    """The first key that a query at each of the places sees, and the one after the last."""
    ahead = 1 if mask.causal else mask.window
    return np.maximum(places - mask.window + 1, 0), np.minimum(places + ahead, length)


def _torch(query, key, value, mask):
    import torch

    if mask.window is not None:
        return _torch_window(query, key, value, mask)
    added, dtype = None, value.dtype
    if mask.keys is not None:
        # Finite, so that a query without keys has a gradient, and far below any score.
        lowest = ops.cast(LOWEST / 2, query.dtype)
        added = ops.where(mask.keys, ops.zeros((), dtype=query.dtype), lowest)[:, None, None]
    value = ops.cast(value, query.dtype)
    context = torch.nn.functional.scaled_dot_product_attention(
        *(each.transpose(1, 2) for each in (query, key, value)),
        attn_mask=added,
        is_causal=mask.causal,
        scale=1.0,
        enable_gqa=query.shape[2] != key.shape[2],
    )
    return ops.cast(context.transpose(1, 2), dtype)


def _torch_window(query, key, value, mask):
    """A block of queries at a time, with the blocks of keys that some of them see."""
    import torch

    contexts, length, size = [], query.shape[1], block_size(mask)
    # Split once: the gradient of a slice would be as long as the sequence, for each block anew.
    queries, keys, values = (
        each.transpose(1, 2).split(size, dim=2) for each in (query, key, ops.cast(value, query.dtype))
    )
    for number, block in enumerate(queries):
        rows = number * size + np.arange(block.shape[2])
        first, end = _in_window(mask, rows, length)
        near = slice(int(first[0]) // size, -(-int(end[-1]) // size))
        columns = np.arange(near.start * size, min(near.stop * size, length))
        context = torch.nn.functional.scaled_dot_product_attention(
            block,
            torch.cat(keys[near], dim=2),
            torch.cat(values[near], dim=2),
            attn_mask=masks.window(rows[None], columns[None], mask.window, mask.causal),
            scale=1.0,
            enable_gqa=query.shape[2] != key.shape[2],
        )
        contexts.append(context)
    return ops.cast(torch.cat(contexts, dim=2).transpose(1, 2), value.dtype)


def _jax(query, key, value, mask, implementation="cudnn"):
    import jax

    def attend(query, key, value):
        return jax.nn.dot_product_attention(
            query, key, value, scale=1.0, is_causal=mask.causal, implementation=implementation
        )

    def forward(*operands):
        return attend(*operands), operands

    def backward(operands, upstream):
        return jax.vjp(lambda *each: blockwise_attention(*each, mask), *operands)[1](upstream)

    if query.shape[1] % 2 == 0 and key.shape[1] % 2 == 0:
        return attend(query, key, value)
    # cuDNN has no gradient for odd lengths: blocks have.
    differentiable = jax.custom_vjp(attend)
    differentiable.defvjp(forward, backward)
    return differentiable(query, key, value)


def _for_cudnn(query, value):
    head_sizes = query.shape[-1], value.shape[-1]
    dtypes = {keras.backend.standardize_dtype(each.dtype) for each in (query, value)}
    fits = head_sizes[0] == head_sizes[1] <= 128 and head_sizes[0] % 8 == 0
    return fits and len(dtypes) == 1 and dtypes <= set(_HALF_FLOATS)


_BACKENDS = {"torch": _torch, "jax": _jax}
