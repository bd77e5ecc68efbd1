"""A function of tensors whose inner values are computed again in the backward pass instead of being kept."""

import keras
from keras import ops


def recompute(function, *tensors):
    """Returns `function(*tensors)`; what it computes on the way is not kept for the backward pass.

    Args:
        function: tensors -> tuple of tensors. It must read no other tensor that a gradient is asked of, change no state, and
            give the same outputs when it runs again.
        *tensors: its arguments.

    Returns:
        The tuple of outputs.

    Reference:
        Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", section 3.
    """
    # A backend that has no gradients keeps nothing anyway.
    run = _BACKENDS.get(keras.backend.backend(), lambda function, tensors: function(*tensors))
    return run(function, tensors)


def _tensorflow(function, tensors):
    import tensorflow as tf
    from tensorflow.compiler.tf2xla.python import xla

    # Keras' own (`keras.remat`, from `tf.recompute_grad`) has no gradient inside a function that XLA compiles.
    @tf.custom_gradient
    def run(*tensors):
        outputs = [tf.convert_to_tensor(each) for each in function(*tensors)]

        def gradient(*upstream):
            wanted = [index for index, tensor in enumerate(tensors) if tensor.dtype.is_floating]
            down = [each for each, output in zip(upstream, outputs, strict=True) if output.dtype.is_floating]
            # Nothing behind the barrier can be taken for what the forward pass computed.
            *floats, zero = xla.optimization_barrier(*[tensors[index] for index in wanted], tf.zeros(()))
            again = list(tensors)
            for index, tensor in zip(wanted, _after(down[0], floats, zero), strict=True):
                again[index] = tensor
            watched = [again[index] for index in wanted]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(watched)
                results = [each for each in map(tf.convert_to_tensor, function(*again)) if each.dtype.is_floating]
            found = dict(zip(wanted, tape.gradient(results, watched, output_gradients=down), strict=True))
            return [found.get(index) for index in range(len(tensors))]

        return outputs, gradient

    return tuple(run(*(tf.convert_to_tensor(tensor) for tensor in tensors)))


def _after(upstream, floats, zero):
    """Returns the floats, to be had only when the gradient from above is there.

    A barrier says so too, but XLA takes it out before it decides on an order, and would then compute all again at once, before
    the backward pass begins. What is NaN or infinite above makes all NaN.
    """
    first = ops.sum(ops.reshape(upstream, (-1,))[:1])  # a scalar for an empty batch too
    none = ops.cast(zero, "float32") * ops.cast(first, "float32")
    return [each + ops.cast(none, each.dtype) for each in floats]


def _jax(function, tensors):
    import jax
    from jax import numpy as jnp

    floats = [index for index, tensor in enumerate(tensors) if jnp.issubdtype(tensor.dtype, jnp.floating)]

    def of_floats(rest, *given):
        """The outputs that are floats, and the others."""
        flat = list(rest)
        for index, tensor in zip(floats, given, strict=True):
            flat[index] = tensor
        outputs = function(*flat)
        kinds = [jnp.issubdtype(each.dtype, jnp.floating) for each in outputs]
        return [each for each, kind in zip(outputs, kinds, strict=True) if kind], outputs

    @jax.custom_vjp
    def run(*tensors):
        return tuple(function(*tensors))

    def backward(kept, upstream):
        given, zero = jax.lax.optimization_barrier(([kept[index] for index in floats], jnp.zeros(())))
        down = [each for each in upstream if jnp.issubdtype(each.dtype, jnp.floating)]
        given = _after(down[0], given, zero)
        _, transpose, _ = jax.vjp(lambda *given: of_floats(kept, *given), *given, has_aux=True)
        found = dict(zip(floats, transpose(down), strict=True))
        return tuple(found.get(index) for index in range(len(kept)))

    run.defvjp(lambda *tensors: (run(*tensors), tensors), backward)
    return run(*tensors)


def _torch(function, tensors):
    from torch.utils import checkpoint

    # State, such as a seed, is changed in place before the backward pass: it gets what there was.
    tensors = [tensor if tensor.requires_grad else tensor.clone() for tensor in tensors]
    # Our seeds are among the tensors; what Keras' layers draw without a seed is of torch's own generator, which is put back.
    return checkpoint.checkpoint(function, *tensors, use_reentrant=False, preserve_rng_state=True)


_BACKENDS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
