"""Learned vectors that tell the segments of a sequence apart."""

import keras

from .. import arguments
from ..ops import token_ids
from . import config, sublayers
from .composite import Composite


@keras.saving.register_keras_serializable(package="keras_tx")
class SegmentEmbedding(Composite, keras.layers.Layer):
    """Turns the number of the segment that each token belongs to into a vector, to be added to the token's embedding.

    y_t = E[s_t]. A number outside [0, num_segments), or a fraction, is an error wherever values are known (eager calls, on
    every backend). Inside a compiled function, where nothing can be raised, it stands for a zero vector.

    Args:
        num_segments: int.
        embedding_dim: int, D.
        embeddings_initializer: of the table.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: integer tensor (B, T), or (..., T), the segment of each token; whole numbers in floats are cast.

    Returns:
        A float tensor (B, T, D), or (..., T, D).

    Raises:
        ValueError: for sizes that are no positive integers, and segments that are no whole numbers, out of range, or of
            another rank.

    Example:

    ```python
    y = keras_tx.layers.SegmentEmbedding(2, 8)(keras.ops.array([[0, 0, 1, 1]], dtype="int32"))  # (1, 4, 8)
    ```

    Reference:
        Devlin et al. 2019, "BERT", section 3 ("Input/Output Representations").
    """

    def __init__(self, num_segments, embedding_dim, embeddings_initializer="uniform", **kwargs):
        super().__init__(**kwargs)
        self.num_segments = arguments.positive_int("num_segments", num_segments)
        self.embedding_dim = arguments.positive_int("embedding_dim", embedding_dim)
        self.embeddings_initializer = config.initializer("embeddings_initializer", embeddings_initializer)
        self.supports_masking = True
        self.autocast = False  # segments must reach the check as they came
        self.segment_embedding = keras.layers.Embedding(
            self.num_segments,
            self.embedding_dim,
            embeddings_initializer=sublayers.fresh_initializer(self.embeddings_initializer),
            name="segment_embedding",
            dtype=self.dtype_policy,
        )

    def build(self, input_shape):
        sublayers.build_once(self.segment_embedding, input_shape)

    def call(self, inputs):
        inputs = self._check(inputs)
        return keras.ops.cast(token_ids.look_up(self.segment_embedding, inputs, self.num_segments), self.compute_dtype)

    def _check(self, inputs):
        return token_ids.check("inputs", inputs, self.num_segments, size_name="num_segments", what="segment ids")

    def compute_output_shape(self, input_shape):
        return (*input_shape, self.embedding_dim)

    def compute_output_spec(self, inputs):
        self._check(inputs)
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)

    def get_config(self):
        return config.of(SegmentEmbedding, self, super().get_config())
