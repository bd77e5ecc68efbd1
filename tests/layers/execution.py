"""Running a layer in each of the ways that a backend has: eagerly, compiled, and for gradients."""

import keras
import numpy as np
from keras import ops

BACKEND = keras.backend.backend()
COMPILES = BACKEND != "torch"
POLICIES = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16")


def tensor(array, dtype=None):
    return ops.convert_to_tensor(array, dtype=dtype)


def array(value):
    """A numpy array of a tensor; half floats come widened to float32, which loses no bit."""
    if value is None:
        return None
    if "float" in keras.backend.standardize_dtype(value.dtype):
        value = ops.cast(value, "float32")
    return ops.convert_to_numpy(value.value if isinstance(value, keras.Variable) else value)


def arrays(structure):
    return keras.tree.map_structure(array, structure)


def compiled(function):
    """The function under XLA; the function itself on torch, where there is no XLA."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False)
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    return function


def quick(function):
    """The function as it runs fastest over a few calls: eager, but compiled on JAX, which compiles each operation else."""
    return compiled(function) if BACKEND == "jax" else function


def run(model, inputs):
    """The outputs of a model of one input, as a numpy array."""
    return array(quick(model)(tensor(inputs)))


def frozen(function):
    """The function with all state, that of random numbers too, put back after each call."""

    def call(*args, **kwargs):
        with keras.StatelessScope():
            return function(*args, **kwargs)

    return call


def gradients(loss, variables):
    """The function that gives, for tensors, the gradients of `loss(*tensors)` by each of the variables.

    They come as numpy arrays, `None` where there is none.
    """
    if BACKEND == "tensorflow":
        import tensorflow as tf

        def call(*tensors):
            with tf.GradientTape() as tape:
                value = loss(*tensors)
            found = tape.gradient(value, [variable.value for variable in variables])
            return [None if each is None else array(tf.convert_to_tensor(each)) for each in found]

    elif BACKEND == "jax":
        import jax

        def of_values(values, *tensors):
            with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
                return loss(*tensors)

        compiled_gradient = jax.jit(jax.grad(of_values))

        def call(*tensors):
            return arrays(compiled_gradient([variable.value for variable in variables], *tensors))

    else:

        def call(*tensors):
            for variable in variables:
                variable.value.grad = None
            loss(*tensors).backward()
            return [array(variable.value.grad) for variable in variables]

    return call


def input_gradient(function, inputs):
    """The gradient of `function(inputs)`, a scalar, by the inputs, as a numpy array."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(inputs)
            value = function(inputs)
        return array(tape.gradient(value, inputs))
    if BACKEND == "jax":
        import jax

        return array(jax.grad(function)(inputs))
    inputs = inputs.clone().requires_grad_(True)
    function(inputs).backward()
    return array(inputs.grad)


def weighted_sum(outputs, seed=0):
    """A scalar that depends on every number of the first output, each with a weight of its own."""
    outputs = outputs[0] if isinstance(outputs, (tuple, list)) else outputs
    weights = np.random.default_rng(seed).uniform(0.5, 1.5, tuple(outputs.shape)).astype("float32")
    return ops.sum(ops.cast(outputs, "float32") * tensor(weights))


@keras.saving.register_keras_serializable(package="keras_tx_tests")
class AttachMask(keras.layers.Layer):
    """Hands its first input on, with the second as the mask that Keras carries."""

    def call(self, inputs, real):
        return ops.copy(inputs)

    def compute_mask(self, inputs, previous_mask=None):
        return self.real

    def __call__(self, inputs, real):
        self.real = real
        return super().__call__(inputs, real)


class SeenMask(keras.layers.Layer):
    """Hands its input on, and remembers the mask that came with it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs, mask=None):
        self.mask = mask
        return inputs
