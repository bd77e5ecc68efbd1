"""The decoder block: causal self-attention, cross-attention where there is a context, and feed-forward network."""

import functools

import keras

from .. import arguments
from ..ops import mask_values, masks, padding
from . import (
    attention_slot,
    cache_protocol,
    config,
    decoder_context,
    input_checks,
    recomputation,
    residual_branch,
    slot_arguments,
    slots,
    sublayers,
)
from .composite import Composite
from .feed_forward import FeedForward
from .multi_head_cross_attention import MultiHeadCrossAttention
from .multi_head_self_attention import MultiHeadSelfAttention


@keras.saving.register_keras_serializable(package="keras_tx")
class TransformerDecoder(Composite, keras.layers.Layer):
    """One block of a Transformer decoder, with slots for its attentions and its feed-forward network.

    Causal self-attention, then attention to the context, then the feed-forward network, each in a residual branch whose
    norm comes last (post-norm) or first (`normalize_first`). Without a context in its first call the block is that of a
    decoder-only model and has no cross-attention.

    Args:
        intermediate_dim: int, F; `None` only where `feed_forward` is given.
        num_heads: int, N, of the attentions that the block makes itself; `None` only where `attention` is given.
        dropout: float in [0, 1), on each branch, and on attention weights unless `attention_dropout` is given, in training.
        activation: name or function, of the feed-forward network.
        normalize_first: bool, whether a branch normalizes its inputs (pre-norm) or the sum (post-norm).
        layer_norm_epsilon: float.
        attention: layer to use in place of `MultiHeadSelfAttention(num_heads, causal=True)`, as in `TransformerEncoder`. A
            layer that takes `attention_mask` or `use_causal_mask`, as Keras' own does, and has no attribute `causal`, is told
            not to look ahead; any other must not by itself: the block does not check, though decoding does.
        cross_attention: layer to use in place of `MultiHeadCrossAttention(num_heads)`, called with the inputs and `context`,
            or with a query and a value as Keras' own is.
        feed_forward: layer (..., D) -> (..., D) to use in place of `FeedForward(intermediate_dim)`.
        kernel_initializer: of the kernels that the block makes itself.
        recompute: bool, as in `TransformerEncoder`. Calls that bring a cache keep everything.
        bias_initializer: of the biases that the block makes itself, save those of its norms.
        attention_dropout: float or `None`, of both attentions that the block makes itself, as in `TransformerEncoder`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, T, D), or (..., T, D): axes before the last two are batch, and stand for B below.
        context: float tensor (B, S, C), the encoder's outputs, or `None` in a decoder-only model.
        mask: boolean tensor (B, T), True at real positions; `None` for the mask that Keras carries.
        context_mask: boolean tensor (B, S), the same for the context.
        attention_mask: boolean tensor (T, T), (B, T, T) or (B, N, T, T), True for pairs of inputs that may meet; pairs
            that look ahead never do.
        cache: what `init_cache` returned, or `None`. With one, `context` need not be given again.
        training: bool.
        return_attention_scores: bool, whether to return the weights too, as in `TransformerEncoder`.
        context_attention_mask: boolean tensor (T, S), (B, T, S) or (B, N, T, S), True for pairs of an input and a context
            position that may meet.
        positions: integer tensor (T,) or (B, T), of the self-attention.

    Returns:
        Outputs (B, T, D); with a cache `(outputs, new_cache)`; with scores these are appended last: (B, N, T, T) in a
        decoder-only model, else a pair with the cross-attention's (B, N, T, S).

    Raises:
        ValueError: for arguments out of range, a slot and a size that contradict each other, inputs of another rank or width
            than built, a context where none was built or the reverse, and masks of other numbers than 0 and 1 or another shape.

    Example:

    ```python
    block = keras_tx.layers.TransformerDecoder(64, num_heads=4)
    x, context = keras.random.normal((2, 7, 32)), keras.random.normal((2, 5, 32))
    y = block(x, context)  # (2, 7, 32)
    ```

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.1.
    """

    def __init__(
        self,
        intermediate_dim=None,
        num_heads=None,
        dropout=0.0,
        activation="relu",
        normalize_first=False,
        layer_norm_epsilon=1e-5,
        attention=None,
        cross_attention=None,
        feed_forward=None,
        kernel_initializer="glorot_uniform",
        recompute=False,
        bias_initializer="zeros",
        attention_dropout=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        given, self.num_heads = slot_arguments.slot_or_size("attention", attention, "num_heads", num_heads)
        network, self.intermediate_dim = slot_arguments.slot_or_size(
            "feed_forward", feed_forward, "intermediate_dim", intermediate_dim
        )
        self.dropout = arguments.rate("dropout", dropout)
        self.attention_dropout = slot_arguments.slot_rate("attention_dropout", attention_dropout, "attention", given)
        self.activation = config.activation("activation", activation)
        self.normalize_first = arguments.flag("normalize_first", normalize_first)
        self.layer_norm_epsilon = arguments.positive_float("layer_norm_epsilon", layer_norm_epsilon)
        self.kernel_initializer = config.initializer("kernel_initializer", kernel_initializer)
        self.bias_initializer = config.initializer("bias_initializer", bias_initializer)
        self.recompute = arguments.flag("recompute", recompute)

        self._has_own_attention, self._has_own_feed_forward = given is None, network is None
        initializers = {"kernel_initializer": self.kernel_initializer, "bias_initializer": self.bias_initializer}
        own = {**initializers, "dtype": self.dtype_policy}
        rate = arguments.rate("attention_dropout", self.attention_dropout, default=self.dropout)
        self._own_attention = {**own, "dropout": rate}
        self.attention = given or MultiHeadSelfAttention(
            num_heads, causal=True, name="attention", **self._own_attention
        )
        self.cross_attention = slot_arguments.slot("cross_attention", cross_attention)
        for name, layer in (("attention", given), ("cross_attention", self.cross_attention)):
            attention_slot.check(name, layer)
        self._has_own_cross_attention = self.cross_attention is None
        self.feed_forward = network or FeedForward(intermediate_dim, self.activation, name="feed_forward", **own)
        self.attention_norm = residual_branch.make_norm(self, "attention_norm")
        self.feed_forward_norm = residual_branch.make_norm(self, "feed_forward_norm")
        self.attention_drops = residual_branch.make_drops(self, "attention")
        self.feed_forward_drops = residual_branch.make_drops(self, "feed_forward")
        self.cross_attention_norm = self.cross_attention_drops = None

    def build(self, inputs_shape, context_shape=None):
        self.hidden_dim = input_checks.hidden_size("inputs", inputs_shape, least=3)
        self.has_context = context_shape is not None
        attention_slot.build(self.attention, inputs_shape)
        residual_branch.build(self.attention_norm, self.attention_drops, inputs_shape)
        if self.has_context:
            if self.cross_attention is None:
                heads = arguments.positive_int("num_heads", self.num_heads)
                self.cross_attention = MultiHeadCrossAttention(heads, name="cross_attention", **self._own_attention)
            self.cross_attention_norm = residual_branch.make_norm(self, "cross_attention_norm")
            self.cross_attention_drops = residual_branch.make_drops(self, "cross_attention")
            attention_slot.build(self.cross_attention, inputs_shape, context_shape)
            residual_branch.build(self.cross_attention_norm, self.cross_attention_drops, inputs_shape)
        slots.build(self.feed_forward, keras.KerasTensor(inputs_shape, self.compute_dtype))
        residual_branch.build(self.feed_forward_norm, self.feed_forward_drops, inputs_shape)

    def call(
        self,
        inputs,
        context=None,
        mask=None,
        context_mask=None,
        attention_mask=None,
        cache=None,
        training=None,
        return_attention_scores=False,
        context_attention_mask=None,
        positions=None,
    ):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, least=3)
        decoder_context.check(self, context, cache, context_attention_mask)
        mask, real = masks.for_block(inputs, mask)
        given = attention_mask, context_attention_mask, context_mask
        names = "attention_mask", "context_attention_mask", "context_mask"
        *pairs, context_mask = map(mask_values.as_booleans, names, given)
        how = {"training": training, "cache": cache, "return_attention_scores": return_attention_scores}
        if not self.recompute or cache is not None or return_attention_scores:
            return self._apply(inputs, context, mask, real, context_mask, *pairs, positions, **how)
        if context is not None:  # what carries the mask here need not be what the attention gets
            context_mask = padding.given_or_implicit(context_mask, context)
        tensors = (inputs, context, mask, real, context_mask, *pairs, positions)
        return recomputation.recomputed(self, functools.partial(self._apply, **how), *tensors)

    def _apply(self, inputs, context, mask, real, *tensors, cache, training, return_attention_scores):
        x = padding.zero_masked(inputs, real)
        asked = {"training": training, "return_attention_scores": return_attention_scores}
        own, other = self._given(context, mask, real, *tensors, cache=cache, **asked)
        attend = functools.partial(attention_slot.call_attention, self.attention, **own)
        attend_to_context = functools.partial(attention_slot.call_attention, self.cross_attention, **other)

        def feed(x):
            return self.feed_forward(x, training=training), ()

        how = (self.normalize_first, training)
        x, extras = residual_branch.apply(x, attend, self.attention_norm, self.attention_drops, *how)
        cross_extras = ()
        if self.has_context:
            x, cross_extras = residual_branch.apply(
                x, attend_to_context, self.cross_attention_norm, self.cross_attention_drops, *how
            )
        x, _ = residual_branch.apply(x, feed, self.feed_forward_norm, self.feed_forward_drops, *how)

        new_cache = None if cache is None else (extras[0], other["cache"])
        scores = self._scores(return_attention_scores, extras, cross_extras)
        return cache_protocol.with_extras(x, return_attention_scores, scores, cache, new_cache)

    def _given(
        self, context, mask, real, context_mask, attention_mask, context_attention_mask, positions, cache, **asked
    ):
        """What the attention is called with, and what the cross-attention: pairs of inputs say nothing of pairs with it."""
        own, other = cache_protocol.pair(cache)
        pairs = {"attention_mask": attention_mask, "positions": positions}
        context_pairs = {"context_mask": context_mask, "context_attention_mask": context_attention_mask}
        return (
            {"mask": mask, **pairs, "causal": True, "cache": own, **asked},
            {"context": context, "mask": real, **context_pairs, "cache": other, **asked},
        )

    def init_cache(self, batch_size, max_length, context=None, context_mask=None):
        """Returns the pair (self-attention's cache, empty; cross-attention's, filled from `context`, or `None`)."""
        cache_protocol.check_new(self, batch_size, max_length)
        decoder_context.check(self, context, None)
        attention_slot.check_cached("attention", self.attention, self)
        own = self.attention.init_cache(batch_size, max_length)
        if not self.has_context:
            return own, None
        attention_slot.check_cached("cross_attention", self.cross_attention, self)
        return own, self.cross_attention.init_cache(batch_size, max_length, context, context_mask)

    def compute_mask(self, inputs, previous_mask):
        return sublayers.inputs_mask_only(inputs, previous_mask)

    def compute_output_shape(self, inputs_shape, context_shape=None):
        return tuple(inputs_shape)

    def compute_output_spec(self, inputs, *args, **kwargs):
        given = config.call_arguments(TransformerDecoder, self, inputs, *args, **kwargs)
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, least=3)
        decoder_context.check(self, given.context, given.cache, given.context_attention_mask)
        tensors = given.context_mask, given.attention_mask, given.context_attention_mask, given.positions
        asked = {"cache": given.cache, "return_attention_scores": given.return_attention_scores}
        own, other = self._given(given.context, *masks.for_block(inputs, given.mask), *tensors, **asked)
        extras = attention_slot.extras_spec(self.attention, inputs, **own)
        cross_extras = attention_slot.extras_spec(self.cross_attention, inputs, **other) if self.has_context else ()
        scores = self._scores(given.return_attention_scores, extras, cross_extras)
        outputs = sublayers.like_inputs(self, inputs)
        return cache_protocol.with_extras(outputs, given.return_attention_scores, scores, given.cache, given.cache)

    def _scores(self, wanted, extras, cross_extras):
        return None if not wanted else (extras[-1], cross_extras[-1]) if self.has_context else extras[-1]

    def get_config(self):
        return config.of(TransformerDecoder, self, super().get_config())
