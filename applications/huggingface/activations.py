"""The activations that checkpoints name, and the functions that they are."""

import keras

from ...ops.activations import gelu_tanh

# The first name of a function is the one that is written.
FUNCTIONS = {
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "gelu_python_tanh": gelu_tanh,
    "gelu_fast": gelu_tanh,
    "gelu_accurate": gelu_tanh,
    "gelu": keras.activations.gelu,
    "gelu_python": keras.activations.gelu,
    "relu": keras.activations.relu,
    "relu6": keras.activations.relu6,
    "silu": keras.activations.silu,
    "swish": keras.activations.silu,
    "hardswish": keras.activations.hard_silu,
    "mish": keras.activations.mish,
    "tanh": keras.activations.tanh,
    "sigmoid": keras.activations.sigmoid,
    "linear": keras.activations.linear,
}
