"""The encoder block: attention and feed-forward network, each in a residual branch."""

import functools

import keras

from .. import arguments
from ..ops import mask_values, masks, padding
from . import attention_slot, config, input_checks, recomputation, residual_branch, slot_arguments, slots, sublayers
from .composite import Composite
from .feed_forward import FeedForward
from .multi_head_self_attention import MultiHeadSelfAttention


@keras.saving.register_keras_serializable(package="keras_tx")
class TransformerEncoder(Composite, keras.layers.Layer):
    """One block of a Transformer encoder, with a slot for its attention and one for its feed-forward network.

    x <- norm(x + drop(attention(x))), x <- norm(x + drop(FFN(x))); with `normalize_first`, x <- x +
    drop(attention(norm(x))) and likewise. Positions that are not real are set to zero first, so that nothing they hold
    reaches a gradient.

    Args:
        intermediate_dim: int, F; `None` only where `feed_forward` is given.
        num_heads: int, N; `None` only where `attention` is given.
        dropout: float in [0, 1), on both branches, and on the attention weights unless `attention_dropout` is given, in training.
        activation: name or function, of the feed-forward network.
        normalize_first: bool, whether a branch normalizes its inputs (pre-norm) or the sum (post-norm).
        layer_norm_epsilon: float.
        drop_path: float in [0, 1), the probability of dropping a sample's branch in training.
        attention: layer to use in place of `MultiHeadSelfAttention(num_heads)`; it maps (..., D) to (..., D), and its
            `call` may have `mask`, `attention_mask` and `return_attention_scores`. Or one of Keras' own, called with a query
            and a value, such as `keras.layers.MultiHeadAttention`: it gets all masks as one over pairs, which must be one
            for all heads. A layer that can be given no mask is refused with padded inputs, unless it `supports_masking`.
        feed_forward: layer (..., D) -> (..., D) to use in place of `FeedForward(intermediate_dim)`.
        kernel_initializer: of the kernels that the block makes itself.
        recompute: bool, whether the backward pass computes the block's inner values again from its inputs, so that training keeps
            the inputs alone and takes less memory and about a third more time. Gradients are the same. Calls that ask for the
            scores keep everything.
        bias_initializer: of the biases that the block makes itself, save those of its norms.
        attention_dropout: float in [0, 1), on the attention weights, or `None` for `dropout`. Beside `attention`, which has a
            rate of its own, that rate or `None`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, T, D), or (..., T, D): axes before the last two are batch, and stand for B below. An attention
            in the slot may see a map in them, as `WindowAttention` does.
        mask: boolean tensor (B, T), True at real positions; `None` for the mask that Keras carries.
        attention_mask: boolean tensor (T, T), (B, T, T) or (B, N, T, T), True for pairs that may meet.
        training: bool.
        return_attention_scores: bool, whether to return the weights too. It changes no output, save by rounding (1e-5) from some
            2,000 tokens on, where attention runs in blocks otherwise.
        positions: integer tensor (T,) or (B, T), handed to the attention.

    Returns:
        Outputs (B, T, D), or `(outputs, scores)` with scores (B, N, T, T).

    Raises:
        ValueError: for arguments out of range, a slot and a size that contradict each other, an attention that has another
            call or cannot be given a mask, inputs of another rank or width than built, and masks that hold other numbers than
            0 and 1 or have another shape.

    Example:

    ```python
    block = keras_tx.layers.TransformerEncoder(64, num_heads=4, activation="gelu", normalize_first=True)
    y = block(keras.random.normal((2, 7, 32)))  # (2, 7, 32)
    ```

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.1; Chen et al. 2016, "Training Deep Nets with Sublinear Memory
        Cost", section 3, for `recompute`; Xiong et al. 2020, "On Layer Normalization in the
        Transformer Architecture", for `normalize_first`.
    """

    def __init__(
        self,
        intermediate_dim=None,
        num_heads=None,
        dropout=0.0,
        activation="relu",
        normalize_first=False,
        layer_norm_epsilon=1e-5,
        drop_path=0.0,
        attention=None,
        feed_forward=None,
        kernel_initializer="glorot_uniform",
        recompute=False,
        bias_initializer="zeros",
        attention_dropout=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        given, self.num_heads = slot_arguments.slot_or_size("attention", attention, "num_heads", num_heads)
        attention_slot.check("attention", given)
        network, self.intermediate_dim = slot_arguments.slot_or_size(
            "feed_forward", feed_forward, "intermediate_dim", intermediate_dim
        )
        self.dropout = arguments.rate("dropout", dropout)
        self.attention_dropout = slot_arguments.slot_rate("attention_dropout", attention_dropout, "attention", given)
        self.activation = config.activation("activation", activation)
        self.normalize_first = arguments.flag("normalize_first", normalize_first)
        self.layer_norm_epsilon = arguments.positive_float("layer_norm_epsilon", layer_norm_epsilon)
        self.drop_path = arguments.rate("drop_path", drop_path)
        self.kernel_initializer = config.initializer("kernel_initializer", kernel_initializer)
        self.bias_initializer = config.initializer("bias_initializer", bias_initializer)
        self.recompute = arguments.flag("recompute", recompute)

        self._has_own_attention, self._has_own_feed_forward = given is None, network is None
        initializers = {"kernel_initializer": self.kernel_initializer, "bias_initializer": self.bias_initializer}
        own = {**initializers, "dtype": self.dtype_policy}
        rate = arguments.rate("attention_dropout", self.attention_dropout, default=self.dropout)
        self.attention = given or MultiHeadSelfAttention(num_heads, dropout=rate, name="attention", **own)
        self.feed_forward = network or FeedForward(intermediate_dim, self.activation, name="feed_forward", **own)
        self.attention_norm = residual_branch.make_norm(self, "attention_norm")
        self.feed_forward_norm = residual_branch.make_norm(self, "feed_forward_norm")
        self.attention_drops = residual_branch.make_drops(self, "attention", self.drop_path)
        self.feed_forward_drops = residual_branch.make_drops(self, "feed_forward", self.drop_path)

    def build(self, input_shape):
        self.hidden_dim = input_checks.hidden_size("inputs", input_shape)
        attention_slot.build(self.attention, input_shape)
        slots.build(self.feed_forward, keras.KerasTensor(input_shape, self.compute_dtype))
        residual_branch.build(self.attention_norm, self.attention_drops, input_shape)
        residual_branch.build(self.feed_forward_norm, self.feed_forward_drops, input_shape)

    def call(
        self, inputs, mask=None, attention_mask=None, training=None, return_attention_scores=False, positions=None
    ):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim)
        mask, real = masks.for_block(inputs, mask)
        attention_mask = mask_values.as_booleans("attention_mask", attention_mask)
        if not self.recompute or return_attention_scores:
            return self._apply(inputs, mask, real, attention_mask, positions, training, return_attention_scores)
        apply = functools.partial(self._apply, training=training)
        return recomputation.recomputed(self, apply, inputs, mask, real, attention_mask, positions)

    def _apply(self, inputs, mask, real, attention_mask, positions, training, return_attention_scores=False):
        inputs = padding.zero_masked(inputs, real)

        def attend(x):
            return attention_slot.call_attention(
                self.attention,
                x,
                mask=mask,
                attention_mask=attention_mask,
                positions=positions,
                training=training,
                return_attention_scores=return_attention_scores,
            )

        x, extras = residual_branch.apply(
            inputs,
            attend,
            self.attention_norm,
            self.attention_drops,
            self.normalize_first,
            training,
        )
        x, _ = residual_branch.apply(
            x,
            lambda x: (self.feed_forward(x, training=training), ()),
            self.feed_forward_norm,
            self.feed_forward_drops,
            self.normalize_first,
            training,
        )
        return (x, *extras) if extras else x

    def compute_mask(self, inputs, previous_mask):
        return sublayers.inputs_mask_only(inputs, previous_mask)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def compute_output_spec(self, inputs, *args, **kwargs):
        given = vars(config.call_arguments(TransformerEncoder, self, inputs, *args, **kwargs))
        given = {name: value for name, value in given.items() if name not in ("inputs", "training")}
        input_checks.check_inputs("inputs", inputs, self.hidden_dim)
        given["mask"], _ = masks.for_block(inputs, given["mask"])
        extras = attention_slot.extras_spec(self.attention, inputs, **given)
        outputs = sublayers.like_inputs(self, inputs)
        return (outputs, *extras) if extras else outputs

    def get_config(self):
        return config.of(TransformerEncoder, self, super().get_config())
