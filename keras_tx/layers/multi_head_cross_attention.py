"""Multi-head attention from one sequence to another."""

import keras
from keras import ops

from ..ops import attention, masks, padding, sizes
from ..ops.attention import rounded
from ..ops.attention.attention_mask import AttentionMask
from ..ops.attention.kv_cache import KVCache, fold_heads
from ..ops.leading_axes import LeadingAxes
from . import cache_protocol, config, head_projections, input_checks, sublayers


@keras.saving.register_keras_serializable(package="keras_tx")
class MultiHeadCrossAttention(head_projections.HeadProjections, keras.layers.Layer):
    """Lets each position of a sequence attend to the positions of another one, the context.

    head_n = softmax(scale Q_n K_n^T) V_n with Q_n linear in the inputs, K_n and V_n linear in the context.

    Padding of the context has weight exactly zero and may hold anything. A query with no key left, and one that is
    itself not real, gets zeros.

    Args:
        num_heads: int, N.
        key_dim: int, H; `None` for the width of the inputs over `num_heads`.
        num_key_value_heads: int that divides N, or `None` for N.
        dropout: float in [0, 1), on the attention weights in training.
        use_bias: bool, whether the projections have biases.
        kernel_initializer: of the four projections, each drawn as a matrix.
        bias_initializer: of their biases.
        scale: float by which scores are multiplied; `None` for 1 / sqrt(H).
        use_output_bias: bool, whether the projection back has a bias; `None` for `use_bias`.
        query_norm: layer `x -> x` on queries (B, T, N, H), as in `MultiHeadSelfAttention`, or `None`.
        key_norm: the same for keys (B, S, M, H); another layer.
        query_initializer: of the projection to queries, or `None` for `kernel_initializer`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, T, D), or (..., T, D): axes before the last two are batch, and stand for B below.
        context: float tensor (B, S, C). `None` where a cache, which is for inputs of 3 axes, holds its keys and values.
        mask: boolean tensor (B, T), which positions of the inputs are real. A mask with as many axes as the inputs, or
            more, is taken as `context_attention_mask`.
        context_mask: boolean tensor (B, S), which positions of the context are real. Where one of the two masks is
            `None`, the mask that Keras carries is used, if any.
        attention_mask: another name for `context_attention_mask`, which it was called at first.
        attention_bias: float tensor (T, S), or one that broadcasts to (B, N, T, S), added to the scaled scores.
        cache: `KVCache` from `init_cache`, filled from the context once, or `None`.
        training: bool.
        return_attention_scores: bool, whether to return the weights too. It changes no output, save by rounding (1e-5) from some
            2,000 tokens on, where attention runs in blocks otherwise.
        context_attention_mask: boolean tensor (T, S), (B, T, S) or (B, N, T, S), True for pairs of an input and a
            context position that may meet.
        position_embedding: float tensor (T, D) or (B, T, D), added to what queries are made of.
        context_position_embedding: float tensor (S, C) or (B, S, C), added to what keys are made of, and not to values. Like
            the context, it is not read beside a cache.

    Returns:
        Outputs (B, T, D); with a cache `(outputs, cache)`; with scores these are appended last, (B, N, T, S).

    Raises:
        ValueError: for sizes that are no positive integers, heads that do not divide the width, inputs of another rank
            or width than built, a missing context, and masks that hold other numbers than 0 and 1 or have another shape.

    Example:

    ```python
    layer = keras_tx.layers.MultiHeadCrossAttention(num_heads=4)
    x, context = keras.random.normal((2, 7, 32)), keras.random.normal((2, 5, 16))
    y, scores = layer(x, context, return_attention_scores=True)  # (2, 7, 32), (2, 4, 7, 5)
    ```

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.2.3.
    """

    is_stepwise = property(head_projections.attends_in_steps)

    def __init__(
        self,
        num_heads,
        key_dim=None,
        num_key_value_heads=None,
        dropout=0.0,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        scale=None,
        use_output_bias=None,
        query_norm=None,
        key_norm=None,
        query_initializer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._set_heads(num_heads, key_dim, num_key_value_heads, scale, query_norm, key_norm)
        self._set_projections(
            use_bias, use_output_bias, kernel_initializer, bias_initializer, dropout, query_initializer
        )

    def build(self, inputs_shape, context_shape=None):
        input_checks.hidden_size("inputs", inputs_shape, least=3)
        if context_shape is None:
            raise ValueError(
                "`context` must be given in the first call, which builds the layer. Received: context=None."
            )
        input_checks.hidden_size("context", context_shape, least=3)
        self._build_projections(sublayers.folded_shape(inputs_shape), sublayers.folded_shape(context_shape))

    def call(
        self,
        inputs,
        context=None,
        mask=None,
        context_mask=None,
        attention_mask=None,
        attention_bias=None,
        cache=None,
        training=None,
        return_attention_scores=False,
        context_attention_mask=None,
        position_embedding=None,
        context_position_embedding=None,
    ):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, least=3)
        pairs = _over_pairs(attention_mask, context_attention_mask)
        mask, pair_mask = self._read_masks(inputs, context, mask, pairs, attention_bias, cache)
        head_projections.check_position_embedding("position_embedding", position_embedding, inputs)
        if cache is None:
            key, value, context_mask = self._keys_and_values(context, context_mask, context_position_embedding)
        else:
            key, value, context_mask = cache.keys, cache.values, cache.mask
        batch = LeadingAxes(inputs)
        inputs, mask, position_embedding = batch.fold(inputs, 2), batch.fold(mask, 1), batch.fold(position_embedding, 2)
        pair_mask, attention_bias = batch.fold(pair_mask, 3), batch.fold(attention_bias, 3)
        attention_mask = AttentionMask(mask, context_mask, pair_mask)

        inputs = padding.zero_masked(inputs, mask)
        context, scores = attention.dot_product_attention(
            self._queries(head_projections.add_position_embedding(inputs, position_embedding, mask)),
            key,
            value,
            mask=attention_mask,
            bias=attention_bias,
            dropout_mask=self.attention_dropout.next_mask(training),
            return_scores=return_attention_scores,
            key_heads=None if cache is None else self.num_key_heads,
            scale=self.scale,
        )
        sizes = ops.shape(inputs)[1], rounded.length(key)
        outputs = ops.cast(self.attention_output(context), self.compute_dtype)
        outputs = padding.zero_masked(outputs, attention_mask.queries_with_keys(*sizes))
        return cache_protocol.with_extras(
            batch.unfold(outputs), return_attention_scores, batch.unfold(scores), cache, cache
        )

    def _read_masks(self, inputs, context, mask, pairs, attention_bias, cache):
        if cache is None:
            self._check_context(context)
            input_checks.check_same_batch("inputs", inputs, "context", context)
        else:
            cache_protocol.check_keys(cache, inputs, self.num_key_heads, self.head_dim)
        num_keys = context.shape[-2] if cache is None else cache.num_keys(inputs.shape[-2])
        masks.check_bias(attention_bias, inputs, self.num_heads, num_keys)
        return masks.read(inputs, mask, pairs[1], self.num_heads, num_keys, name=pairs[0])

    def _keys_and_values(self, context, context_mask, embedding):
        context_mask = self._read_context(context, context_mask, embedding)
        batch = LeadingAxes(context)
        context, context_mask, embedding = batch.fold(context, 2), batch.fold(context_mask, 1), batch.fold(embedding, 2)
        context = padding.zero_masked(context, context_mask)
        located = head_projections.add_position_embedding(context, embedding, context_mask)
        return self._keys(located), self._project(self.value, context), context_mask  # (B, S, M, H)

    def _check_context(self, context):
        if context is None:
            raise ValueError("`context` must be given where there is no cache. Received: context=None.")
        input_checks.check_inputs("context", context, self.context_dim, least=3)

    def _read_context(self, context, context_mask, embedding):
        self._check_context(context)
        head_projections.check_position_embedding("context_position_embedding", embedding, context)
        context_mask = padding.given_or_implicit(context_mask, context)
        if context_mask is None and sizes.known(context.shape[-2]) == 0:
            context_mask = ops.ones(ops.shape(context)[:-1], dtype="bool")  # a mask of no keys says that there are none
        return masks.over_positions(context, context_mask, "context_mask")

    def init_cache(self, batch_size, max_length, context=None, context_mask=None, context_position_embedding=None,
                   cache_dtype=None):  # fmt: skip
        """Returns a `KVCache` that holds the context's keys and values. The layer must be built.

        Args:
            batch_size: int, B.
            max_length: int, not used: the context does not grow.
            context: float tensor (B, S, C).
            context_mask: boolean tensor (B, S) or `None`.
            context_position_embedding: as in a call.
            cache_dtype: "int8", for keys and values that are rounded, or `None` for the compute dtype.
        """
        cache_protocol.check_new(self, batch_size, max_length, cache_dtype)
        if context is not None:
            cache_protocol.check_rank("context", context)
        key, value, context_mask = self._keys_and_values(context, context_mask, context_position_embedding)
        if sizes.differ(batch_size, context.shape[0]):
            raise ValueError(
                f"`batch_size` must be that of `context`. Received: batch_size={batch_size}, context of shape "
                f"{tuple(context.shape)}."
            )
        if context_mask is None:
            context_mask = ops.ones(ops.shape(key)[:2], dtype="bool")
        length = ops.cast(ops.shape(key)[1], "int32")
        key, value = (fold_heads(each) for each in attention.isolate_nonfinite(key, value))
        if cache_dtype is not None:
            key, value = rounded.Rounded.of(key), rounded.Rounded.of(value)
        return KVCache(key, value, context_mask, length)

    def compute_mask(self, inputs, previous_mask):
        return sublayers.inputs_mask_only(inputs, previous_mask)

    def compute_output_shape(self, inputs_shape, context_shape=None):
        return tuple(inputs_shape)

    def compute_output_spec(self, inputs, *args, **kwargs):
        given = config.call_arguments(MultiHeadCrossAttention, self, inputs, *args, **kwargs)
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, least=3)
        pairs = _over_pairs(given.attention_mask, given.context_attention_mask)
        self._read_masks(inputs, given.context, given.mask, pairs, given.attention_bias, given.cache)
        head_projections.check_position_embedding("position_embedding", given.position_embedding, inputs)
        if given.cache is None:
            self._read_context(given.context, given.context_mask, given.context_position_embedding)
        return cache_protocol.attention_spec(self, inputs, given.context, given)

    def get_config(self):
        return config.of(MultiHeadCrossAttention, self, super().get_config())


def _over_pairs(attention_mask, context_attention_mask):
    """The mask over pairs, after the name that it was given by."""
    if attention_mask is not None and context_attention_mask is not None:
        raise ValueError(
            "`attention_mask` must not be given beside `context_attention_mask`, of which it is another name. Received: both."
        )
    if attention_mask is not None:
        return "attention_mask", attention_mask
    return "context_attention_mask", context_attention_mask
