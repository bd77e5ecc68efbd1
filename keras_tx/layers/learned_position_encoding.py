"""Learned positions, added to the inputs."""

import keras
from keras import ops

from .. import arguments
from ..ops import masks, token_ids
from ..ops import positions as counting
from . import cache_protocol, config, given_positions, input_checks, position_table, sublayers
from .composite import Composite


@keras.saving.register_keras_serializable(package="keras_tx")
class LearnedPositionEncoding(Composite, keras.layers.Layer):
    """Adds to its inputs a learned vector for each position, as `SinusoidalPositionEncoding` adds a fixed one.

    The inputs are in the outputs already: `x + layer(x)`, as layers of other libraries are used, would count them twice.
    y_p = x_p + P[p]. `TokenAndPositionEmbedding` does it for token ids; this layer stands where something comes between
    the tokens' vectors and their positions, or where sequences share a table of tokens and not one of positions.

    Args:
        sequence_length: int, the longest sequence, which is the length of the table.
        embeddings_initializer: of the table.
        offset: int, how many rows of the table stand before that of the first position; nothing reads them (BART's models
            have two).
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, T, D), T <= sequence_length, or (..., T, D): axes before the last two are batch.
        mask: boolean tensor (B, T), used with a cache alone: only real tokens are counted.
        cache: int32 tensor (B,) from `init_cache`, how many tokens of each row came before, or `None`.
        positions: integer tensor (T,), or (B, T) with all the batch axes: the positions themselves, for packed or continued
            sequences. `None` for 0 .. T - 1, or for those after the tokens in the cache, beside which none may be given.
            One outside [0, sequence_length) is an error wherever values are known (eager calls, on every backend). Inside a
            compiled function, where nothing can be raised, zeros are added for it, as for a token past the table with a cache.
        segment_ids: integer tensor (B, T), the documents of packed rows: 1, 2, ... for the tokens of each, which stand together,
            and 0 for padding. Positions then begin at 0 in each, unless they are given. Not beside a cache.

    Returns:
        A tensor like the inputs; with a cache `(outputs, new_cache)`.

    Raises:
        ValueError: for a `sequence_length` that is no positive integer, inputs of another rank or width than built, a
            sequence longer than the table, and positions out of range.

    Example:

    ```python
    y = keras_tx.layers.LearnedPositionEncoding(16)(keras.ops.zeros((2, 7, 32)))  # (2, 7, 32)
    ```

    Reference:
        Gehring et al. 2017, "Convolutional Sequence to Sequence Learning", section 3.1.
    """

    is_stepwise = True

    def __init__(self, sequence_length, embeddings_initializer="uniform", offset=0, **kwargs):
        super().__init__(**kwargs)
        self.sequence_length = arguments.positive_int("sequence_length", sequence_length)
        self.embeddings_initializer = config.initializer("embeddings_initializer", embeddings_initializer)
        self.offset = arguments.integer("offset", offset, least=0)
        self.supports_masking = True
        self.autocast = False  # counts must reach the check as they came
        self.position_embedding = None

    def build(self, input_shape):
        self.hidden_dim = input_checks.hidden_size("inputs", input_shape, least=3)
        if self.position_embedding is None:
            self.position_embedding = keras.layers.Embedding(
                self.sequence_length + self.offset,
                self.hidden_dim,
                embeddings_initializer=sublayers.fresh_initializer(self.embeddings_initializer),
                name="position_embedding",
                dtype=self.dtype_policy,
            )
        sublayers.build_once(self.position_embedding, input_shape[:-1])

    def call(self, inputs, mask=None, cache=None, positions=None, segment_ids=None):
        positions = self._check(inputs, cache, positions, segment_ids)
        length, mask = ops.shape(inputs)[-2], None if cache is None else masks.over_positions(inputs, mask)
        table, cache = self.position_embedding, None if cache is None else token_ids.as_integers(cache)
        places = position_table.vectors(table, self.sequence_length, length, positions, mask, cache, self.offset)
        outputs = ops.cast(inputs, self.compute_dtype) + ops.cast(places, self.compute_dtype)
        if cache is None:
            return outputs
        return outputs, token_ids.check_count(counting.next_position(cache, length, mask), self.sequence_length)

    def _check(self, inputs, cache, positions, segment_ids):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, least=3)
        if cache is not None:
            cache_protocol.check_rank("inputs", inputs)
            cache_protocol.check_count(cache, inputs)
        segment_ids = given_positions.read_segments(segment_ids, inputs.shape[:-1], cache)
        return given_positions.read(positions, inputs.shape[:-1], cache, segment_ids)

    def init_cache(self, batch_size, max_length, context=None):
        """Returns the count of tokens seen: int32 zeros (B,). The layer must be built."""
        cache_protocol.check_new(self, batch_size, max_length)
        return ops.zeros((batch_size,), dtype="int32")

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def compute_output_spec(self, inputs, mask=None, cache=None, positions=None, segment_ids=None):
        if self._check(inputs, cache, positions, segment_ids) is None and inputs.shape[-2] is not None:
            token_ids.check_length("inputs", inputs.shape[-2], self.sequence_length)
        outputs = sublayers.like_inputs(self, inputs)
        return outputs if cache is None else (outputs, keras.KerasTensor(cache.shape, dtype="int32"))

    def get_config(self):
        return config.of(LearnedPositionEncoding, self, super().get_config())
