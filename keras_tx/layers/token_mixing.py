"""Mixing of positions by a feed-forward network over them, in the place of attention."""

import keras
from keras import ops

from .. import arguments
from ..ops import masks, padding
from . import config, input_checks, sublayers
from .composite import Composite
from .feed_forward import FeedForward


@keras.saving.register_keras_serializable(package="keras_tx")
class TokenMixing(Composite, keras.layers.Layer):
    """The feed-forward network of MLP-Mixer along positions, for the attention slot of `TransformerEncoder`.

    y = (W_2 activation(W_1 x^T + b_1) + b_2)^T: the same network for each channel. The kernels have a row for each position, so
    that sequences of one length alone are taken.

    With a mask padding is set to zero before, and so are its outputs.

    Args:
        intermediate_dim: int, the width between the two linear maps.
        activation: name or function.
        dropout: float in [0, 1), between them, in training.
        kernel_initializer: of both kernels.
        bias_initializer: of both biases.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, T, D), or (..., T, D): axes before the last two are batch, and stand for B below. T is that of
            the first call.
        mask: boolean tensor (B, T), True at real positions; `None` for the mask that Keras carries, if any.
        training: bool.

    Returns:
        A tensor like the inputs.

    Raises:
        ValueError: for arguments out of range, a T that is 0 or not known when the layer is built or is another one later, inputs
            that are no floats, and masks of another shape.

    Example:

    ```python
    block = keras_tx.layers.TransformerEncoder(64, attention=keras_tx.layers.TokenMixing(16), normalize_first=True)
    y = block(keras.random.normal((2, 7, 32)))  # (2, 7, 32)
    ```

    Reference:
        Tolstikhin et al. 2021, "MLP-Mixer: An all-MLP Architecture for Vision", section 2.
    """

    gives_attention_scores = False  # what `analysis` reads: positions are mixed, and not by weights of attention

    def __init__(
        self,
        intermediate_dim,
        activation="gelu",
        dropout=0.0,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.intermediate_dim = arguments.positive_int("intermediate_dim", intermediate_dim)
        self.activation = config.activation("activation", activation)
        self.dropout = arguments.rate("dropout", dropout)
        self.kernel_initializer = config.initializer("kernel_initializer", kernel_initializer)
        self.bias_initializer = config.initializer("bias_initializer", bias_initializer)
        self.supports_masking = True
        self.feed_forward = FeedForward(
            self.intermediate_dim,
            self.activation,
            dropout=self.dropout,
            kernel_initializer=self.kernel_initializer,
            bias_initializer=self.bias_initializer,
            name="feed_forward",
            dtype=self.dtype_policy,
        )

    def build(self, input_shape):
        self.hidden_dim = input_checks.hidden_size("inputs", input_shape, least=3)
        self.length = input_shape[-2]
        if not self.length:
            raise ValueError(
                "`inputs` must have a known number of positions, at least 1, for which the layer has weights. Received: inputs "
                f"of shape {tuple(input_shape)}."
            )
        sublayers.build_once(self.feed_forward, (*input_shape[:-2], self.hidden_dim, self.length))

    def call(self, inputs, mask=None, training=None):
        mask = self._check(inputs, mask)
        x = ops.swapaxes(padding.zero_masked(inputs, mask), -1, -2)  # (B, D, T)
        x = ops.swapaxes(self.feed_forward(x, training=training), -1, -2)
        return padding.zero_masked(ops.cast(x, self.compute_dtype), mask)

    def _check(self, inputs, mask):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, least=3)
        if inputs.shape[-2] not in (None, self.length):
            raise ValueError(
                f"`inputs` must have the {self.length} positions for which the layer was built. Received: inputs of shape "
                f"{tuple(inputs.shape)}."
            )
        return masks.over_positions(inputs, mask)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def compute_output_spec(self, inputs, mask=None, training=None):
        self._check(inputs, mask)
        return sublayers.like_inputs(self, inputs)

    def get_config(self):
        return config.of(TokenMixing, self, super().get_config())
