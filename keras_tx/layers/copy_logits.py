"""Logits that a decoder's own share with the tokens of the source, which it may copy."""

import keras
from keras import ops

from .. import arguments
from ..ops import padding, sizes, token_ids
from . import config, input_checks, sublayers
from .composite import Composite
from .dense import Dense

_LEAST = 1e-20  # of a probability whose logarithm is taken
_NEVER = -1e9  # the score of a token that is not copied


@keras.saving.register_keras_serializable(package="keras_tx")
class CopyLogits(Composite, keras.layers.Layer):
    """Lets a decoder copy tokens of its source: a number or a name that the vocabulary's logits never learned to write.

    p(v) = (1 - g) softmax(logits)_v + g sum_{s: ids_s = v} a_s, with a = softmax(C W x / sqrt(C)) over the source and
    g = sigmoid(w x + b). The outputs are logits of p: the given ones, and for the tokens that stand in the source
    log(exp(logits) + (sum exp(logits)) a g / (1 - g)), which is finite for a logit of -inf too. They are computed in float32.

    Args:
        padding_id: int, the token of the source that is padding and is not copied, or `None`.
        kernel_initializer: of W and w.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor x (B, T, D), from which the logits were made.
        logits: float tensor (B, T, V).
        context: float tensor C (B, S, C), the encoded source.
        context_ids: integer tensor (B, S), its tokens, in the vocabulary of the logits. Whole numbers in floats are cast.

    Returns:
        Logits (B, T, V). Where a source has no token that may be copied they are the given ones.

    Raises:
        ValueError: for arguments out of range, tensors of other ranks, widths, lengths or batch sizes, and, where values are
            known, ids outside the vocabulary; in a compiled function those are not copied.

    Example:

    ```python
    x, context = keras.random.normal((1, 3, 8)), keras.random.normal((1, 2, 8))
    logits, ids = keras.random.normal((1, 3, 50)), keras.ops.array([[7, 9]], dtype="int32")
    logits = keras_tx.layers.CopyLogits(padding_id=0)(x, logits, context, ids)  # (1, 3, 50)
    ```

    Reference:
        See et al. 2017, "Get To The Point: Summarization with Pointer-Generator Networks", section 2.2.
    """

    is_stepwise = True
    gives_logits = True

    def __init__(self, padding_id=None, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.padding_id = arguments.integer("padding_id", padding_id, optional=True)
        self.kernel_initializer = config.initializer("kernel_initializer", kernel_initializer)
        self.supports_masking = True
        self.autocast = False  # ids must reach the check as they came
        self.query = self.gate = None

    def build(self, inputs_shape, logits_shape=None, context_shape=None, context_ids_shape=None):
        self.hidden_dim = input_checks.hidden_size("inputs", inputs_shape, rank=3)
        self.vocabulary_size = input_checks.hidden_size("logits", logits_shape, rank=3)
        self.context_dim = input_checks.hidden_size("context", context_shape, rank=3)
        if self.query is None:
            self.query, self.gate = self._dense(self.context_dim, "query", False), self._dense(1, "gate", True)
        for part in (self.query, self.gate):
            sublayers.build_once(part, (inputs_shape[0], None, self.hidden_dim))

    def _dense(self, units, name, use_bias):
        initializer = sublayers.fresh_initializer(self.kernel_initializer)
        return Dense(
            units, use_bias=use_bias, kernel_initializer=initializer, name=name, dtype=self.dtype_policy
        )  # fmt: skip

    def call(self, inputs, logits, context, context_ids):
        ids = self._check(inputs, logits, context, context_ids)
        real = ops.logical_and(ids >= 0, ids < self.vocabulary_size)  # (B, S)
        if self.padding_id is not None:
            real = ops.logical_and(real, ops.not_equal(ids, self.padding_id))
        ids, wide = ops.where(real, ids, ops.zeros_like(ids)), keras.backend.result_type(self.compute_dtype, "float32")
        inputs, context = (ops.cast(each, self.compute_dtype) for each in (inputs, context))
        logits = ops.cast(logits, wide)
        weights = self._weights(inputs, context, real, wide)  # (B, T, S)
        same = ops.logical_and(ops.equal(ids[:, :, None], ids[:, None, :]), real[:, :, None])
        same = ops.cast(ops.logical_and(same, real[:, None, :]), wide)  # (B, S, S)
        copied = ops.matmul(weights, same)  # what a token has at all its places together

        shape = ops.shape(copied)
        chosen = ops.take_along_axis(logits, ops.broadcast_to(ids[:, None, :], shape), axis=-1)
        odds = ops.cast(self.gate(inputs), wide)  # log(g / (1 - g)), (B, T, 1)
        # Set, and not added to what stands there, which may be -inf, or so far below 0 that nothing is left of the sum's digits.
        mixed = ops.logaddexp(chosen, ops.logsumexp(logits, axis=-1, keepdims=True) + odds + ops.log(copied + _LEAST))
        mixed = mixed / ops.maximum(ops.sum(same, axis=-1), 1.0)[:, None, :]  # each place gives its part
        mixed = ops.where(real[:, None, :], mixed, ops.zeros((), dtype=wide))
        stands = self._at_tokens(ops.cast(real, wide)[:, None, :], ids) > 0  # (B, 1, V)
        return ops.cast(ops.where(stands, self._at_tokens(mixed, ids), logits), self.compute_dtype)

    def _weights(self, inputs, context, real, wide):
        """The attention over the source, one head, zero where nothing is to be copied."""
        context = padding.zero_masked(context, real)
        query = ops.cast(self.query(inputs), self.compute_dtype)
        scores = ops.cast(ops.matmul(query, ops.transpose(context, (0, 2, 1))), wide) / self.context_dim**0.5
        scores = ops.where(real[:, None, :], scores, ops.cast(_NEVER, wide))
        top = ops.max(scores, axis=-1, keepdims=True, initial=_NEVER)  # of no tokens too
        powers = ops.where(real[:, None, :], ops.exp(scores - top), ops.zeros((), dtype=wide))
        return powers / ops.maximum(ops.sum(powers, axis=-1, keepdims=True), _LEAST)

    def _at_tokens(self, parts, ids):
        """Adds what each place gives (B, T, S) up at its token: (B, T, V). Places are rows, as V T B may not fit 32 bits."""
        batch, length, places = ops.shape(parts)
        if sizes.known(batch) == 0:  # for which Keras would look for the largest id on torch
            return ops.zeros((batch, length, self.vocabulary_size), dtype=parts.dtype)
        rows = ops.reshape(ops.transpose(parts, (0, 2, 1)), (batch * places, length))
        first = ops.arange(batch, dtype=ids.dtype)[:, None] * self.vocabulary_size
        at = ops.reshape(first + ids, (-1,))
        added = ops.segment_sum(rows, at, num_segments=batch * self.vocabulary_size)  # (B V, T)
        return ops.transpose(ops.reshape(added, (batch, self.vocabulary_size, length)), (0, 2, 1))

    def _check(self, inputs, logits, context, context_ids):
        """Returns the ids as integers."""
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, rank=3)
        input_checks.check_inputs("logits", logits, self.vocabulary_size, rank=3)
        input_checks.check_inputs("context", context, self.context_dim, rank=3)
        ids = token_ids.check("context_ids", context_ids, self.vocabulary_size, rank=2)
        for name, tensor, other_name, other, kept in (
            ("logits", logits, "inputs", inputs, 1),
            ("context_ids", ids, "context", context, 0),
        ):
            shape, expected = tuple(tensor.shape), tuple(other.shape[:2])
            if any(map(sizes.differ, shape[:2], expected)):
                raise ValueError(
                    f"`{name}` must have a {'row' if kept else 'token'} for each position of `{other_name}`. Received: {name} of "
                    f"shape {shape}, {other_name} of shape {tuple(other.shape)}."
                )
        input_checks.check_same_batch("context", context, "inputs", inputs)
        return ids

    def compute_mask(self, inputs, previous_mask):
        return previous_mask

    def compute_output_shape(self, inputs_shape, logits_shape, context_shape=None, context_ids_shape=None):
        return tuple(logits_shape)

    def compute_output_spec(self, inputs, logits, context, context_ids):
        self._check(inputs, logits, context, context_ids)
        return keras.KerasTensor(tuple(logits.shape), dtype=self.compute_dtype)

    def get_config(self):
        return config.of(CopyLogits, self, super().get_config())
