"""The position-wise feed-forward network, plain or gated."""

import keras
from keras import ops

from .. import arguments
from ..ops import activations, linear
from . import config, input_checks, stepwise, sublayers
from .composite import Composite
from .dense import Dense
from .dropout import Dropout


@keras.saving.register_keras_serializable(package="keras_tx")
class FeedForward(Composite, keras.layers.Layer):
    """Two linear maps with an activation between them, applied to each position on its own.

    FFN(x) = act(x W_1 + b_1) W_2 + b_2; gated: FFN(x) = (act(x W_g) * (x W_1)) W_2, biases likewise.

    Args:
        intermediate_dim: int, F.
        activation: name or function.
        gated: bool, whether the activation gates a second linear map (GEGLU for "gelu", SwiGLU for "silu").
        dropout: float in [0, 1), on the intermediate values in training.
        use_bias: bool.
        kernel_initializer: of the kernels.
        bias_initializer: of the biases.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (..., D), any rank from 2.
        training: bool.

    Returns:
        A float tensor (..., D).

    Raises:
        ValueError: for sizes that are no positive integers, an unknown activation, and inputs of another width than
            built.

    Example:

    ```python
    layer = keras_tx.layers.FeedForward(64, activation="silu", gated=True, use_bias=False)
    y = layer(keras.random.normal((2, 7, 16)))  # (2, 7, 16)
    ```

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.3; Shazeer 2020, "GLU Variants Improve Transformer",
        section 2, for gates.
    """

    is_stepwise = property(lambda self: stepwise.has_known_activation(self) and stepwise.has_stepwise_parts(self))

    def __init__(
        self,
        intermediate_dim,
        activation="relu",
        gated=False,
        dropout=0.0,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.intermediate_dim = arguments.positive_int("intermediate_dim", intermediate_dim)
        self.activation = config.activation("activation", activation)
        self.gated = arguments.flag("gated", gated)
        self.dropout = arguments.rate("dropout", dropout)
        self.use_bias = arguments.flag("use_bias", use_bias)
        self.kernel_initializer = config.initializer("kernel_initializer", kernel_initializer)
        self.bias_initializer = config.initializer("bias_initializer", bias_initializer)
        self.supports_masking = True
        self.intermediate = self.gate = self.output_dense = None
        self.intermediate_dropout = Dropout(self.dropout, name="intermediate_dropout", dtype=self.dtype_policy)

    def build(self, input_shape):
        self.hidden_dim = input_checks.hidden_size("inputs", input_shape)
        if self.intermediate is None:
            self.intermediate = self._dense(self.intermediate_dim, "intermediate")
            self.gate = self._dense(self.intermediate_dim, "gate") if self.gated else None
            self.output_dense = self._dense(self.hidden_dim, "output_dense")
        sublayers.build_once(self.intermediate, input_shape)
        sublayers.build_once(self.gate, input_shape)
        sublayers.build_once(self.output_dense, (*input_shape[:-1], self.intermediate_dim))

    def _dense(self, units, name):
        return Dense(
            units,
            use_bias=self.use_bias,
            kernel_initializer=sublayers.fresh_initializer(self.kernel_initializer),
            bias_initializer=sublayers.fresh_initializer(self.bias_initializer),
            name=name,
            dtype=self.dtype_policy,
        )

    def call(self, inputs, training=None):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim)
        return linear.over_rows(lambda rows: self._transform(rows, training), inputs)

    def _transform(self, x, training):
        y, activation = self.intermediate(x), activations.fusible(self.activation)  # (..., F)
        y = activation(y) if self.gate is None else ops.cast(activation(self.gate(x)), y.dtype) * y
        return ops.cast(self.output_dense(self.intermediate_dropout(y, training=training)), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def compute_output_spec(self, inputs, training=None):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim)
        return sublayers.like_inputs(self, inputs)

    def get_config(self):
        return config.of(FeedForward, self, super().get_config())
