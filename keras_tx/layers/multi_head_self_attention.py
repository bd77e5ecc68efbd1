"""Multi-head self-attention, with grouped key heads, rotary positions and a cache."""

import keras
from keras import ops

from .. import arguments
from ..ops import attention, masks, padding
from ..ops.attention import AttentionMask, Extended, KVCache, WindowCache
from ..ops.leading_axes import LeadingAxes
from . import (
    cache_protocol,
    config,
    head_projections,
    input_checks,
    places,
    slot_arguments,
    slots,
    sublayers,
)


@keras.saving.register_keras_serializable(package="keras_tx")
class MultiHeadSelfAttention(head_projections.HeadProjections, keras.layers.Layer):
    """Lets each position of a sequence attend to the others.

    head_n = softmax(scale Q_n K_n^T) V_n with Q_n, K_n, V_n linear in the inputs; the heads are concatenated and
    projected back to the width of the inputs. What is masked out has weight exactly zero and may hold anything, NaN included. A
    query with no key left, and one that is itself not real, gets zeros.

    Args:
        num_heads: int, N.
        key_dim: int, H; `None` for the width of the inputs over `num_heads`.
        num_key_value_heads: int M that divides N: N / M query heads share a key and a value head; `None` for N.
        causal: bool, whether position t sees only positions 0 .. t.
        dropout: float in [0, 1), on the attention weights in training.
        use_bias: bool, whether the projections have biases.
        rotary: layer `(x, positions) -> x` that rotates queries and keys, such as `RotaryEmbedding`, or `None`.
        position_bias: layer `(query_positions, key_positions) -> bias` (N, T, S) or (B, N, T, S) to be added to the scaled
            scores, such as `AlibiBias` or `WindowPositionBias`, or `None`. The positions are integers (T,) and (S,), with a
            cache (B, T) and (B, S).
        kernel_initializer: of the four projections, each drawn as a matrix.
        bias_initializer: of their biases.
        scale: float by which scores are multiplied; `None` for 1 / sqrt(H).
        use_output_bias: bool, whether the projection back has a bias; `None` for `use_bias`.
        query_norm: layer `x -> x` on queries (B, T, N, H) before they are rotated, or `None`. `keras.layers.RMSNormalization()`
            normalizes each head by itself, with `axis=(-2, -1)` all heads of a position at once.
        key_norm: the same for keys (B, T, M, H); another layer.
        window: int: a position sees itself and those less than `window` real tokens away, of which `causal` leaves those before
            it; `None` for all. Padding, which `mask` tells, is not counted. Long sequences then cost T times the window, and a
            cache holds no more than the window.
        query_initializer: of the projection to queries, or `None` for `kernel_initializer`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, T, D), or (..., T, D): axes before the last two are batch, and stand for B below.
        mask: boolean tensor (B, T), True at real positions; `None` for the mask that Keras carries, if any. A mask with
            as many axes as the inputs, or more, is taken as `attention_mask`: for inputs (B, P, T, D) one of 3 axes is over
            positions, (B, P, T).
        attention_mask: boolean tensor (T, S), (B, T, S) or (B, N, T, S), True for pairs that may meet. S is T, or the
            size of the cache. None may be given beside the cache of a window, nor an `attention_bias`.
        attention_bias: float tensor (T, S), or one that broadcasts to (B, N, T, S), added to the scaled scores.
        cache: `KVCache` or `WindowCache` from `init_cache`, to which the inputs, of 3 axes then, are appended; or `None`.
        training: bool.
        return_attention_scores: bool, whether to return the weights too. It changes no output, save by rounding (1e-5) from some
            2,000 tokens on, where attention runs in blocks otherwise.
        positions: integer tensor (T,) or (B, T), by which `rotary`, `position_bias` and `distance_bias` go; `None` for 0 .. T - 1
            or those after the ones in the cache, beside which none may be given. `causal` goes by the order in the row, so
            `segment_ids` or `attention_mask` have to keep packed documents apart.
        position_embedding: float tensor (T, D) or (B, T, D), added to what queries and keys are made of, and not to values.
        distance_bias: float tensor (2R + 1, N), added to the scaled scores: row R + d for a key d positions after its query, and
            the first or the last row for those further away. `RelativePositionBias` gives one. It goes by the same positions as
            `rotary` does, and long sequences keep memory that grows with T.
        segment_ids: integer tensor (B, T), the documents of packed rows: 1, 2, ... for the tokens of each, which stand together,
            and 0 for padding, which is not real. No token attends to another document, and positions begin at 0 in each unless
            they are given. Not beside a cache.

    Returns:
        Outputs (B, T, D); with a cache `(outputs, new_cache)`; with scores these are appended last, (B, N, T, S) in
        float32 or wider, as they are before dropout.

    Raises:
        ValueError: for sizes that are no positive integers, heads that do not divide the width, inputs of another rank
            or width than built, and masks that hold other numbers than 0 and 1 or have another shape.

    Example:

    ```python
    layer = keras_tx.layers.MultiHeadSelfAttention(num_heads=4, causal=True)
    x = keras.random.normal((2, 7, 32))
    y, scores = layer(x, return_attention_scores=True)  # (2, 7, 32), (2, 4, 7, 7)
    ```

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.2.2; Ainslie et al. 2023, "GQA", section 2.2, for
        shared key heads.
    """

    is_stepwise = property(head_projections.attends_in_steps)

    def __init__(
        self,
        num_heads,
        key_dim=None,
        num_key_value_heads=None,
        causal=False,
        dropout=0.0,
        use_bias=True,
        rotary=None,
        position_bias=None,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        scale=None,
        use_output_bias=None,
        query_norm=None,
        key_norm=None,
        window=None,
        query_initializer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.causal = arguments.flag("causal", causal)
        self.window = arguments.positive_int("window", window, optional=True)
        self.rotary = slot_arguments.slot("rotary", rotary)
        self.position_bias = slot_arguments.position_bias(position_bias)
        self._set_heads(num_heads, key_dim, num_key_value_heads, scale, query_norm, key_norm)
        self._set_projections(
            use_bias, use_output_bias, kernel_initializer, bias_initializer, dropout, query_initializer
        )
        heads = getattr(self.position_bias, "num_heads", self.num_heads)
        if heads != self.num_heads:
            raise ValueError(
                "`position_bias` must be made for as many heads as the attention has. Received: "
                f"num_heads={self.num_heads}, position_bias with num_heads={heads}."
            )

    def build(self, input_shape):
        input_checks.hidden_size("inputs", input_shape, least=3)
        folded = sublayers.folded_shape(input_shape)
        query = self._build_projections(folded, folded)
        places = keras.KerasTensor(folded[1:2], "int32")
        slots.build(self.rotary, query, places)
        slots.build(self.position_bias, places, places)

    def call(
        self,
        inputs,
        mask=None,
        attention_mask=None,
        attention_bias=None,
        cache=None,
        training=None,
        return_attention_scores=False,
        positions=None,
        position_embedding=None,
        distance_bias=None,
        segment_ids=None,
    ):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, least=3)
        mask, pair_mask = self._read_masks(inputs, mask, attention_mask, attention_bias, cache)
        # Two tokens of a document are as far apart in it as in its row.
        counted = positions is None and cache is None
        positions, segments = places.read(
            self, inputs, cache, positions, position_embedding, distance_bias, segment_ids
        )
        mask = mask if segments is None else masks.combine(mask, ops.not_equal(segments, 0))
        batch = LeadingAxes(inputs)
        inputs, mask, positions = batch.fold(inputs, 2), batch.fold(mask, 1), batch.fold(positions, 1)
        position_embedding, segments = batch.fold(position_embedding, 2), batch.fold(segments, 1)
        pair_mask, attention_bias = batch.fold(pair_mask, 3), batch.fold(attention_bias, 3)
        inputs = padding.zero_masked(inputs, mask)

        located = head_projections.add_position_embedding(inputs, position_embedding, mask)
        query, key, value = self._queries(located), self._keys(located), self._project(self.value, inputs)
        where = positions
        if where is None and (places.marked_by(self) or distance_bias is not None):
            where = places.of_queries(inputs, mask, cache)
        if self.rotary is not None:
            query, key = (ops.cast(self.rotary(x, where), self.compute_dtype) for x in (query, key))

        seen, offset = Extended(None, key, value, mask), 0
        if cache is not None:
            seen, offset = cache.extend(*attention.isolate_nonfinite(key, value), mask), cache.length
        if self.position_bias is not None or distance_bias is not None:
            key_places = where if cache is None else places.of_keys(seen)
            attention_bias, distance_bias = places.add_biases(
                self.position_bias, attention_bias, distance_bias, where, key_places, counted
            )
        window = places.window(self.window, inputs, mask, cache, seen)
        cached = cache is not None
        attention_mask = AttentionMask(mask, seen.mask, pair_mask, self.causal, offset, *window, segments, cached)

        context, scores = attention.dot_product_attention(
            query,
            seen.keys,
            seen.values,
            mask=attention_mask,
            bias=attention_bias,
            dropout_mask=self.attention_dropout.next_mask(training),
            return_scores=return_attention_scores,
            key_heads=None if cache is None else self.num_key_heads,
            scale=self.scale,
            distance_bias=distance_bias,
        )
        outputs = ops.cast(self.attention_output(context), self.compute_dtype)
        lengths = ops.shape(inputs)[1], seen.num_keys
        # A real query always has itself as a key, so only a mask over pairs can leave it none.
        outputs = padding.zero_masked(
            outputs, mask if pair_mask is None else attention_mask.queries_with_keys(*lengths)
        )
        return cache_protocol.with_extras(
            batch.unfold(outputs), return_attention_scores, batch.unfold(scores), cache, seen.cache
        )

    def _read_masks(self, inputs, mask, attention_mask, attention_bias, cache):
        if cache is not None:
            cache_protocol.check_keys(cache, inputs, self.num_key_heads, self.head_dim, self.window)
            over_pairs = mask if mask is not None and len(mask.shape) >= len(inputs.shape) else None
            cache_protocol.check_no_pairs(
                cache, mask=over_pairs, attention_mask=attention_mask, attention_bias=attention_bias
            )
        num_keys = inputs.shape[-2] if cache is None else cache.num_keys(inputs.shape[-2])
        masks.check_bias(attention_bias, inputs, self.num_heads, num_keys)
        return masks.read(inputs, mask, attention_mask, self.num_heads, num_keys)

    def init_cache(self, batch_size, max_length, context=None, cache_dtype=None):
        """Returns an empty `KVCache`, or `WindowCache` where there is a window, for `max_length` tokens in each of `batch_size`
        rows. The layer must be built. With the `cache_dtype` "int8" keys and values are rounded as they are written.
        """
        cache_protocol.check_new(self, batch_size, max_length, cache_dtype)
        settings = (batch_size, max_length, self.num_key_heads, self.head_dim, self.compute_dtype)
        if self.window is None:
            return KVCache.empty(*settings, cache_dtype=cache_dtype)
        return WindowCache.empty(*settings, self.window, cache_dtype=cache_dtype)

    def compute_mask(self, inputs, previous_mask):
        return sublayers.inputs_mask_only(inputs, previous_mask)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def compute_output_spec(self, inputs, *args, **kwargs):
        given = config.call_arguments(MultiHeadSelfAttention, self, inputs, *args, **kwargs)
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, least=3)
        self._read_masks(inputs, given.mask, given.attention_mask, given.attention_bias, given.cache)
        marks = (given.positions, given.position_embedding, given.distance_bias, given.segment_ids)
        places.read(self, inputs, given.cache, *marks)
        return cache_protocol.attention_spec(self, inputs, inputs, given)

    def get_config(self):
        return config.of(MultiHeadSelfAttention, self, super().get_config())
