"""Token embeddings with learned positions added."""

import keras
from keras import ops

from .. import arguments
from ..ops import masks, token_ids
from ..ops import positions as counting
from . import cache_protocol, config, given_positions, position_table, sublayers
from .composite import Composite


@keras.saving.register_keras_serializable(package="keras_tx")
class TokenAndPositionEmbedding(Composite, keras.layers.Layer):
    """Turns token ids into vectors, and adds a learned vector for each position.

    y_p = E[id_p] + P[p].

    A token id outside [0, vocabulary_size), or no whole number, is an error wherever values are known (eager calls, on
    every backend). Inside a compiled function, where nothing can be raised, it stands for a token whose embedding is zero.

    Args:
        vocabulary_size: int, V.
        sequence_length: int, the longest sequence, which is the length of the position table. `None` for no positions,
            where other layers mark them.
        embedding_dim: int, D.
        mask_zero: bool, whether id 0 is padding: the layer then attaches the mask `inputs != 0` to its outputs.
        embeddings_initializer: of both tables.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: integer tensor (B, T), T <= sequence_length, or (..., T): axes before the last are batch. Whole numbers in
            floats are cast.
        mask: boolean tensor (B, T), used with a cache alone: only real tokens are counted as positions. `None` for
            `inputs != 0` where `mask_zero` is set.
        cache: int32 tensor (B,) from `init_cache`, how many tokens of each row came before, or `None`.
        positions: integer tensor (T,), or (B, T) with all the batch axes: the positions themselves, for packed or continued
            sequences. `None` for 0 .. T - 1, or for those after the tokens in the cache, beside which none may be given.
            One outside [0, sequence_length) is an error wherever values are known (eager calls, on every backend). Inside a
            compiled function, where nothing can be raised, zeros are added for it, as for a token past the table with a cache.
        segment_ids: integer tensor (B, T), the documents of packed rows: 1, 2, ... for the tokens of each, which stand together,
            and 0 for padding. Positions then begin at 0 in each, unless they are given. Not beside a cache.

    Returns:
        A float tensor (B, T, D); with a cache `(outputs, new_cache)`.

    Raises:
        ValueError: for sizes that are no positive integers, ids that are no whole numbers or out of range, inputs of another
            rank, a sequence longer than `sequence_length`, and positions out of range.

    Example:

    ```python
    layer = keras_tx.layers.TokenAndPositionEmbedding(1000, sequence_length=16, embedding_dim=32, mask_zero=True)
    y = layer(keras.ops.array([[5, 7, 0]], dtype="int32"))  # (1, 3, 32)
    ```

    Reference:
        Devlin et al. 2019, "BERT", section 3 ("Input/Output Representations"), for learned positions.
    """

    is_stepwise = True

    def __init__(
        self,
        vocabulary_size,
        sequence_length,
        embedding_dim,
        mask_zero=False,
        embeddings_initializer="uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocabulary_size = arguments.positive_int("vocabulary_size", vocabulary_size)
        self.sequence_length = arguments.positive_int("sequence_length", sequence_length, optional=True)
        self.embedding_dim = arguments.positive_int("embedding_dim", embedding_dim)
        self.mask_zero = arguments.flag("mask_zero", mask_zero)
        self.embeddings_initializer = config.initializer("embeddings_initializer", embeddings_initializer)
        self.supports_masking = True
        self.autocast = False  # ids must reach the check as they came
        self.token_embedding = self._table(
            keras.layers.ReversibleEmbedding, self.vocabulary_size, "token_embedding", reverse_dtype=self.compute_dtype
        )
        self.position_embedding = None
        if self.sequence_length is not None:
            self.position_embedding = self._table(keras.layers.Embedding, self.sequence_length, "position_embedding")

    def _table(self, layer_class, rows, name, **kwargs):
        return layer_class(
            rows,
            self.embedding_dim,
            embeddings_initializer=sublayers.fresh_initializer(self.embeddings_initializer),
            name=name,
            dtype=self.dtype_policy,
            **kwargs,
        )

    def build(self, input_shape):
        sublayers.build_once(self.token_embedding, input_shape)
        sublayers.build_once(self.position_embedding, input_shape)

    def call(self, inputs, mask=None, cache=None, positions=None, segment_ids=None):
        positions, length = self._check(inputs, cache, positions, segment_ids), ops.shape(inputs)[-1]
        inputs = token_ids.as_integers(inputs)
        outputs = token_ids.look_up(self.token_embedding, inputs, self.vocabulary_size)
        outputs = ops.cast(outputs, self.compute_dtype)
        if cache is None:
            mask = None
        else:
            cache = token_ids.as_integers(cache)
            mask = masks.check("mask", mask, tuple(inputs.shape))
        if cache is not None and mask is None:
            mask = self.compute_mask(inputs)
        if self.position_embedding is not None:
            table, size = self.position_embedding, self.sequence_length
            places = position_table.vectors(table, size, length, positions, mask, cache)
            outputs = outputs + ops.cast(places, self.compute_dtype)
        if cache is None:
            return outputs
        return outputs, token_ids.check_count(counting.next_position(cache, length, mask), self.sequence_length)

    def _check(self, inputs, cache, positions, segment_ids):
        token_ids.check("inputs", inputs, self.vocabulary_size)
        if cache is not None:
            cache_protocol.check_rank("inputs", inputs, 2)
            cache_protocol.check_count(cache, inputs)
        for name, value in (("positions", positions), ("segment_ids", segment_ids)):
            if value is not None and self.position_embedding is None:
                raise ValueError(
                    f"`{name}` must be for a table of positions. Received: {name} for a layer with sequence_length=None."
                )
        segment_ids = given_positions.read_segments(segment_ids, inputs.shape, cache)
        return given_positions.read(positions, inputs.shape, cache, segment_ids)

    def init_cache(self, batch_size, max_length, context=None):
        """Returns the count of tokens seen: int32 zeros (B,). The layer must be built."""
        cache_protocol.check_new(self, batch_size, max_length)
        return ops.zeros((batch_size,), dtype="int32")

    def compute_mask(self, inputs, previous_mask=None):
        return ops.not_equal(inputs, 0) if self.mask_zero else previous_mask

    def compute_output_shape(self, input_shape):
        return (*input_shape, self.embedding_dim)

    def compute_output_spec(self, inputs, mask=None, cache=None, positions=None, segment_ids=None):
        if self._check(inputs, cache, positions, segment_ids) is None and inputs.shape[-1] is not None:
            token_ids.check_length("inputs", inputs.shape[-1], self.sequence_length)
        outputs = keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)
        return outputs if cache is None else (outputs, keras.KerasTensor(cache.shape, dtype="int32"))

    def get_config(self):
        return config.of(TokenAndPositionEmbedding, self, super().get_config())
