"""The projections into and out of attention heads, and how they start."""

import math

import keras

from . import sublayers
from .dense import EinsumDense


class MatrixInitializer(keras.initializers.Initializer):
    """Draws a kernel of several axes as the (inputs x outputs) matrix that it is.

    Keras takes a kernel of shape (D, N, H) for that of a convolution, and starts a projection into heads with values
    that are too small by the square root of the number of heads.
    """

    def __init__(self, initializer, input_axes):
        self.initializer = keras.initializers.get(initializer)
        self.input_axes = input_axes

    def __call__(self, shape, dtype=None):
        matrix = (math.prod(shape[: self.input_axes]), math.prod(shape[self.input_axes :]))
        return keras.ops.reshape(self.initializer(matrix, dtype=dtype), shape)

    def get_config(self):
        return {
            "initializer": keras.initializers.serialize(self.initializer),
            "input_axes": self.input_axes,
        }


def into_heads(num_heads, key_dim, name, use_bias, kernel_initializer, bias_initializer, dtype):
    """Returns the layer (B, T, D) -> (B, T, N, H)."""
    return EinsumDense(
        "btd,dhk->bthk",
        output_shape=(None, num_heads, key_dim),
        bias_axes="hk" if use_bias else None,
        kernel_initializer=MatrixInitializer(sublayers.fresh_initializer(kernel_initializer), 1),
        bias_initializer=sublayers.fresh_initializer(bias_initializer),
        name=name,
        dtype=dtype,
    )


def out_of_heads(hidden_dim, name, use_bias, kernel_initializer, bias_initializer, dtype):
    """Returns the layer (B, T, N, H) -> (B, T, D)."""
    return EinsumDense(
        "bthk,hkd->btd",
        output_shape=(None, hidden_dim),
        bias_axes="d" if use_bias else None,
        kernel_initializer=MatrixInitializer(sublayers.fresh_initializer(kernel_initializer), 2),
        bias_initializer=sublayers.fresh_initializer(bias_initializer),
        name=name,
        dtype=dtype,
    )


def head_size(num_heads, key_dim, hidden_dim):
    """Returns H: `key_dim`, or the hidden size over the heads; raises `ValueError` if they do not divide it."""
    if key_dim is not None:
        return key_dim
    if hidden_dim % num_heads:
        raise ValueError(
            f"`num_heads` must divide the hidden size. Received: num_heads={num_heads}, hidden size {hidden_dim}."
        )
    return hidden_dim // num_heads


def check_head_groups(num_heads, num_key_value_heads):
    """Raises `ValueError` unless the query heads can share the key heads evenly."""
    if num_key_value_heads is not None and num_heads % num_key_value_heads:
        raise ValueError(
            f"`num_key_value_heads` must divide `num_heads`. Received: num_key_value_heads={num_key_value_heads}, "
            f"num_heads={num_heads}."
        )
