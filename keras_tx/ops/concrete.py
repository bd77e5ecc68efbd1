"""Whether a value is a tensor, and whether its values are known when Python runs or it is only being traced."""

import keras

from ..private_keras import in_symbolic_scope


def is_placeholder(tensor):
    """Returns whether a tensor only stands for one while Keras builds: a promise of a shape, with no values.

    Its dtype promises nothing either: Keras builds subclassed models and a `Sequential` from floats, whatever comes later.
    """
    return isinstance(tensor, keras.KerasTensor) or in_symbolic_scope()


def concrete(tensor):
    """Returns the values of a tensor, or `None` for a placeholder and while a graph is being traced or compiled.

    Args:
        tensor: a backend tensor, a `KerasTensor`, a numpy array or a number.

    Returns:
        A numpy array, or `None` where no values exist yet.
    """
    if is_placeholder(tensor) or is_traced(tensor):  # torch builds with real tensors where it has to
        return None
    return keras.ops.convert_to_numpy(tensor)


def is_traced(tensor):
    """Returns whether a graph is being traced or compiled, in which the tensor stands for what comes later."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        if tf.is_tensor(tensor) and not hasattr(tensor, "numpy"):
            return True
        if not tf.executing_eagerly():
            return True
    elif backend == "jax":
        import jax

        if isinstance(tensor, jax.core.Tracer):
            return True
    elif backend == "torch":
        import torch

        if isinstance(tensor, torch.Tensor) and tensor.device.type == "meta":
            return True
        # A sample that is traced stands for other values.
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return True
    return False


def check_tensor(name, value):
    """Raises `ValueError` unless the value is a dense tensor or an array."""
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        raise ValueError(f"`{name}` must be a tensor. Received: {name} of type {type(value).__name__}.")
    check_dense(name, value)


def check_dense(name, value):
    """Raises `ValueError` for a ragged tensor."""
    if hasattr(value, "row_splits"):
        raise ValueError(
            f"`{name}` must be dense: fill its rows up with `to_tensor()`. Received: {name} as a {type(value).__name__}."
        )
