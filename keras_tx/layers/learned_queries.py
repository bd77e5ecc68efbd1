"""Learned vectors that ask for what is in a sequence or an image."""

import keras
from keras import ops

from .. import arguments
from . import config, input_checks, sublayers
from .traced_subclasses import TracedSubclasses


@keras.saving.register_keras_serializable(package="keras_tx")
class LearnedQueries(TracedSubclasses, keras.layers.Layer):
    """Gives each sample the same learned vectors, such as the object queries of DETR or the latents of a Perceiver.

    Args:
        num_queries: int, Q.
        initializer: of the vectors.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, ..., D), which tells the batch and the width alone; its values are not read.

    Returns:
        A float tensor (B, Q, D).

    Raises:
        ValueError: for arguments out of range, and inputs of another width than built.

    Example:

    ```python
    queries = keras_tx.layers.LearnedQueries(10)(keras.ops.zeros((2, 7, 32)))  # (2, 10, 32)
    ```

    Reference:
        Carion et al. 2020, "End-to-End Object Detection with Transformers", section 3.2.
    """

    positions_in_text = False

    def __init__(self, num_queries, initializer="random_normal", **kwargs):
        super().__init__(**kwargs)
        self.num_queries = arguments.positive_int("num_queries", num_queries)
        self.initializer = config.initializer("initializer", initializer)
        self.supports_masking = True

    def build(self, input_shape):
        self.hidden_dim = input_checks.hidden_size("inputs", input_shape)
        shape = (self.num_queries, self.hidden_dim)
        self.queries = self.add_weight(shape, sublayers.fresh_initializer(self.initializer), name="queries")

    def call(self, inputs):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim)
        queries = ops.cast(self.queries, self.compute_dtype)
        return ops.broadcast_to(queries, (ops.shape(inputs)[0], self.num_queries, self.hidden_dim))

    def compute_mask(self, inputs, previous_mask):
        return None

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_queries, input_shape[-1])

    def compute_output_spec(self, inputs):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim)
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)

    def get_config(self):
        return config.of(LearnedQueries, self, super().get_config())
