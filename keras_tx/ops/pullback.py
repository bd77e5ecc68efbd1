"""Gradients of the outputs of a function by its arguments, for as many upstream gradients as are asked for."""

import keras


def pullback(function, *tensors):
    """Returns `function(*tensors)`, and a function from gradients by its outputs to gradients by its arguments.

    Args:
        function: float tensors -> list of float tensors.
        *tensors: its arguments.

    Returns:
        The list of outputs, and a function `(list of a tensor like each output) -> list of a tensor like each argument`, zeros
        for one on which no output depends. It may be called again and again.

    Raises:
        ValueError: on a backend that has no gradients.
    """
    backend = keras.backend.backend()
    if backend not in _BACKENDS:
        raise ValueError(f"Gradients need TensorFlow, JAX or torch. Received: the backend {backend!r}.")
    return _BACKENDS[backend](function, tensors)


def _tensorflow(function, tensors):
    import tensorflow as tf

    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(tensors)
        outputs = function(*tensors)

    def pull(upstream):
        return tape.gradient(outputs, list(tensors), output_gradients=upstream, unconnected_gradients="zero")

    return outputs, pull


def _jax(function, tensors):
    import jax

    outputs, transpose = jax.vjp(function, *tensors)
    return outputs, lambda upstream: list(transpose(upstream))


def _torch(function, tensors):
    import torch

    tensors = [tensor.detach().requires_grad_(True) for tensor in tensors]
    with torch.enable_grad():
        outputs = function(*tensors)

    def pull(upstream):
        reached = [(output, each) for output, each in zip(outputs, upstream, strict=True) if output.requires_grad]
        if not reached:
            return [torch.zeros_like(tensor) for tensor in tensors]
        found = torch.autograd.grad(
            [output for output, _ in reached],
            tensors,
            [each for _, each in reached],
            retain_graph=True,
            materialize_grads=True,
        )
        return list(found)

    return [output.detach() for output in outputs], pull


_BACKENDS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
