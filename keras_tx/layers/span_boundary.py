"""The span-boundary objective of SpanBERT: a masked token represented by what stands around its span."""

import keras
from keras import ops

from .. import arguments
from ..ops import positions as places
from ..ops import token_ids
from . import config, gather_positions, input_checks, sublayers
from .composite import Composite
from .dense import Dense
from .normalization import LayerNormalization


@keras.saving.register_keras_serializable(package="keras_tx")
class SpanBoundary(Composite, keras.layers.Layer):
    """Represents each token of a masked span by the token before the span, the token after it, and its place in it.

    h = norm(act(W_1 [x_{s-1}; x_{e+1}; P_{i-s}])), y = norm(act(W_2 h)). Logits come from `TiedLogits` on top. A
    position or a place out of range is an error wherever values are known; inside a compiled function it gives zeros.

    Args:
        max_span_length: int, how many places a span has at most.
        activation: name or function.
        layer_norm_epsilon: float.
        kernel_initializer: of both kernels and of the table of places.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, T, D).
        left: integer tensor (B, M), the position of the token before the span that each prediction belongs to.
        right: integer tensor (B, M), the position of the token after it.
        offsets: integer tensor (B, M), its place in the span, counted from 0. Whole numbers in floats are cast, in all three.

    Returns:
        A float tensor (B, M, D), which carries no mask.

    Raises:
        ValueError: for sizes that are no positive integers, inputs of another rank or width than built, and positions
            and places that are no whole numbers, out of range, of another rank or of another batch size.

    Example:

    ```python
    x = keras.random.normal((1, 7, 8))
    # The span is 2, 3, 4: one prediction for each of its tokens.
    left, right, offsets = (keras.ops.array([row], dtype="int32") for row in ([1, 1, 1], [5, 5, 5], [0, 1, 2]))
    y = keras_tx.layers.SpanBoundary(max_span_length=10)(x, left, right, offsets)  # (1, 3, 8)
    ```

    Reference:
        Joshi et al. 2020, "SpanBERT: Improving Pre-training by Representing and Predicting Spans", section 3.2.
    """

    def __init__(
        self,
        max_span_length=20,
        activation="gelu",
        layer_norm_epsilon=1e-12,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.max_span_length = arguments.positive_int("max_span_length", max_span_length)
        self.activation = config.activation("activation", activation)
        self.layer_norm_epsilon = arguments.positive_float("layer_norm_epsilon", layer_norm_epsilon)
        self.kernel_initializer = config.initializer("kernel_initializer", kernel_initializer)
        self.supports_masking = True
        self.autocast = False  # positions must reach the check as they came
        self.place_embedding = None
        self.dense_layers = self.norms = ()

    def build(self, inputs_shape, left_shape=None, right_shape=None, offsets_shape=None):
        self.hidden_dim = input_checks.hidden_size("inputs", inputs_shape, rank=3)
        if self.place_embedding is None:
            initializer = sublayers.fresh_initializer(self.kernel_initializer)
            self.place_embedding = keras.layers.Embedding(
                self.max_span_length,
                self.hidden_dim,
                embeddings_initializer=initializer,
                name="place_embedding",
                dtype=self.dtype_policy,
            )
            self.dense_layers = [self._dense(name) for name in ("boundary", "transform")]
            self.norms = [
                LayerNormalization(epsilon=self.layer_norm_epsilon, name=name, dtype=self.dtype_policy)
                for name in ("boundary_norm", "transform_norm")
            ]
        shape = (inputs_shape[0], None, self.hidden_dim)
        sublayers.build_once(self.place_embedding, (inputs_shape[0], None))
        for dense, width in zip(self.dense_layers, (3 * self.hidden_dim, self.hidden_dim), strict=True):
            sublayers.build_once(dense, (*shape[:2], width))
        for norm in self.norms:
            sublayers.build_once(norm, shape)

    def _dense(self, name):
        return Dense(
            self.hidden_dim,
            activation=self.activation,
            kernel_initializer=sublayers.fresh_initializer(self.kernel_initializer),
            name=name,
            dtype=self.dtype_policy,
        )

    def call(self, inputs, left, right, offsets):
        left, right, offsets = self._check(inputs, left, right, offsets)
        inputs = ops.cast(inputs, self.compute_dtype)
        around = [places.gather(inputs, where) for where in (left, right)]  # (B, M, D) each
        place = token_ids.look_up(self.place_embedding, offsets, self.max_span_length)
        x = ops.concatenate([*around, ops.cast(place, self.compute_dtype)], axis=-1)  # (B, M, 3 D)
        for dense, norm in zip(self.dense_layers, self.norms, strict=True):
            x = norm(dense(x))
        return ops.cast(x, self.compute_dtype)

    def _check(self, inputs, left, right, offsets):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, rank=3)
        left, right = gather_positions.check(inputs, left=left, right=right)
        what = {"size_name": "max_span_length", "what": "places"}
        offsets = token_ids.check("offsets", offsets, self.max_span_length, 2, **what)
        input_checks.check_same_batch("offsets", offsets, "inputs", inputs, kept=1)
        return left, right, offsets

    def compute_mask(self, inputs, previous_mask):
        return None

    def compute_output_shape(self, inputs_shape, left_shape, right_shape=None, offsets_shape=None):
        return (inputs_shape[0], left_shape[1], inputs_shape[2])

    def compute_output_spec(self, inputs, left, right, offsets):
        self._check(inputs, left, right, offsets)
        shape = self.compute_output_shape(inputs.shape, left.shape)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self):
        return config.of(SpanBoundary, self, super().get_config())
