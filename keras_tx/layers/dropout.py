"""Dropout whose random bits cost next to nothing under XLA."""

import keras
from keras import ops

from .. import arguments
from ..ops import random_bits
from . import config, input_checks, sublayers
from .traced_subclasses import TracedSubclasses


@keras.saving.register_keras_serializable(package="keras_tx")
class Dropout(TracedSubclasses, keras.layers.Layer):
    """Sets a fraction of the inputs to zero in training, and scales the rest by 1 / (1 - rate).

    y = m * x / (1 - rate), with m drawn as Bernoulli(1 - rate) for each element. The bits come from a hash of (element
    index, seed), which the compiler computes inside the loop that applies them; the same seed gives the same bits on
    every backend. The seed changes with each call, and is saved with the weights.

    Args:
        rate: float in [0, 1), the fraction to drop.
        noise_shape: tuple or `None`: the shape of the mask, with `None` for an axis as long as that of the inputs and 1
            for an axis along which one draw is shared.
        seed: integer in [0, 2**31), or `None`. Two layers with one seed draw the same masks.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor of any shape.
        training: bool. Outside training the inputs are returned as they are.

    Returns:
        A tensor like the inputs.

    Raises:
        ValueError: if the rate or the seed lies outside its range, the inputs are no floats, or `noise_shape` does not
            broadcast to them.

    Example:

    ```python
    layer = keras_tx.layers.Dropout(0.5, seed=1)
    y = layer(keras.ops.ones((2, 3)), training=True)  # each element 0.0 or 2.0
    ```

    Reference:
        Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", section 4.
    """

    is_stepwise = True

    def __init__(self, rate, noise_shape=None, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.rate = arguments.rate("rate", rate)
        self.seed = arguments.seed("seed", seed)
        self.noise_shape = None if noise_shape is None else _noise_axes(noise_shape)
        self.supports_masking = True
        if self.rate > 0:
            self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.built = True

    def call(self, inputs, training=False):
        self._check(inputs)
        mask = self.next_mask(training)
        if mask is None:
            return inputs
        if self.noise_shape is None:
            return mask.apply(inputs)
        sizes = zip(self.noise_shape, ops.shape(inputs), strict=True)
        factors = ops.ones(tuple(size if axis is None else axis for axis, size in sizes), dtype=inputs.dtype)
        kept = mask.apply(factors)
        return ops.where(ops.equal(kept, 0), kept, inputs * kept)

    def next_mask(self, training=True):
        """Returns what is dropped in the next call, and moves the seed on; `None` outside training and for a rate of 0."""
        if not training or self.rate == 0:
            return None
        return random_bits.DropoutMask(self.rate, self.seed_generator.next())

    def _check(self, inputs):
        input_checks.check_float("inputs", inputs)
        if self.noise_shape is None:
            return
        fits = len(self.noise_shape) == len(inputs.shape) and all(
            axis in (None, 1) or size is None or axis == size
            for axis, size in zip(self.noise_shape, inputs.shape, strict=True)
        )
        if not fits:
            raise ValueError(
                f"`noise_shape` must broadcast to the inputs. Received: noise_shape={self.noise_shape}, inputs of shape "
                f"{tuple(inputs.shape)}."
            )

    def compute_output_shape(self, input_shape):
        return input_shape

    def compute_output_spec(self, inputs, training=False):
        self._check(inputs)
        return sublayers.like_inputs(self, inputs)

    # Keras saves no seeds. With this one a training that was interrupted goes on with the masks that it would have drawn, and a
    # file without it (of another rate, or written before) still loads.
    def save_own_variables(self, store):
        if self.rate > 0:
            store["seed"] = self.seed_generator.state

    def load_own_variables(self, store):
        if self.rate > 0 and "seed" in store:
            self.seed_generator.state.assign(store["seed"])

    def get_config(self):
        return config.of(Dropout, self, super().get_config())


def _noise_axes(noise_shape):
    if not isinstance(noise_shape, (list, tuple)):
        raise ValueError(f"`noise_shape` must be a tuple or None. Received: noise_shape={noise_shape!r}.")
    return tuple(arguments.positive_int("noise_shape", axis, optional=True) for axis in noise_shape)
