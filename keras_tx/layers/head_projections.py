"""The projections into and out of attention heads, which both attentions have, and how they start."""

import math

import keras
from keras import ops

from .. import arguments, graph
from ..ops import masks, padding
from . import config, input_checks, slot_arguments, slots, stepwise, sublayers
from .composite import Composite
from .dense import EinsumDense
from .dropout import Dropout


class HeadProjections(Composite):
    """Stands before `keras.Layer` among the bases of an attention: its heads, and the projections into and out of them."""

    def _set_heads(self, num_heads, key_dim, num_key_value_heads, scale, query_norm, key_norm):
        """Keeps the arguments that say how many heads there are, how large, and what becomes of queries and keys."""
        self.num_heads = arguments.positive_int("num_heads", num_heads)
        self.key_dim = arguments.positive_int("key_dim", key_dim, optional=True)
        self.num_key_value_heads = arguments.positive_int("num_key_value_heads", num_key_value_heads, optional=True)
        check_head_groups(self.num_heads, self.num_key_value_heads)
        self.scale = arguments.positive_float("scale", scale, optional=True)
        self.query_norm = slot_arguments.slot("query_norm", query_norm)
        self.key_norm = slot_arguments.slot("key_norm", key_norm)
        if self.query_norm is not None and self.query_norm is self.key_norm:
            raise ValueError(
                "`key_norm` must be another layer than `query_norm`, as a copy of the attention has two. Received: "
                f"{self.key_norm.name} in both slots."
            )

    def _set_projections(
        self, use_bias, use_output_bias, kernel_initializer, bias_initializer, dropout, query_initializer
    ):
        """Keeps the arguments of the projections, which are made when the layer is built, and makes the dropout."""
        self.use_bias = arguments.flag("use_bias", use_bias)
        self.use_output_bias = arguments.flag("use_output_bias", use_output_bias, optional=True)
        self.kernel_initializer = config.initializer("kernel_initializer", kernel_initializer)
        self.bias_initializer = config.initializer("bias_initializer", bias_initializer)
        self.query_initializer = config.initializer("query_initializer", query_initializer, optional=True)
        self.dropout = arguments.rate("dropout", dropout)
        self.query = self.key = self.value = self.attention_output = None
        self.attention_dropout = Dropout(self.dropout, name="attention_dropout", dtype=self.dtype_policy)

    def _build_projections(self, inputs_shape, context_shape):
        """Builds all parts for inputs (B, T, D) and a context (B, S, C), and returns the symbols of queries (B, T, N, H)."""
        hidden_dim = inputs_shape[-1]
        head_dim = head_size(self.num_heads, self.key_dim, hidden_dim)
        self.hidden_dim, self.context_dim, self.head_dim = hidden_dim, context_shape[-1], head_dim
        use_output_bias = self.use_bias if self.use_output_bias is None else self.use_output_bias
        shared = (self.kernel_initializer, self.bias_initializer, self.dtype_policy)
        if self.query is None:
            of_queries = (self.query_initializer or self.kernel_initializer, *shared[1:])
            self.query = into_heads(self.num_heads, head_dim, "query", self.use_bias, *of_queries)
            self.key = into_heads(self.num_key_heads, head_dim, "key", self.use_bias, *shared)
            self.value = into_heads(self.num_key_heads, head_dim, "value", self.use_bias, *shared)
            self.attention_output = out_of_heads(hidden_dim, "attention_output", use_output_bias, *shared)
        sublayers.build_once(self.query, inputs_shape)
        sublayers.build_once(self.key, context_shape)
        sublayers.build_once(self.value, context_shape)
        sublayers.build_once(self.attention_output, (*inputs_shape[:2], self.num_heads, head_dim))
        query = keras.KerasTensor((*inputs_shape[:2], self.num_heads, head_dim), self.compute_dtype)
        slots.build(self.query_norm, query)
        slots.build(
            self.key_norm, keras.KerasTensor((*context_shape[:2], self.num_key_heads, head_dim), self.compute_dtype)
        )
        return query

    @property
    def num_key_heads(self):
        """How many heads the keys and the values have, M."""
        return self.num_key_value_heads or self.num_heads

    def _queries(self, inputs):
        return self._normalize("query_norm", self._project(self.query, inputs))  # (B, T, N, H)

    def _keys(self, context):
        return self._normalize("key_norm", self._project(self.key, context))  # (B, S, M, H)

    def _project(self, projection, inputs):
        return ops.cast(projection(inputs), self.compute_dtype)

    def _normalize(self, slot, heads):
        norm = getattr(self, slot)
        if norm is None:
            return heads
        outputs = norm(heads)
        input_checks.check_branch(heads, outputs, slot)
        return ops.cast(outputs, self.compute_dtype)


def attends_in_steps(layer):
    """Returns whether an attention, to earlier tokens or to a context, is known to work in steps.

    A class in the slots of positions says by `goes_by_positions` in its body that all else is the same to it.
    """
    slots = [getattr(layer, name, None) for name in ("rotary", "position_bias")]
    norms = [layer.query_norm, layer.key_norm]  # of heads (B, T, N, H)
    others = [part for part in graph.direct_parts(layer) if all(part is not each for each in (*slots, *norms))]
    return (
        getattr(layer, "causal", True)
        and all(slot is None or vars(type(slot)).get("goes_by_positions", False) for slot in slots)
        and all(norm is None or stepwise.normalizes(norm, -1, -2) for norm in norms)
        and all(map(stepwise.is_stepwise, others))
    )


def check_position_embedding(name, embedding, inputs):
    """Raises `ValueError` unless the embedding is `None`, or floats that can be added to inputs (..., T, D)."""
    if embedding is not None:
        input_checks.check_float(name, embedding)
        masks.check_shape(name, embedding, tuple(inputs.shape[-2:]), tuple(inputs.shape))


def add_position_embedding(inputs, embedding, mask):
    """Returns what queries or keys are made of, zeros at positions that are not real; inputs that are zero there already."""
    return inputs if embedding is None else padding.zero_masked(inputs + embedding, mask)


class MatrixInitializer(keras.initializers.Initializer):
    """Draws a kernel of several axes as the (inputs x outputs) matrix that it is.

    Keras takes a kernel of shape (D, N, H) for that of a convolution, and starts a projection into heads with values
    that are too small by the square root of the number of heads.
    """

    def __init__(self, initializer, input_axes):
        self.initializer = keras.initializers.get(initializer)
        self.input_axes = input_axes

    def __call__(self, shape, dtype=None):
        matrix = (math.prod(shape[: self.input_axes]), math.prod(shape[self.input_axes :]))
        return keras.ops.reshape(self.initializer(matrix, dtype=dtype), shape)

    def get_config(self):
        return {
            "initializer": keras.initializers.serialize(self.initializer),
            "input_axes": self.input_axes,
        }


def into_heads(num_heads, key_dim, name, use_bias, kernel_initializer, bias_initializer, dtype):
    """Returns the layer (B, T, D) -> (B, T, N, H)."""
    return EinsumDense(
        "btd,dhk->bthk",
        output_shape=(None, num_heads, key_dim),
        bias_axes="hk" if use_bias else None,
        kernel_initializer=MatrixInitializer(sublayers.fresh_initializer(kernel_initializer), 1),
        bias_initializer=sublayers.fresh_initializer(bias_initializer),
        name=name,
        dtype=dtype,
    )


def out_of_heads(hidden_dim, name, use_bias, kernel_initializer, bias_initializer, dtype):
    """Returns the layer (B, T, N, H) -> (B, T, D)."""
    return EinsumDense(
        "bthk,hkd->btd",
        output_shape=(None, hidden_dim),
        bias_axes="d" if use_bias else None,
        kernel_initializer=MatrixInitializer(sublayers.fresh_initializer(kernel_initializer), 2),
        bias_initializer=sublayers.fresh_initializer(bias_initializer),
        name=name,
        dtype=dtype,
    )


def head_size(num_heads, key_dim, hidden_dim):
    """Returns H: `key_dim`, or the hidden size over the heads; raises `ValueError` if they do not divide it."""
    if key_dim is not None:
        return key_dim
    if hidden_dim % num_heads:
        raise ValueError(
            f"`num_heads` must divide the hidden size. Received: num_heads={num_heads}, hidden size {hidden_dim}."
        )
    return hidden_dim // num_heads


def check_head_groups(num_heads, num_key_value_heads):
    """Raises `ValueError` unless the query heads can share the key heads evenly."""
    if num_key_value_heads is not None and num_heads % num_key_value_heads:
        raise ValueError(
            f"`num_key_value_heads` must divide `num_heads`. Received: num_key_value_heads={num_key_value_heads}, "
            f"num_heads={num_heads}."
        )
