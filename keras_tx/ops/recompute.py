"""A function of tensors whose inner values are computed again in the backward pass instead of being kept."""

import keras


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
    return _BACKENDS[keras.backend.backend()](function, tensors)


def _tensorflow(function, tensors):
    import tensorflow as tf
    from tensorflow.compiler.tf2xla.python import xla

    def is_float(tensor):
        return tensor.dtype.is_floating

    # Keras' own (`keras.remat`, from `tf.recompute_grad`) has no gradient inside a function that XLA compiles.
    @tf.custom_gradient
    def run(*tensors):
        outputs = [tf.convert_to_tensor(each) for each in function(*tensors)]

        def gradient(*upstream):
            wanted = [index for index, tensor in enumerate(tensors) if is_float(tensor)]
            down = [each for each, output in zip(upstream, outputs, strict=True) if is_float(output)]
            # Nothing behind the barrier can be taken for what the forward pass computed, nor start before the backward pass.
            behind = xla.optimization_barrier(*[tensors[index] for index in wanted], *down)
            again, down = list(tensors), behind[len(wanted) :]
            for index, tensor in zip(wanted, behind, strict=False):
                again[index] = tensor
            watched = [again[index] for index in wanted]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(watched)
                results = [each for each in map(tf.convert_to_tensor, function(*again)) if is_float(each)]
            found = dict(zip(wanted, tape.gradient(results, watched, output_gradients=down), strict=True))
            return [found.get(index) for index in range(len(tensors))]

        return outputs, gradient

    return tuple(run(*(tf.convert_to_tensor(tensor) for tensor in tensors)))


def _jax(function, tensors):
    import jax

    return jax.checkpoint(function)(*tensors)


def _torch(function, tensors):
    from torch.utils import checkpoint

    # State, such as a seed, is changed in place before the backward pass: it gets what there was.
    tensors = [tensor if tensor.requires_grad else tensor.clone() for tensor in tensors]
    # The seeds are among the tensors: torch's own generator has no part in what is computed.
    return checkpoint.checkpoint(function, *tensors, use_reentrant=False, preserve_rng_state=False)


_BACKENDS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
