"""Linear biases by distance, for the `position_bias` slot of an attention."""

import keras
import numpy as np
from keras import ops

from .. import arguments
from ..ops import token_ids
from ..ops.attention.distance_bias import DistanceBias
from . import config
from .traced_subclasses import TracedSubclasses


@keras.saving.register_keras_serializable(package="keras_tx")
class AlibiBias(TracedSubclasses, keras.layers.Layer):
    """Lowers the score of a query and a key by their distance, each head by a slope of its own. No weights.

    softmax(scale Q K^T + B) V with B[t, s] = -m_n |t - s|, whether attention is causal or not. For N heads, a power of two,
    m_n = 2^(-8 n / N), n = 1 .. N. For other numbers, the slopes of the power of two below come first, then every second one of
    twice that power, as in Bloom and MPT.

    It stands in the `position_bias` slot of `MultiHeadSelfAttention`, in place of position embeddings. Long sequences keep memory
    that grows with T and not with T S, and a cache works.

    Args:
        num_heads: int, N.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        query_positions: integers (T,) or (B, T), or whole numbers in floats.
        key_positions: integers (S,) or (B, S).

    Returns:
        A float tensor (N, T, S), or (B, N, T, S).

    Raises:
        ValueError: for a number of heads that is no positive integer, and positions that are no integers or have another rank.

    Example:

    ```python
    bias = keras_tx.layers.AlibiBias(num_heads=4)
    layer = keras_tx.layers.MultiHeadSelfAttention(num_heads=4, causal=True, position_bias=bias)
    y = layer(keras.random.normal((2, 7, 32)))
    ```

    Reference:
        Press et al. 2022, "Train Short, Test Long: Attention with Linear Biases Enables Input Length Extrapolation", section 3.
    """

    goes_by_positions = True

    def __init__(self, num_heads, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = arguments.positive_int("num_heads", num_heads)
        self.autocast = False  # positions must reach the check as they came

    def build(self, query_positions_shape=None, key_positions_shape=None):
        pass

    @property
    def slopes(self):
        """The numpy array (N,) of float32 slopes m_n."""
        power = 2 ** (self.num_heads.bit_length() - 1)
        first = np.arange(1, power + 1) / power
        more = np.arange(1, 2 * power, 2)[: self.num_heads - power] / (2 * power)
        return (2.0 ** (-8 * np.concatenate([first, more]))).astype("float32")

    def by_distance(self):
        """Returns the bias as the `DistanceBias` that attention takes in place of that of all pairs."""
        return DistanceBias(slopes=ops.convert_to_tensor(self.slopes))

    def call(self, query_positions, key_positions):
        found = self._check(query_positions=query_positions, key_positions=key_positions)
        bias = self.by_distance()._replace(**found)
        bias = bias.whole(None, None)
        bias = bias if any(len(each.shape) == 2 for each in found.values()) else bias[0]
        return ops.cast(bias, self.compute_dtype)

    def _check(self, **positions):
        found = {}
        for name, values in positions.items():
            token_ids.check_whole(name, values)
            if len(values.shape) not in (1, 2):
                raise ValueError(f"`{name}` must have 1 or 2 axes. Received: {name} of shape {tuple(values.shape)}.")
            found[name] = token_ids.as_integers(values)
        return found

    def compute_output_shape(self, query_positions_shape, key_positions_shape):
        batch = query_positions_shape[:-1] or key_positions_shape[:-1]
        return (*batch, self.num_heads, query_positions_shape[-1], key_positions_shape[-1])

    def compute_output_spec(self, query_positions, key_positions):
        self._check(query_positions=query_positions, key_positions=key_positions)
        shape = self.compute_output_shape(query_positions.shape, key_positions.shape)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self):
        return config.of(AlibiBias, self, super().get_config())
