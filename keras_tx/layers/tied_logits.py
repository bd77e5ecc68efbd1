"""Logits over a vocabulary from the table that embedded its tokens."""

import keras

from .. import arguments, graph
from . import input_checks, reversed_table, sublayers
from .traced_subclasses import TracedSubclasses


@keras.saving.register_keras_serializable(package="keras_tx")
class TiedLogits(TracedSubclasses, keras.layers.Layer):
    """Scores each token of the vocabulary by the product of the hidden state with that token's embedding.

    logits = x E^T (+ b), with E the table of the embedding layer: one table, trained from both ends.

    Args:
        embedding: the layer that embeds the tokens: `TokenAndPositionEmbedding`, or `keras.layers.ReversibleEmbedding`
            with tied weights.
        use_bias: bool, whether each token has a bias of its own.
        **kwargs: `name`, `dtype`, `trainable`; `trainable=False` freezes the embedding too.

    Call arguments:
        inputs: float tensor (..., D), D the embedding's width.

    Returns:
        Logits (..., V).

    Raises:
        ValueError: if the embedding is of another kind, has not been built, or has another width.

    Example:

    ```python
    ids = keras.Input((None,), dtype="int32")
    embedding = keras_tx.layers.TokenAndPositionEmbedding(1000, 16, 32)
    logits = keras_tx.layers.TiedLogits(embedding)(embedding(ids))  # (None, None, 1000)
    ```

    Reference:
        Press and Wolf 2017, "Using the Output Embedding to Improve Language Models", section 3.
    """

    is_stepwise = True
    gives_logits = True

    def __init__(self, embedding, use_bias=False, **kwargs):
        super().__init__(**kwargs)
        self.use_bias = arguments.flag("use_bias", use_bias)
        self.supports_masking = True
        self.bias = None
        # A copy made from a config must not get a table of its own where its graph has the real one, so it waits for its first
        # call, which shows the graph.
        self._pending = embedding if isinstance(embedding, dict) else None
        self.embedding = None if self._pending is not None else _checked(embedding)
        if not self.trainable and self.embedding is not None:
            self.embedding.trainable = False

    def __call__(self, inputs, *args, **kwargs):
        if self._pending is not None:
            found = graph.find_layer(inputs, self._pending["config"]["name"])
            self.embedding = _checked(found or keras.saving.deserialize_keras_object(self._pending))
            self._pending = None
        return super().__call__(inputs, *args, **kwargs)

    def build(self, input_shape):
        hidden_dim = input_checks.hidden_size("inputs", input_shape)
        table = self._table()
        if hidden_dim != table.output_dim:
            raise ValueError(
                f"`inputs` must be as wide as the embedding. Received: width {hidden_dim}, embedding of width {table.output_dim}."
            )
        sublayers.build_once(self.embedding, (None, None))
        table.supports_masking = True  # or Keras warns that the mask ends there; these logits carry it on
        if self.use_bias and self.bias is None:
            self.bias = self.add_weight(name="bias", shape=(table.input_dim,), initializer="zeros")

    def get_build_config(self):
        return None  # a copy is built by its first call, which finds its embedding

    def _table(self):
        return getattr(self.embedding, "token_embedding", self.embedding)

    def call(self, inputs):
        table = self._table()
        input_checks.check_inputs("inputs", inputs, table.output_dim)
        rows = keras.ops.reshape(inputs, (-1, table.output_dim))
        logits = reversed_table.logits(table, rows)
        logits = keras.ops.reshape(logits, (*keras.ops.shape(inputs)[:-1], table.input_dim))
        logits = keras.ops.cast(logits, self.compute_dtype)
        return logits if self.bias is None else logits + self.bias

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self._table().input_dim)

    def compute_output_spec(self, inputs):
        input_checks.check_inputs("inputs", inputs, self._table().output_dim)
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)

    def get_config(self):
        config = super().get_config()
        embedding = self._pending or keras.saving.serialize_keras_object(self.embedding)
        config.update({"embedding": embedding, "use_bias": self.use_bias})
        return config


def _checked(embedding):
    table = getattr(embedding, "token_embedding", embedding)
    if not isinstance(table, keras.layers.ReversibleEmbedding) or not table.tie_weights:
        raise ValueError(
            "`embedding` must be a TokenAndPositionEmbedding or a keras.layers.ReversibleEmbedding with tied weights. "
            f"Received: embedding={embedding!r}."
        )
    return embedding
