"""One numpy implementation for arrays and for tensors of TensorFlow, which inside tf.data have no values yet."""

import numpy as np

from .. import arguments


def in_tensorflow(value):
    """Whether a value is a tensor of TensorFlow, found without importing it."""
    return type(value).__module__.partition(".")[0] == "tensorflow"


def call(function, inputs, seed, outputs):
    """Calls a numpy function on arrays, or on tensors as a node of their graph.

    Args:
        function: (generator, *arrays) -> {name: array}.
        inputs: list of arrays or tensors.
        seed: int, integer scalar tensor, or a tuple of those.
        outputs: {name: (dtype, static shape)}.

    Returns:
        A dict of arrays; of tensors where an input or the seed is one.

    Raises:
        ValueError: for a seed that is no integer or is negative.
    """
    seeds = [*seed] if isinstance(seed, (tuple, list)) else [seed]
    for each in seeds or [None]:
        _check_seed(each, seed)
    values = [*inputs, *seeds]

    def run(*arrays):
        arrays = iter(arrays)
        known = [next(arrays) if in_tensorflow(value) else value for value in values]
        generator = np.random.default_rng([_seed(each) for each in known[len(inputs) :]])
        found = function(generator, *known[: len(inputs)])
        return [found[name] for name in outputs]

    tensors = [value for value in values if in_tensorflow(value)]
    if not tensors:
        return dict(zip(outputs, run(), strict=True))
    import tensorflow as tf

    if tf.executing_eagerly():
        found = map(tf.convert_to_tensor, run(*(tensor.numpy() for tensor in tensors)))
    else:
        # The function is pure, its generator being made from its inputs: hence not stateful.
        found = tf.numpy_function(run, tensors, [dtype for dtype, _ in outputs.values()], stateful=False)
        for tensor, (_, shape) in zip(found, outputs.values(), strict=True):
            tensor.set_shape(shape)
    return dict(zip(outputs, found, strict=True))


def _check_seed(each, seed):
    if in_tensorflow(each):
        good = each.dtype.is_integer and each.shape.rank in (0, None)
    else:
        array = isinstance(each, np.ndarray) and each.ndim == 0 and each.dtype.kind in "iu"
        good = array or arguments.is_integer(each)
    if not good:
        raise ValueError(f"`seed` must be an integer, or a tuple of integers. Received: seed={seed!r}.")


def _seed(each):
    if int(each) < 0:
        raise ValueError(f"`seed` must hold integers of at least 0. Received: {int(each)}.")
    return int(each)
