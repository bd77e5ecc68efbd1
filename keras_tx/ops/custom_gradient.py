"""A function of tensors with a backward pass of its own, on every backend."""

import keras


def custom_gradient(forward, backward):
    """Returns the function of tensors that `forward` computes, whose gradient is what `backward` says.

    Args:
        forward: function `(*tensors) -> (outputs, residuals)`, both tuples of tensors. It must read no tensor but its
            arguments that a gradient is asked of.
        backward: function `(residuals, upstream) -> gradients`: `upstream` holds the gradient of each output, and one gradient
            is returned for each tensor, `None` for one that has none, such as integers.

    Returns:
        A function `(*tensors) -> outputs`, which has first derivatives alone. On a backend that has no gradients it computes the
        outputs alone.
    """
    return _BACKENDS.get(keras.backend.backend(), _outputs)(forward, backward)


def _outputs(forward, backward):
    return lambda *tensors: forward(*tensors)[0]


def _tensorflow(forward, backward):
    import tensorflow as tf

    @tf.custom_gradient
    def function(*tensors):
        outputs, residuals = forward(*tensors)
        return outputs, lambda *upstream: backward(residuals, upstream)

    return function


def _jax(forward, backward):
    import jax

    function = jax.custom_vjp(lambda *tensors: forward(*tensors)[0])
    function.defvjp(forward, lambda residuals, upstream: tuple(backward(residuals, upstream)))
    return function


def _torch(forward, backward):
    import torch

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *tensors):
            outputs, residuals = forward(*tensors)
            ctx.save_for_backward(*residuals)
            return tuple(outputs)

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, *upstream):
            with torch.no_grad():
                return tuple(backward(ctx.saved_tensors, upstream))

    return Function.apply


_BACKENDS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
