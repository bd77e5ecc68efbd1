"""Learned tokens before the patches."""

import math

import keras
from keras import ops

from .. import arguments
from ..ops import masks, padding
from . import config, input_checks, sublayers
from .traced_subclasses import TracedSubclasses


@keras.saving.register_keras_serializable(package="keras_tx")
class ClassToken(TracedSubclasses, keras.layers.Layer):
    """Puts learned tokens before a sequence, or before the positions of a map in row-major order.

    z = [t_1 + p_1; ...; x_1; x_2; ...]. What is read off an image is read off them, as off [CLS] in BERT. The positions of
    the tokens are here and not in the table of the grid, which another size resamples and these do not concern.

    Args:
        num_tokens: int, how many: 1, or 2 with a distillation token.
        use_positions: bool, whether each token has a position vector added.
        initializer: of the tokens and of their positions.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, Y, X, D) or (B, P, D).
        mask: boolean tensor (B, Y, X) or (B, P), True at real positions; `None` for the mask that Keras carries, if any.

    Returns:
        A float tensor (B, num_tokens + P, D), P = Y X. With a mask it carries one, in which the tokens are real.

    Raises:
        ValueError: for arguments out of range, and inputs of another rank or width than built.

    Example:

    ```python
    y = keras_tx.layers.ClassToken()(keras.random.normal((2, 3, 4, 16)))  # (2, 13, 16)
    ```

    Reference:
        Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", section 3.1, equation 1; Touvron et al. 2021, "Training
        data-efficient image transformers", section 4, for a second token.
    """

    def __init__(self, num_tokens=1, use_positions=True, initializer="zeros", **kwargs):
        super().__init__(**kwargs)
        self.num_tokens = arguments.positive_int("num_tokens", num_tokens)
        self.use_positions = arguments.flag("use_positions", use_positions)
        self.initializer = config.initializer("initializer", initializer)
        self.supports_masking = True

    def build(self, input_shape):
        _check_rank(input_shape)
        self.hidden_dim = input_checks.hidden_size("inputs", input_shape)
        shape = (self.num_tokens, self.hidden_dim)
        self.token = self.add_weight(shape, sublayers.fresh_initializer(self.initializer), name="token")
        self.position = None
        if self.use_positions:
            self.position = self.add_weight(shape, sublayers.fresh_initializer(self.initializer), name="position")

    def call(self, inputs, mask=None):
        mask = self._read(inputs, mask)
        sizes = ops.shape(inputs)
        count = sizes[1] * sizes[2] if len(sizes) == 4 else sizes[1]
        token = self.token if self.position is None else self.token + self.position
        token = ops.broadcast_to(ops.cast(token, inputs.dtype), (sizes[0], self.num_tokens, self.hidden_dim))
        outputs = ops.concatenate([token, ops.reshape(inputs, (sizes[0], count, self.hidden_dim))], axis=1)
        if mask is None:
            return outputs
        real = ops.ones((sizes[0], self.num_tokens), dtype="bool")
        return padding.attach(outputs, ops.concatenate([real, ops.reshape(mask, (sizes[0], count))], axis=1))

    def _read(self, inputs, mask):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim)
        _check_rank(inputs.shape)
        return masks.over_positions(inputs, mask)

    def compute_mask(self, inputs, previous_mask):
        return None  # the outputs carry theirs already

    def compute_output_shape(self, input_shape):
        grid = input_shape[1:-1]
        count = None if None in grid else self.num_tokens + math.prod(grid)
        return (input_shape[0], count, input_shape[-1])

    def compute_output_spec(self, inputs, mask=None):
        self._read(inputs, mask)
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)

    def get_config(self):
        return config.of(ClassToken, self, super().get_config())


def _check_rank(shape):
    if len(shape) not in (3, 4):
        raise ValueError(f"`inputs` must have 3 or 4 axes. Received: inputs of shape {tuple(shape)}.")
