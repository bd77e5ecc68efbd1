"""Multi-head attention from one sequence to another."""

import keras
from keras import ops

from .. import arguments
from ..ops import attention, masks, padding, sizes
from ..ops.attention.attention_mask import AttentionMask
from ..ops.attention.kv_cache import KVCache, fold_heads
from ..ops.leading_axes import LeadingAxes
from . import cache_protocol, config, head_projections, input_checks, sublayers
from .composite import Composite
from .dropout import Dropout


@keras.saving.register_keras_serializable(package="keras_tx")
class MultiHeadCrossAttention(Composite, keras.layers.Layer):
    """Lets each position of a sequence attend to the positions of another one, the context.

    head_n = softmax(Q_n K_n^T / sqrt(H)) V_n with Q_n linear in the inputs, K_n and V_n linear in the context.

    Padding of the context has weight exactly zero and may hold anything. A query with no key left, and one that is
    itself not real, gets zeros.

    Args:
        num_heads: int, N.
        key_dim: int, H; `None` for the width of the inputs over `num_heads`.
        num_key_value_heads: int that divides N, or `None` for N.
        dropout: float in [0, 1), on the attention weights in training.
        use_bias: bool, whether the four projections have biases.
        kernel_initializer: of the four projections, each drawn as a matrix.
        bias_initializer: of their biases.
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

    def __init__(
        self,
        num_heads,
        key_dim=None,
        num_key_value_heads=None,
        dropout=0.0,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = arguments.positive_int("num_heads", num_heads)
        self.key_dim = arguments.positive_int("key_dim", key_dim, optional=True)
        self.num_key_value_heads = arguments.positive_int("num_key_value_heads", num_key_value_heads, optional=True)
        head_projections.check_head_groups(self.num_heads, self.num_key_value_heads)
        self.dropout = arguments.rate("dropout", dropout)
        self.use_bias = arguments.flag("use_bias", use_bias)
        self.kernel_initializer = config.initializer("kernel_initializer", kernel_initializer)
        self.bias_initializer = config.initializer("bias_initializer", bias_initializer)
        self.query = self.key = self.value = self.attention_output = None
        self.attention_dropout = Dropout(self.dropout, name="attention_dropout", dtype=self.dtype_policy)

    def build(self, inputs_shape, context_shape=None):
        hidden_dim = input_checks.hidden_size("inputs", inputs_shape, least=3)
        if context_shape is None:
            raise ValueError(
                "`context` must be given in the first call, which builds the layer. Received: context=None."
            )
        context_dim = input_checks.hidden_size("context", context_shape, least=3)
        head_dim = head_projections.head_size(self.num_heads, self.key_dim, hidden_dim)
        self.hidden_dim, self.context_dim, self.head_dim = hidden_dim, context_dim, head_dim
        shared = (self.use_bias, self.kernel_initializer, self.bias_initializer, self.dtype_policy)
        if self.query is None:
            self.query = head_projections.into_heads(self.num_heads, head_dim, "query", *shared)
            self.key = head_projections.into_heads(self._key_heads, head_dim, "key", *shared)
            self.value = head_projections.into_heads(self._key_heads, head_dim, "value", *shared)
            self.attention_output = head_projections.out_of_heads(hidden_dim, "attention_output", *shared)
        folded, folded_context = sublayers.folded_shape(inputs_shape), sublayers.folded_shape(context_shape)
        sublayers.build_once(self.query, folded)
        sublayers.build_once(self.key, folded_context)
        sublayers.build_once(self.value, folded_context)
        sublayers.build_once(self.attention_output, (*folded[:2], self.num_heads, head_dim))

    @property
    def _key_heads(self):
        return self.num_key_value_heads or self.num_heads

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
    ):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, least=3)
        pairs = _over_pairs(attention_mask, context_attention_mask)
        mask, pair_mask = self._read_masks(inputs, context, mask, pairs, attention_bias, cache)
        if cache is None:
            key, value, context_mask = self._keys_and_values(context, context_mask)
        else:
            key, value, context_mask = cache.keys, cache.values, cache.mask
        batch = LeadingAxes(inputs)
        inputs, mask = batch.fold(inputs, 2), batch.fold(mask, 1)
        pair_mask, attention_bias = batch.fold(pair_mask, 3), batch.fold(attention_bias, 3)
        allowed = AttentionMask(mask, context_mask, pair_mask)

        context, scores = attention.dot_product_attention(
            ops.cast(self.query(padding.zero_masked(inputs, mask)), self.compute_dtype),
            key,
            value,
            mask=allowed,
            bias=attention_bias,
            draw=self.attention_dropout.draw(training),
            return_scores=return_attention_scores,
            key_heads=None if cache is None else self._key_heads,
        )
        sizes = ops.shape(inputs)[1], ops.shape(key)[1]
        outputs = ops.cast(self.attention_output(context), self.compute_dtype)
        outputs = padding.zero_masked(outputs, allowed.queries_with_keys(*sizes))
        return cache_protocol.with_extras(
            batch.unfold(outputs), return_attention_scores, batch.unfold(scores), cache, cache
        )

    def _read_masks(self, inputs, context, mask, pairs, attention_bias, cache):
        if cache is None:
            self._check_context(context)
            input_checks.check_same_batch("inputs", inputs, "context", context)
        else:
            cache_protocol.check_keys(cache, inputs, self._key_heads, self.head_dim)
        num_keys = context.shape[-2] if cache is None else cache.max_length
        masks.check_bias(attention_bias, inputs, self.num_heads, num_keys)
        return masks.read(inputs, mask, pairs[1], self.num_heads, num_keys, name=pairs[0])

    def _keys_and_values(self, context, context_mask):
        context_mask = self._read_context(context, context_mask)
        batch = LeadingAxes(context)
        context, context_mask = batch.fold(context, 2), batch.fold(context_mask, 1)
        context = padding.zero_masked(context, context_mask)
        key, value = (ops.cast(projection(context), self.compute_dtype) for projection in (self.key, self.value))
        return key, value, context_mask  # (B, S, M, H)

    def _check_context(self, context):
        if context is None:
            raise ValueError("`context` must be given where there is no cache. Received: context=None.")
        input_checks.check_inputs("context", context, self.context_dim, least=3)

    def _read_context(self, context, context_mask):
        self._check_context(context)
        context_mask = padding.given_or_implicit(context_mask, context)
        if context_mask is None and sizes.known(context.shape[-2]) == 0:
            context_mask = ops.ones(ops.shape(context)[:-1], dtype="bool")  # a mask of no keys says that there are none
        return masks.over_positions(context, context_mask, "context_mask")

    def init_cache(self, batch_size, max_length, context=None, context_mask=None):
        """Returns a `KVCache` that holds the context's keys and values. The layer must be built.

        Args:
            batch_size: int, B.
            max_length: int, not used: the context does not grow.
            context: float tensor (B, S, C).
            context_mask: boolean tensor (B, S) or `None`.
        """
        cache_protocol.check_new(self, batch_size, max_length)
        if context is not None:
            cache_protocol.check_rank("context", context)
        key, value, context_mask = self._keys_and_values(context, context_mask)
        if sizes.differ(batch_size, context.shape[0]):
            raise ValueError(
                f"`batch_size` must be that of `context`. Received: batch_size={batch_size}, context of shape "
                f"{tuple(context.shape)}."
            )
        if context_mask is None:
            context_mask = ops.ones(ops.shape(key)[:2], dtype="bool")
        length = ops.cast(ops.shape(key)[1], "int32")
        key, value = (fold_heads(each) for each in attention.isolate_nonfinite(key, value))
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
        if given.cache is None:
            self._read_context(given.context, given.context_mask)
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
