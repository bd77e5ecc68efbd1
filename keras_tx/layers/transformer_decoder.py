"""The decoder block: causal self-attention, cross-attention where there is a context, and feed-forward network."""

import keras

from .. import arguments
from ..ops import masks, padding
from . import (
    attention_slot,
    block_context,
    branch,
    cache_protocol,
    causality,
    config,
    given_positions,
    input_checks,
    slots,
    stepwise,
    sublayers,
)
from .multi_head_cross_attention import MultiHeadCrossAttention
from .residual_block import ResidualBlock

# Which arguments of a call go to the self-attention, and which to the cross-attention.
_OF_INPUTS = ("mask", "attention_mask", "attention_bias", "positions", "position_embedding", "distance_bias",
              "segment_ids")  # fmt: skip
_OF_CONTEXT = ("context", "context_mask", "context_attention_mask", "context_position_embedding", "position_embedding")


@keras.saving.register_keras_serializable(package="keras_tx")
class TransformerDecoder(ResidualBlock, keras.layers.Layer):
    """One block of a Transformer decoder, with slots for its attentions and its feed-forward network.

    Causal self-attention, then attention to the context, then the feed-forward network, each in a residual branch whose
    norm comes last (post-norm) or first (`normalize_first`). Without a context in its first call the block is that of a
    decoder-only model and has no cross-attention.

    Args:
        intermediate_dim: int, F; `None` only where `feed_forward` is given.
        num_heads: int, N, of the attentions that the block makes itself; `None` only where `attention` is given.
        dropout: float in [0, 1), on each branch, and on attention weights unless `attention_dropout` is given, in training.
        activation: name or function, of the feed-forward network.
        normalize_first, layer_norm_epsilon: as in `TransformerEncoder`.
        attention: layer to use in place of `MultiHeadSelfAttention(num_heads, causal=causal)`, as in `TransformerEncoder`. One
            that takes `attention_mask` or `use_causal_mask`, as Keras' own does, and has no attribute `causal`, is told not to
            look ahead; any other has to say by `causal = True` that it does not.
        cross_attention: layer to use in place of `MultiHeadCrossAttention(num_heads)`, called with the inputs and `context`,
            or with a query and a value as Keras' own is.
        feed_forward: layer (..., D) -> (..., D) to use in place of `FeedForward(intermediate_dim)`.
        kernel_initializer: of the kernels that the block makes itself.
        recompute: bool, as in `TransformerEncoder`. Calls that bring a cache keep everything.
        bias_initializer: of the biases that the block makes itself, save those of its norms.
        attention_dropout: float or `None`, of both attentions that the block makes itself, as in `TransformerEncoder`.
        norm, normalize_branch, parallel, layer_scale: as in `TransformerEncoder`. Branches side by side leave no place for a
            context.
        causal: bool, whether positions must not look ahead; False where they are in no order, as the queries of DETR.
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
        attention_bias: float tensor (T, S) or one that broadcasts to (B, N, T, S), added to the scores of the self-attention. S
            is T, or the size of the cache.
        position_embedding: float tensor (T, D) or (B, T, D), added to what the queries of both attentions are made of, and the
            keys of the self-attention.
        context_position_embedding: float tensor (S, C) or (B, S, C), added to what keys of the context are made of.
        distance_bias: float tensor (2R + 1, N), of the self-attention: a bias for each distance, as
            `RelativePositionBias` gives.
        segment_ids: integer tensor (B, T), of the self-attention: no token attends to another document of its row.

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

    is_stepwise = property(stepwise.has_stepwise_parts)

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
        norm=None,
        normalize_branch=False,
        parallel=False,
        layer_scale=None,
        causal=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._set_branches(dropout, parallel, layer_scale, recompute)
        self._set_norms(norm, normalize_first, normalize_branch, layer_norm_epsilon)
        self._set_initializers(kernel_initializer, bias_initializer)
        self.causal = arguments.flag("causal", causal)
        self._set_attentions(attention, cross_attention, num_heads, attention_dropout)
        self._set_feed_forward(feed_forward, intermediate_dim, activation)
        for name in ("attention", "feed_forward"):
            self._surround(name)

    def build(self, inputs_shape, context_shape=None):
        self.hidden_dim = input_checks.hidden_size("inputs", inputs_shape, least=3)
        self.has_context = context_shape is not None
        if self.has_context and self.parallel:
            raise ValueError(
                "`parallel` must be False in a block with a context, whose branches come one after the other. Received: "
                f"parallel=True and context of shape {tuple(context_shape)}."
            )
        attention_slot.build(self.attention, inputs_shape)
        self._build_parts("attention", inputs_shape)
        if self.has_context:
            if self.cross_attention is None:
                self.cross_attention = self._make_attention(MultiHeadCrossAttention, "cross_attention")
            self._surround("cross_attention")
            attention_slot.build(self.cross_attention, inputs_shape, context_shape)
            self._build_parts("cross_attention", inputs_shape)
        slots.build(self.feed_forward, keras.KerasTensor(inputs_shape, self.compute_dtype))
        self._build_parts("feed_forward", inputs_shape)

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
        attention_bias=None,
        position_embedding=None,
        context_position_embedding=None,
        distance_bias=None,
        segment_ids=None,
    ):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, least=3)
        tensors = {
            "inputs": inputs,
            "context": context,
            "context_mask": context_mask,
            "attention_mask": attention_mask,
            "context_attention_mask": context_attention_mask,
            "positions": positions,
            "attention_bias": attention_bias,
            "position_embedding": position_embedding,
            "context_position_embedding": context_position_embedding,
            "distance_bias": distance_bias,
            "segment_ids": given_positions.read_segments(segment_ids, inputs.shape[:-1], cache),
        }
        block_context.check(self, cache=cache, **tensors)
        tensors["mask"], tensors["real"] = masks.for_block(inputs, mask, tensors["segment_ids"])
        how = {"cache": cache, "training": training, "return_attention_scores": return_attention_scores}
        return self._run(tensors, keeps_all=cache is not None or return_attention_scores, **how)

    def _apply(self, inputs, real, cache, training, return_attention_scores, **tensors):
        asked = {"training": training, "return_attention_scores": return_attention_scores}
        own, other = self._shared_out(real, cache, asked, tensors)
        branches = [self._attention_branch("attention", own)]
        if self.has_context:
            branches.append(self._attention_branch("cross_attention", other))
        branches.append(self._feed_forward_branch(training))
        x, extras = branch.apply(branches, padding.zero_masked(inputs, real), training, self.parallel)
        # Of both attentions, as Keras has cast what came in to the dtype of the block, which may be another.
        new_cache = None if cache is None else (extras[0][0], None if other["cache"] is None else extras[1][0])
        scores = self._scores(return_attention_scores, extras)
        return cache_protocol.with_extras(x, return_attention_scores, scores, cache, new_cache)

    def _shared_out(self, real, cache, asked, tensors):
        """What the attention is called with, and what the cross-attention: a mask over pairs of inputs is for the one alone."""
        own_cache, other_cache = cache_protocol.pair(cache)
        own, other = ({name: tensors[name] for name in names} | asked for names in (_OF_INPUTS, _OF_CONTEXT))
        for attention, given in zip(self._attentions(), (own, other), strict=False):
            given["return_attention_scores"] = self._asks(attention, asked["return_attention_scores"])
        return {**own, "causal": self.causal, "cache": own_cache}, {**other, "mask": real, "cache": other_cache}

    def init_cache(self, batch_size, max_length, context=None, context_mask=None, context_position_embedding=None,
                   cache_dtype=None):  # fmt: skip
        """Returns the pair (self-attention's cache, empty; cross-attention's, filled from `context`, or `None`)."""
        cache_protocol.check_new(self, batch_size, max_length, cache_dtype)
        block_context.check(self, context=context)
        attention_slot.check_cached("attention", self.attention, self)
        own = cache_protocol.new_cache(self.attention, cache_dtype, batch_size, max_length)
        if not self.has_context:
            return own, None
        attention_slot.check_cached("cross_attention", self.cross_attention, self)
        given, embedding = (batch_size, max_length, context, context_mask), context_position_embedding
        beside = {} if embedding is None else {"context_position_embedding": embedding}
        return own, cache_protocol.new_cache(self.cross_attention, cache_dtype, *given, **beside)

    def compute_mask(self, inputs, previous_mask):
        return sublayers.inputs_mask_only(inputs, previous_mask)

    def compute_output_shape(self, inputs_shape, context_shape=None):
        return tuple(inputs_shape)

    def compute_output_spec(self, inputs, *args, **kwargs):
        given = vars(config.call_arguments(TransformerDecoder, self, inputs, *args, **kwargs))
        given = {name: value for name, value in given.items() if name != "training"}
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, least=3)
        block_context.check(self, **given)
        mask, real = masks.for_block(inputs, given["mask"])
        wanted, cache = given["return_attention_scores"], given["cache"]
        asked = {"return_attention_scores": wanted}
        own, other = self._shared_out(real, cache, asked, {**given, "mask": mask})
        extras = attention_slot.extras_spec(self.attention, inputs, **own)
        cross_extras = attention_slot.extras_spec(self.cross_attention, inputs, **other) if self.has_context else ()
        scores = self._scores(wanted, (extras, cross_extras))
        return cache_protocol.with_extras(sublayers.like_inputs(self, inputs), wanted, scores, cache, cache)

    @classmethod
    def from_config(cls, config):
        return super().from_config(causality.with_causal(config))

    def get_config(self):
        return config.of(TransformerDecoder, self, super().get_config())
