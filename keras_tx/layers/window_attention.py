"""Self-attention inside windows of a map."""

import keras
from keras import ops

from .. import arguments
from ..ops import masks, sizes, windows
from . import config, input_checks, sublayers
from .composite import Composite
from .multi_head_self_attention import MultiHeadSelfAttention
from .window_position_bias import WindowPositionBias


@keras.saving.register_keras_serializable(package="keras_tx")
class WindowAttention(Composite, keras.layers.Layer):
    """Lets each position of a map attend to those in its window, with a learned bias for their offset.

    The map is cut into windows of the given size; with a shift, windows lie that much lower and further right, and hold no
    pairs that are no neighbours. A map that the window does not divide is filled up below and to the right, and the filling
    is masked out: what real positions get does not depend on what it holds, and a window larger than the map is attention over
    the whole map. Where a window covers a whole axis of the map nothing is shifted along it.

    The size of the map decides that, not its mask. So maps of different sizes, filled up to one and masked, get what each gets
    alone only if the window covers an axis of the filled map where it covers that of the real one: a real part of 3 rows in a
    window of 3 is shifted in a map of 5, and alone is not.

    Stands in the `attention` slot of `TransformerEncoder`.

    Args:
        num_heads: int, N.
        window_size: int, or (rows, columns).
        shift_size: int, or (rows, columns), each smaller than the window.
        key_dim: int, H; `None` for the width of the inputs over `num_heads`.
        dropout: float in [0, 1), on the attention weights in training.
        use_bias: bool, whether the four projections have biases.
        mask_padding: bool. False for the behaviour that released weights were trained with, in which the filling is zeros
            that take part in attention, and a map that one axis of the window covers is shifted along neither.
        kernel_initializer: of the four projections.
        bias_initializer: of their biases.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, Y, X, D), of any Y and X.
        mask: boolean tensor (B, Y, X), True at real positions; `None` for the mask that Keras carries, if any.
        training: bool.
        return_attention_scores: bool, whether to return the weights too. It changes no output.

    Returns:
        Outputs (B, Y, X, D), or `(outputs, scores)` with scores (B, N, Y X, Y X) in float32 or wider, positions in row-major
        order: zero between positions that share no window.

    Raises:
        ValueError: for arguments out of range, a shift not smaller than the window, inputs of another rank or width than
            built, and a mask that holds other numbers than 0 and 1 or has another shape.

    Example:

    ```python
    layer = keras_tx.layers.WindowAttention(num_heads=2, window_size=(2, 3), shift_size=1)
    y, scores = layer(keras.random.normal((1, 5, 4, 16)), return_attention_scores=True)  # (1, 5, 4, 16), (1, 2, 20, 20)
    ```

    Reference:
        Liu et al. 2021, "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", section 3.2.
    """

    def __init__(
        self,
        num_heads,
        window_size,
        shift_size=0,
        key_dim=None,
        dropout=0.0,
        use_bias=True,
        mask_padding=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = arguments.positive_int("num_heads", num_heads)
        self.window_size = arguments.extent("window_size", window_size)
        self.shift_size = arguments.extent("shift_size", shift_size, least=0)
        if any(shift >= size for shift, size in zip(self.shift_size, self.window_size, strict=True)):
            raise ValueError(
                "`shift_size` must be smaller than the window. Received: "
                f"shift_size={shift_size}, window_size={window_size}."
            )
        self.key_dim = arguments.positive_int("key_dim", key_dim, optional=True)
        self.dropout = arguments.rate("dropout", dropout)
        self.use_bias = arguments.flag("use_bias", use_bias)
        self.mask_padding = arguments.flag("mask_padding", mask_padding)
        self.kernel_initializer = config.initializer("kernel_initializer", kernel_initializer)
        self.bias_initializer = config.initializer("bias_initializer", bias_initializer)
        self.supports_masking = True
        bias = WindowPositionBias(
            self.num_heads, self.window_size, "zeros", name="position_bias", dtype=self.dtype_policy
        )
        self.attention = MultiHeadSelfAttention(
            self.num_heads,
            self.key_dim,
            dropout=self.dropout,
            use_bias=self.use_bias,
            position_bias=bias,
            kernel_initializer=self.kernel_initializer,
            bias_initializer=self.bias_initializer,
            name="attention",
            dtype=self.dtype_policy,
        )

    def build(self, input_shape):
        self.hidden_dim = input_checks.hidden_size("inputs", input_shape, rank=4)
        places = self.window_size[0] * self.window_size[1]
        sublayers.build_once(self.attention, (None, places, self.hidden_dim))

    def call(self, inputs, mask=None, training=None, return_attention_scores=False):
        mask = self._read(inputs, mask)
        batch, rows, columns = ops.shape(inputs)[:3]
        shift = self._shift(rows, columns)
        x = windows.partition(inputs, self.window_size, shift)  # (B W, T, D)
        outputs = self.attention(
            x,
            mask=self._real(mask, batch, rows, columns, shift),
            attention_mask=self._pairs(batch, rows, columns, shift),
            training=training,
            return_attention_scores=return_attention_scores,
        )
        x, scores = outputs if return_attention_scores else (outputs, None)
        x = windows.merge(ops.cast(x, self.compute_dtype), self.window_size, shift, batch, rows, columns)
        if scores is None:
            return x
        return x, windows.dense_scores(scores, rows, columns, self.window_size, shift)

    def _shift(self, rows, columns):
        """The shift along each axis, none along one that a window covers."""
        if not any(self.shift_size):
            return self.shift_size
        if None in (sizes.known(rows), sizes.known(columns)):
            rows, columns = (ops.convert_to_tensor(size, dtype="int32") for size in (rows, columns))
        beyond = [size > part for size, part in zip((rows, columns), self.window_size, strict=True)]
        if not self.mask_padding:
            both = beyond[0] & beyond[1]
            beyond = [both, both]
        return tuple(
            step * int(far) if isinstance(far, bool) else step * ops.cast(far, "int32")
            for step, far in zip(self.shift_size, beyond, strict=True)
        )

    def _real(self, mask, batch, rows, columns, shift):
        """(B W, T): which places of the windows are real; `None` if all are, or count as such."""
        if mask is None and (windows.divides(self.window_size, rows, columns) or not self.mask_padding):
            return None
        if mask is None:
            mask = ops.ones((batch, rows, columns), dtype="bool")
        elif not self.mask_padding:  # filled up with True, where `partition` would with False
            mask = ops.logical_not(windows.pad(ops.logical_not(mask), self.window_size))
        return windows.partition(mask, self.window_size, shift)

    def _pairs(self, batch, rows, columns, shift):
        """(B W, T, T): which places of a window are neighbours; `None` if all are."""
        if all(sizes.known(step) == 0 for step in shift):
            return None
        near = ops.convert_to_tensor(windows.shift_mask(rows, columns, self.window_size, shift), dtype="bool")
        return ops.tile(near, (batch, 1, 1))

    def _read(self, inputs, mask):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, rank=4)
        return masks.over_positions(inputs, mask)

    def compute_mask(self, inputs, previous_mask):
        return sublayers.inputs_mask_only(inputs, previous_mask)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def compute_output_spec(self, inputs, mask=None, training=None, return_attention_scores=False):
        self._read(inputs, mask)
        outputs = sublayers.like_inputs(self, inputs)
        if not return_attention_scores:
            return outputs
        grid = inputs.shape[1:3]
        count = None if None in grid else grid[0] * grid[1]
        dtype = keras.backend.result_type(self.compute_dtype, "float32")
        return outputs, keras.KerasTensor((inputs.shape[0], self.num_heads, count, count), dtype=dtype)

    def get_config(self):
        return config.of(WindowAttention, self, super().get_config())
