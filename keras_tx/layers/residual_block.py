"""What the blocks have in common: their arguments, and what surrounds a sublayer in its branch."""

import functools

import keras

from .. import arguments
from ..ops import mask_values, padding
from . import attention_slot, cache_protocol, causality, config, recomputation, slot_arguments, slots
from .branch import Branch
from .composite import Composite
from .drop_path import DropPath
from .dropout import Dropout
from .feed_forward import FeedForward
from .layer_scale import LayerScale
from .multi_head_self_attention import MultiHeadSelfAttention
from .normalization import Norms

# What the blocks' constructors have for arguments that are of no use beside layers in all slots.
_DEFAULTS = {"activation": "relu", "kernel_initializer": "glorot_uniform", "bias_initializer": "zeros"}
_MASKS = "attention_mask", "context_mask", "context_attention_mask"


class ResidualBlock(Composite):
    """Stands before `keras.Layer` among the bases of a block, which is a list of branches.

    The parts of a branch are attributes of the block that begin with its name: `attention_norm`, of what the branch reads or of
    the sum; `attention_branch_norm`, of what it gives; `attention_layer_scale`, its gain; `attention_drops`. What a branch does
    without is `None`.
    """

    drop_path = 0.0

    def _set_branches(self, dropout, parallel, layer_scale, recompute):
        """Keeps the arguments that say how branches are added."""
        self.dropout = arguments.rate("dropout", dropout)
        self.parallel = arguments.flag("parallel", parallel)
        self.layer_scale = arguments.finite_float("layer_scale", layer_scale, optional=True)
        self.recompute = arguments.flag("recompute", recompute)

    def _set_norms(self, norm, normalize_first, normalize_branch, layer_norm_epsilon):
        """Keeps the arguments that say what is normalized, and how."""
        self.normalize_first = arguments.flag("normalize_first", normalize_first)
        self.normalize_branch = arguments.flag("normalize_branch", normalize_branch)
        if self.parallel and not normalize_first:
            raise ValueError(
                "`normalize_first` must be True where `parallel` is: the branches read the same normalized inputs. Received: "
                "normalize_first=False, parallel=True."
            )
        self._norms = Norms(norm, layer_norm_epsilon)
        self.layer_norm_epsilon = self._norms.epsilon

    def _set_initializers(self, kernel_initializer, bias_initializer):
        """Keeps the arguments of the layers that the block makes itself."""
        self.kernel_initializer = config.initializer("kernel_initializer", kernel_initializer)
        self.bias_initializer = config.initializer("bias_initializer", bias_initializer)

    def _set_attention(self, attention, num_heads, attention_dropout, causal=None, makes_another=False):
        """Keeps the attention that was given, or makes one: of an encoder, which has no `causal`, or of a decoder.

        `makes_another` says that the block makes another attention too, with as many heads.
        """
        given, self.num_heads = slot_arguments.slot_or_size(
            "attention", attention, "num_heads", num_heads, is_used=makes_another
        )
        attention_slot.check("attention", given, may_have_context=causal is None)
        self.attention_dropout = slot_arguments.slot_rate("attention_dropout", attention_dropout, "attention", given)
        if causal is not None:
            causality.check(given, causal)
        self._has_own_attention = given is None
        self.attention = given or self._make_attention(MultiHeadSelfAttention, "attention", causal=bool(causal))

    def _set_attentions(self, attention, cross_attention, num_heads, attention_dropout):
        """Keeps the attentions of a decoder that were given; that to a context is made when there is one."""
        cross_attention = slot_arguments.slot("cross_attention", cross_attention)
        attention_slot.check("cross_attention", cross_attention)
        self._set_attention(attention, num_heads, attention_dropout, self.causal, makes_another=cross_attention is None)
        self._has_own_cross_attention = cross_attention is None
        self.cross_attention = cross_attention

    def _set_feed_forward(self, feed_forward, intermediate_dim, activation):
        """Keeps the feed-forward network that was given, or makes one."""
        given, self.intermediate_dim = slot_arguments.slot_or_size(
            "feed_forward", feed_forward, "intermediate_dim", intermediate_dim
        )
        self.activation = config.activation("activation", activation)
        self._has_own_feed_forward = given is None
        self._refuse_unused(given)
        self.feed_forward = given or FeedForward(
            self.intermediate_dim, self.activation, name="feed_forward", **self._options()
        )

    def _refuse_unused(self, feed_forward):
        """Raises `ValueError` for arguments of what the block would make itself, and does not."""
        if feed_forward is not None:
            slot_arguments.check_own_activation(self.activation, _DEFAULTS["activation"], "feed_forward", feed_forward)
        if not any(
            getattr(self, f"_has_own_{name}", False) for name in ("attention", "cross_attention", "feed_forward")
        ):
            for name in ("kernel_initializer", "bias_initializer"):
                slot_arguments.check_unused(name, getattr(self, name), _DEFAULTS[name])

    @property
    def gives_attention_scores(self):
        """Whether an attention of the block has weights to return; what else mixes positions has none."""
        return any(map(cache_protocol.gives_scores, self._attentions()))

    def _attentions(self):
        """The attention, and that to a context where a decoder has one."""
        cross = getattr(self, "cross_attention", None) if getattr(self, "has_context", False) else None
        return [self.attention] if cross is None else [self.attention, cross]

    def _asks(self, attention, wanted):
        """Returns whether one of the block's attentions is asked for its weights: one without is passed over beside one with."""
        return wanted and (cache_protocol.gives_scores(attention) or not self.gives_attention_scores)

    def _scores(self, wanted, extras):
        """The weights, which are the last of what an attention returns beside its outputs: of one, or a pair with `None` for one
        without.
        """
        pairs = zip(self._attentions(), extras, strict=False)  # a network has extras too, and they are none
        scores = tuple(more[-1] if self._asks(attention, wanted) else None for attention, more in pairs)
        return scores if len(scores) > 1 else scores[0]

    @property
    def norm(self):
        """The config of the layer that the block's norms are copies of, or `None` for layer normalization."""
        return self._norms.config()

    def _options(self):
        initializers = {"kernel_initializer": self.kernel_initializer, "bias_initializer": self.bias_initializer}
        return {**initializers, "dtype": self.dtype_policy}

    def _make_attention(self, layer, name, **kwargs):
        heads = arguments.positive_int("num_heads", self.num_heads)
        rate = self.dropout if self.attention_dropout is None else self.attention_dropout
        return layer(heads, dropout=rate, name=name, **kwargs, **self._options())

    def _surround(self, name):
        """Makes the parts of a branch: side by side, all branches read what the norm of the first gives."""
        shares_norm = self.parallel and name != "attention"
        has_norm = self.normalize_first or not self.normalize_branch
        policy = {"dtype": self.dtype_policy}
        parts = {
            "norm": self._norms.make(f"{name}_norm", **policy) if has_norm and not shares_norm else None,
            "branch_norm": self._norms.make(f"{name}_branch_norm", **policy) if self.normalize_branch else None,
            "layer_scale": None,
            "drops": [Dropout(self.dropout, name=f"{name}_dropout", **policy)],
        }
        if self.layer_scale is not None:
            parts["layer_scale"] = LayerScale(self.layer_scale, name=f"{name}_layer_scale", **policy)
        if self.drop_path:
            parts["drops"].append(DropPath(self.drop_path, name=f"{name}_drop_path", **policy))
        for part, layer in parts.items():
            setattr(self, f"{name}_{part}", layer)

    def _parts(self, name):
        return (getattr(self, f"{name}_{part}") for part in ("norm", "branch_norm", "layer_scale", "drops"))

    def _build_parts(self, name, inputs_shape):
        inputs = keras.KerasTensor(inputs_shape, self.compute_dtype)
        *norms, layer_scale, drops = self._parts(name)
        for norm in norms:
            self._norms.build(norm, inputs)
        for layer in (layer_scale, *drops):
            slots.build(layer, inputs)

    def _branch(self, name, sublayer):
        norm, branch_norm, layer_scale, (dropout, *drop_path) = self._parts(name)
        steps = (dropout, branch_norm, layer_scale, *drop_path)
        first, last = (norm, None) if self.normalize_first else (None, norm)
        return Branch(name, sublayer, first, steps, last)

    def _attention_branch(self, name, arguments):
        attend = functools.partial(attention_slot.call_attention, getattr(self, name), **arguments)
        return self._branch(name, attend)

    def _feed_forward_branch(self, training):
        return self._branch("feed_forward", lambda x: (self.feed_forward(x, training=training), ()))

    def _run(self, tensors, keeps_all, **how):
        """Calls `_apply` with tensors by name; they alone are kept for the backward pass where the block computes again."""
        masks = {name: mask_values.as_booleans(name, tensors[name]) for name in _MASKS}
        tensors = {**tensors, **masks}
        if not self.recompute or keeps_all:
            return self._apply(**tensors, **how)
        if tensors["context"] is not None:  # what carries the mask here need not be what the attention gets
            tensors["context_mask"] = padding.given_or_implicit(tensors["context_mask"], tensors["context"])
        return recomputation.recomputed(self, functools.partial(self._apply, **how), tensors)
