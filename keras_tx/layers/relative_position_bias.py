"""A learned bias for each distance of two positions, which all blocks of a stack share."""

import keras
from keras import ops

from .. import arguments
from ..ops import positions
from ..ops.concrete import check_tensor
from . import config, sublayers
from .traced_subclasses import TracedSubclasses


@keras.saving.register_keras_serializable(package="keras_tx")
class RelativePositionBias(TracedSubclasses, keras.layers.Layer):
    """A number for each head and each distance of a key from its query, to be added to the scores of attention.

    softmax(scale Q K^T + B) V with B[t, s] = table[bucket(s - t)]. Small distances have a bucket each; larger ones share buckets
    that grow with the logarithm of the distance, and all from `max_distance` on share the last.

    It is one layer of a functional model, and the blocks get its output as `distance_bias`. So they share one table, in a copy of
    the model too. The output has one row for a distance, so the memory of long attention grows with T and not with T S.

    Args:
        num_heads: int, N.
        num_buckets: int, at least 2, or an even one of at least 4 if `bidirectional`.
        max_distance: int, R, above the number of distances that have a bucket each: num_buckets / 4 if `bidirectional`, else
            num_buckets / 2.
        bidirectional: bool, whether keys before and after a query have half of the buckets each. Else, for causal attention, all
            keys after a query share the bucket of distance 0.
        bias_initializer: of the table (num_buckets, N).
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: any tensor of the model, which says where in it the layer stands. Nothing of it is read. In a decoder it must come
            from what the decoder reads, and not from its context.

    Returns:
        A float tensor (2R + 1, N): the biases of the distances -R to R, in order.

    Raises:
        ValueError: for sizes that are no positive integers, too few buckets, an odd number of them if `bidirectional`, and a
            `max_distance` that leaves none for larger distances.

    Example:

    ```python
    x = keras.Input((None, 32))
    bias = keras_tx.layers.RelativePositionBias(num_heads=4)(x)  # (257, 4)
    y = keras_tx.layers.TransformerEncoder(64, num_heads=4)(x, distance_bias=bias)
    y = keras_tx.layers.TransformerEncoder(64, num_heads=4)(y, distance_bias=bias)
    ```

    Reference:
        Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", section 2.1.
    """

    reads_nothing = True  # of its inputs: decoding need not try it

    def __init__(
        self, num_heads, num_buckets=32, max_distance=128, bidirectional=True, bias_initializer="zeros", **kwargs
    ):
        super().__init__(**kwargs)
        self.num_heads = arguments.positive_int("num_heads", num_heads)
        self.num_buckets = arguments.positive_int("num_buckets", num_buckets)
        self.max_distance = arguments.positive_int("max_distance", max_distance)
        self.bidirectional = arguments.flag("bidirectional", bidirectional)
        self.bias_initializer = config.initializer("bias_initializer", bias_initializer)
        least = 4 if bidirectional else 2
        if num_buckets < least or (bidirectional and num_buckets % 2):
            raise ValueError(
                f"`num_buckets` must be {'even and ' * self.bidirectional}at least {least} where bidirectional is "
                f"{self.bidirectional}. Received: num_buckets={num_buckets}."
            )
        exact = num_buckets // least
        if max_distance <= exact:
            raise ValueError(
                f"`max_distance` must be more than the {exact} distances that have a bucket each. Received: "
                f"max_distance={max_distance}, num_buckets={num_buckets}, bidirectional={self.bidirectional}."
            )
        self.supports_masking = True
        self.autocast = False  # nothing of the inputs is read

    def build(self, input_shape=None):
        self.bias_table = self.add_weight(
            (self.num_buckets, self.num_heads), sublayers.fresh_initializer(self.bias_initializer), name="bias_table"
        )

    def call(self, inputs):
        check_tensor("inputs", inputs)
        buckets = positions.distance_buckets(self.num_buckets, self.max_distance, self.bidirectional)
        return ops.cast(ops.take(self.bias_table, buckets, axis=0), self.compute_dtype)

    def compute_mask(self, inputs, previous_mask):
        return None  # distances are no positions

    def compute_output_shape(self, input_shape):
        return (2 * self.max_distance + 1, self.num_heads)

    def compute_output_spec(self, inputs):
        check_tensor("inputs", inputs)
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)

    def get_config(self):
        return config.of(RelativePositionBias, self, super().get_config())
