"""Checks of what a layer is called with: each names the rule, the argument and what came."""

import keras

from ..ops import sizes
from ..ops.concrete import check_tensor


def hidden_size(name, shape, rank=None, least=2):
    """Returns the size of the last axis; raises `ValueError` if it is unknown, or the rank another one or below `least`."""
    if rank is not None and len(shape) != rank:
        raise ValueError(f"`{name}` must have {rank} axes. Received: {name} of shape {tuple(shape)}.")
    if len(shape) < least or not isinstance(shape[-1], int) or shape[-1] < 1:
        raise ValueError(
            f"`{name}` must have at least {least} axes and a last axis of known, positive size. Received: {name} of shape "
            f"{tuple(shape)}."
        )
    return shape[-1]


def check_float(name, tensor):
    """Raises `ValueError` unless the value is a tensor of floats."""
    check_tensor(name, tensor)
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if "float" not in dtype:
        raise ValueError(f"`{name}` must be a float tensor. Received: {name} of dtype {dtype}.")


def check_inputs(name, inputs, hidden_dim, rank=None, least=2):
    """Raises `ValueError` unless the tensor is a float one with the last axis that the layer was built for, and the rank."""
    check_float(name, inputs)
    shape = tuple(inputs.shape)
    if (rank is not None and len(shape) != rank) or len(shape) < least or shape[-1] != hidden_dim:
        axes = f"{rank} axes" if rank is not None else f"at least {least} axes"
        raise ValueError(
            f"`{name}` must have {axes}, the last of size {hidden_dim} as built. Received: {name} of shape {shape}."
        )


def check_branch(inputs, outputs, slot):
    """Raises `ValueError` unless what the layer in a slot gave can be added to what it got: sizes of 1 would broadcast."""
    if len(outputs.shape) != len(inputs.shape) or any(map(sizes.differ, outputs.shape, inputs.shape)):
        raise ValueError(
            f"`{slot}` must map inputs (..., D) to outputs of the same shape. Received: outputs of shape {tuple(outputs.shape)} "
            f"for inputs of shape {tuple(inputs.shape)}."
        )


def check_same_batch(name, tensor, other_name, other, kept=2):
    """Raises `ValueError` if the axes of a tensor before its last `kept` are known to differ from those of (..., T, D)."""
    batch, other_batch = tensor.shape[:-kept], other.shape[:-2]
    if len(batch) != len(other_batch) or any(map(sizes.differ, batch, other_batch)):
        raise ValueError(
            f"`{name}` and `{other_name}` must have the same batch axes. Received: {name} of shape {tuple(tensor.shape)}, "
            f"{other_name} of shape {tuple(other.shape)}."
        )
