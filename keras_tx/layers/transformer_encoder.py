"""The encoder block: attention and feed-forward network, each in a residual branch."""

import keras

from .. import arguments
from ..ops import masks, padding
from . import attention_slot, block_context, branch, config, given_positions, input_checks, slots, sublayers
from .residual_block import ResidualBlock


@keras.saving.register_keras_serializable(package="keras_tx")
class TransformerEncoder(ResidualBlock, keras.layers.Layer):
    """One block of a Transformer encoder, with a slot for its attention and one for its feed-forward network.

    x <- norm(x + drop(attention(x))), x <- norm(x + drop(FFN(x))); two flags say what is normalized, here for the attention:

    | `normalize_first` | `normalize_branch` | x becomes | as in |
    |---|---|---|---|
    | False | False | norm(x + drop(attention(x))) | the Transformer, BERT |
    | True | False | x + drop(attention(norm(x))) | GPT-2, Llama |
    | True | True | x + branch_norm(drop(attention(norm(x)))) | Gemma 2 |
    | False | True | x + branch_norm(drop(attention(x))) | Swin v2, OLMo 2 |

    Positions that are not real are set to zero first, so that nothing they hold reaches a gradient.

    Args:
        intermediate_dim: int, F; `None` only where `feed_forward` is given.
        num_heads: int, N; `None` only where `attention` is given.
        dropout: float in [0, 1), on both branches, and on the attention weights unless `attention_dropout` is given, in training.
        activation: name or function, of the feed-forward network.
        normalize_first: bool, whether a branch normalizes its inputs (pre-norm); else it normalizes the sum (post-norm).
        layer_norm_epsilon: float, of layer normalization.
        drop_path: float in [0, 1), the probability of dropping a sample's branch in training.
        attention: layer to use in place of `MultiHeadSelfAttention(num_heads)`; it maps (..., D) to (..., D), and its
            `call` may have `mask`, `attention_mask` and `return_attention_scores`. Or one of Keras' own, called with a query
            and a value, such as `keras.layers.MultiHeadAttention`: it gets all masks as one over pairs, which must be one
            for all heads. A layer that can be given no mask is refused with padded inputs, unless it `supports_masking`. One
            that takes `context`, such as `MultiHeadCrossAttention`, attends to that.
        feed_forward: layer (..., D) -> (..., D) to use in place of `FeedForward(intermediate_dim)`.
        kernel_initializer: of the kernels that the block makes itself.
        recompute: bool, whether the backward pass computes the block's inner values again from its inputs, so that training keeps
            the inputs alone and takes less memory and about a third more time. Gradients are the same. Calls that ask for the
            scores keep everything.
        bias_initializer: of the biases that the block makes itself, save those of its norms.
        attention_dropout: float in [0, 1), on the attention weights, or `None` for `dropout`. Beside `attention`, which has a
            rate of its own, that rate or `None`.
        norm: normalization layer, such as `keras.layers.RMSNormalization()`, of which each branch gets a copy with a name of its
            own and the block's dtype policy; `None` for layer normalization. One that looks along the positions, as
            `keras.layers.GroupNormalization` does, sees padding as zeros, and in a decoder what comes later.
        normalize_branch: bool, whether a branch normalizes what it gives before that is added, after dropout and before
            `drop_path`: beside the norm of its inputs, but in place of that of the sum.
        parallel: bool, whether the feed-forward network reads the same normalized inputs as the attention, and x becomes
            x + drop(attention(norm(x))) + drop(FFN(norm(x))), with one norm. It needs `normalize_first`.
        layer_scale: float, with which a learned gain (D,) of each branch starts (`LayerScale`), or `None` for no gain.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, T, D), or (..., T, D): axes before the last two are batch, and stand for B below. An attention
            in the slot may see a map in them, as `WindowAttention` does.
        mask: boolean tensor (B, T), True at real positions; `None` for the mask that Keras carries.
        attention_mask: boolean tensor (T, T), (B, T, T) or (B, N, T, T), True for pairs that may meet.
        training: bool.
        return_attention_scores: bool, whether to return the weights too. It changes no output, save by rounding (1e-5) from some
            2,000 tokens on, where attention runs in blocks otherwise.
        positions: integer tensor (T,) or (B, T), handed to the attention. So are the following, and one that it does not take is
            an error.
        attention_bias: float tensor (T, S) or one that broadcasts to (B, N, T, S), added to the scores; S is T without context.
        position_embedding: float tensor (T, D) or (B, T, D), added to what queries and keys are made of, and not to values.
        context: float tensor (B, S, C), another sequence to attend to, if the block was built with one.
        context_mask: boolean tensor (B, S), True at its real positions; `None` for the mask that Keras carries.
        context_attention_mask: boolean tensor (T, S), (B, T, S) or (B, N, T, S), True for pairs of an input and a context
            position that may meet; beside a context in place of `attention_mask`.
        context_position_embedding: float tensor (S, C) or (B, S, C), added to what keys are made of.
        distance_bias: float tensor (2R + 1, N), a bias for each distance, such as `RelativePositionBias` gives.
        segment_ids: integer tensor (B, T), the documents of packed rows, as `MultiHeadSelfAttention` takes them: no token attends
            to another document.

    Returns:
        Outputs (B, T, D), or `(outputs, scores)` with scores (B, N, T, T), or (B, N, T, S) for a context.

    Raises:
        ValueError: for arguments out of range, a slot and a size that contradict each other, an attention that has another
            call or cannot be given a mask, inputs of another rank or width than built, a context where none was built or
            the reverse, and masks that hold other numbers than 0 and 1 or have another shape.

    Example:

    ```python
    block = keras_tx.layers.TransformerEncoder(64, num_heads=4, activation="gelu", normalize_first=True)
    y = block(keras.random.normal((2, 7, 32)))  # (2, 7, 32)
    ```

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.1; Chen et al. 2016, "Training Deep Nets with Sublinear Memory
        Cost", section 3, for `recompute`; Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture", for
        `normalize_first`; Liu et al. 2022, "Swin Transformer V2", section 3.2, for `normalize_branch`; Touvron et al. 2021,
        "Going deeper with Image Transformers", section 2, for `layer_scale`.
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
        norm=None,
        normalize_branch=False,
        parallel=False,
        layer_scale=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.drop_path = arguments.rate("drop_path", drop_path)
        self._set_branches(dropout, parallel, layer_scale, recompute)
        self._set_norms(norm, normalize_first, normalize_branch, layer_norm_epsilon)
        self._set_initializers(kernel_initializer, bias_initializer)
        self._set_attention(attention, num_heads, attention_dropout)
        self._set_feed_forward(feed_forward, intermediate_dim, activation)
        for name in ("attention", "feed_forward"):
            self._surround(name)

    def build(self, inputs_shape, context_shape=None):
        self.hidden_dim = input_checks.hidden_size("inputs", inputs_shape)
        self.has_context = context_shape is not None
        attention_slot.check_context("attention", self.attention, context_shape)
        attention_slot.build(self.attention, inputs_shape, context_shape)
        slots.build(self.feed_forward, keras.KerasTensor(inputs_shape, self.compute_dtype))
        for name in ("attention", "feed_forward"):
            self._build_parts(name, inputs_shape)

    def call(
        self,
        inputs,
        mask=None,
        attention_mask=None,
        training=None,
        return_attention_scores=False,
        positions=None,
        attention_bias=None,
        position_embedding=None,
        context=None,
        context_mask=None,
        context_attention_mask=None,
        context_position_embedding=None,
        distance_bias=None,
        segment_ids=None,
    ):
        tensors = {
            "inputs": inputs,
            "attention_mask": attention_mask,
            "positions": positions,
            "attention_bias": attention_bias,
            "position_embedding": position_embedding,
            "context": context,
            "context_mask": context_mask,
            "context_attention_mask": context_attention_mask,
            "context_position_embedding": context_position_embedding,
            "distance_bias": distance_bias,
            "segment_ids": segment_ids,
        }
        self._check(**tensors)
        tensors["segment_ids"] = given_positions.read_segments(segment_ids, inputs.shape[:-1])
        tensors["mask"], tensors["real"] = masks.for_block(inputs, mask, tensors["segment_ids"])
        asked = {"training": training, "return_attention_scores": return_attention_scores}
        return self._run(tensors, keeps_all=return_attention_scores, **asked)

    def _apply(self, inputs, real, **given):
        training = given["training"]
        branches = [self._attention_branch("attention", given), self._feed_forward_branch(training)]
        x, (extras, _) = branch.apply(branches, padding.zero_masked(inputs, real), training, self.parallel)
        return (x, *extras) if extras else x

    def _check(self, inputs, context, attention_mask, **tensors):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim)
        block_context.check(self, context, **tensors)
        if context is not None and attention_mask is not None:
            raise ValueError(
                "`attention_mask` must be None beside a context, whose pairs with the inputs `context_attention_mask` tells of. "
                f"Received: attention_mask of shape {tuple(attention_mask.shape)}."
            )

    def compute_mask(self, inputs, previous_mask):
        return sublayers.inputs_mask_only(inputs, previous_mask)

    def compute_output_shape(self, inputs_shape, context_shape=None):
        return tuple(inputs_shape)

    def compute_output_spec(self, inputs, *args, **kwargs):
        given = vars(config.call_arguments(TransformerEncoder, self, inputs, *args, **kwargs))
        given = {name: value for name, value in given.items() if name != "training"}
        self._check(**given)
        given["mask"], _ = masks.for_block(given.pop("inputs"), given["mask"])
        extras = attention_slot.extras_spec(self.attention, inputs, **given)
        outputs = sublayers.like_inputs(self, inputs)
        return (outputs, *extras) if extras else outputs

    def get_config(self):
        return config.of(TransformerEncoder, self, super().get_config())
