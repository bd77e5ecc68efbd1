"""A learned bias for each offset between two positions of a window."""

import keras
from keras import ops

from .. import arguments
from ..ops import token_ids, windows
from ..ops.concrete import concrete
from . import config, sublayers
from .traced_subclasses import TracedSubclasses


@keras.saving.register_keras_serializable(package="keras_tx")
class WindowPositionBias(TracedSubclasses, keras.layers.Layer):
    """A number for each head and each offset in rows and columns, to be added to the scores of attention in a window.

    softmax(Q K^T / sqrt(H) + B) V with B[t, s] = table[r_t - r_s, c_t - c_s]. It stands in the `position_bias` slot of
    `MultiHeadSelfAttention`, whose sequence is then a window's positions in row-major order.

    Args:
        num_heads: int, N.
        window_size: int, or (rows, columns).
        bias_initializer: of the table ((2 rows - 1) (2 columns - 1), N).
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        query_positions: integers (T,) or (B, T), or whole numbers in floats: places in the window, counted from 0 in
            row-major order.
        key_positions: integers (S,) or (B, S).

    Returns:
        A float tensor (N, T, S), or (B, N, T, S). Where a position lies outside the window it is zero, in compiled functions.

    Raises:
        ValueError: for sizes that are no positive integers, and positions that are no integers or, where values are known,
            lie outside the window.

    Example:

    ```python
    bias = keras_tx.layers.WindowPositionBias(num_heads=2, window_size=(2, 3))
    places = keras.ops.arange(6)
    y = bias(places, places)  # (2, 6, 6)
    ```

    Reference:
        Liu et al. 2021, "Swin Transformer", section 3.2, equation 4.
    """

    def __init__(self, num_heads, window_size, bias_initializer="zeros", **kwargs):
        super().__init__(**kwargs)
        self.num_heads = arguments.positive_int("num_heads", num_heads)
        self.window_size = arguments.extent("window_size", window_size)
        self.bias_initializer = config.initializer("bias_initializer", bias_initializer)
        self.autocast = False  # positions must reach the check as they came

    def build(self, query_positions_shape=None, key_positions_shape=None):
        rows, columns = self.window_size
        self.bias_table = self.add_weight(
            ((2 * rows - 1) * (2 * columns - 1), self.num_heads),
            sublayers.fresh_initializer(self.bias_initializer),
            name="bias_table",
        )

    def call(self, query_positions, key_positions):
        query_positions, key_positions = self._check(query_positions=query_positions, key_positions=key_positions)
        index = windows.relative_index(query_positions, key_positions, self.window_size)
        # In a compiled function nothing can be raised: a place outside has no bias.
        queries, keys = (self._in_window(places) for places in (query_positions, key_positions))
        inside = ops.logical_and(ops.expand_dims(queries, -1), ops.expand_dims(keys, -2))  # (..., T, S)
        bias = ops.take(self.bias_table, ops.where(inside, index, ops.zeros_like(index)), axis=0)  # (..., T, S, N)
        bias = ops.where(ops.expand_dims(inside, -1), bias, ops.zeros((), dtype=bias.dtype))
        rank = len(bias.shape)
        # Axes counted from the front: torch writes others to ONNX as they are, which ONNX refuses.
        order = (*range(rank - 3), rank - 1, rank - 3, rank - 2)
        return ops.transpose(ops.cast(bias, self.compute_dtype), order)

    def _in_window(self, places):
        return ops.logical_and(places >= 0, places < self.window_size[0] * self.window_size[1])

    def _check(self, **positions):
        found, places = [], self.window_size[0] * self.window_size[1]
        for name, values in positions.items():
            token_ids.check_whole(name, values, places)
            if len(values.shape) not in (1, 2):
                raise ValueError(f"`{name}` must have 1 or 2 axes. Received: {name} of shape {tuple(values.shape)}.")
            found.append(token_ids.as_integers(values))
            known = concrete(found[-1])
            if known is not None and known.size and not 0 <= known.min() <= known.max() < places:
                raise ValueError(
                    f"`{name}` must lie in the window, whose positions are 0 to {places - 1}. Received: {name} from "
                    f"{known.min()} to {known.max()} with window_size={self.window_size}."
                )
        return found

    def compute_output_shape(self, query_positions_shape, key_positions_shape):
        return (*query_positions_shape[:-1], self.num_heads, query_positions_shape[-1], key_positions_shape[-1])

    def compute_output_spec(self, query_positions, key_positions):
        self._check(query_positions=query_positions, key_positions=key_positions)
        shape = self.compute_output_shape(query_positions.shape, key_positions.shape)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self):
        return config.of(WindowPositionBias, self, super().get_config())
