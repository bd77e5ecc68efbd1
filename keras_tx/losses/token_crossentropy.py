"""The loss of predicting tokens: label smoothing and a padding id, neither of which Keras' sparse crossentropy has whole."""

import keras
from keras import ops

from .. import arguments
from . import token_weights


@keras.saving.register_keras_serializable(package="keras_tx")
class TokenCrossentropy(keras.losses.Loss):
    """Crossentropy between logits and token ids, with smoothed labels, and with padding left out.

    loss = -sum_v q_v log p_v with q = (1 - e) onehot(y) + e / V, averaged over the tokens that are not padding. No one-hot
    labels are made. The `class_weight` of `fit` is not for tokens: of labels (B, T) Keras gives each row the weight of the place
    of its largest id. Rows and tokens have weights by `sample_weight`.

    Args:
        label_smoothing: float in [0, 1), e: the share of probability that is spread over the whole vocabulary.
        padding_id: int, the label that is padding and has weight 0, or `None` if all are tokens.
        reduction: as in `keras.losses.Loss`; the mean over the weights is that over the tokens.
        name: str.
        dtype: of the computation, which runs in float32 where this is narrower: Keras casts the labels to it, and a half float
            holds no token id above 256 exactly.

    Raises:
        ValueError: for arguments out of range; logits that are not one axis longer than the labels, or of another shape;
            weights that are not one for each row or token; and, where values are known, which they are not inside a compiled
            function, labels that are no whole numbers, or outside the vocabulary and not `padding_id`.

    Example:

    ```python
    loss = keras_tx.losses.TokenCrossentropy(label_smoothing=0.1, padding_id=0)
    value = loss(np.array([[3, 1, 0]]), np.zeros((1, 3, 5), "float32"))  # log(5)
    ```

    Reference:
        Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7; Vaswani et al. 2017, section 5.4.
    """

    def __init__(
        self,
        label_smoothing=0.0,
        padding_id=None,
        reduction="mean_with_sample_weight",
        name="token_crossentropy",
        dtype=None,
    ):
        policy = keras.dtype_policies.get(dtype or keras.config.floatx())
        wide = keras.backend.result_type(policy.compute_dtype, "float32")
        super().__init__(name=name, reduction=reduction, dtype=wide)
        self.label_smoothing = arguments.rate("label_smoothing", label_smoothing)
        self.padding_id = arguments.integer("padding_id", padding_id, optional=True)

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Returns the loss, a scalar unless there is no reduction.

        Args:
            y_true: integer tensor (B, T).
            y_pred: float tensor (B, T, V), logits.
            sample_weight: float tensor (B,), of rows, or (B, T), of tokens, or `None`.
        """
        y_true, y_pred = token_weights.checked(y_true, y_pred, "the vocabulary")
        _check_labels(y_true, y_pred.shape[-1], self.padding_id)
        sample_weight = token_weights.token_weights(y_true, sample_weight, self.padding_id, self.dtype)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true, y_pred):
        labels = ops.cast(y_true, "int32")[..., None]
        if self.padding_id is not None:
            # What stands at padding, NaN included, reaches neither the loss nor its gradient.
            real = ops.not_equal(labels, self.padding_id)
            labels = ops.where(real, labels, ops.zeros_like(labels))
            y_pred = ops.where(real, y_pred, ops.zeros((), dtype=y_pred.dtype))
        chosen = ops.take_along_axis(y_pred, labels, axis=-1)[..., 0]
        target = (1.0 - self.label_smoothing) * chosen
        if self.label_smoothing:
            target = target + self.label_smoothing * ops.mean(y_pred, axis=-1)
        return ops.logsumexp(y_pred, axis=-1) - target

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing, "padding_id": self.padding_id}


def _check_labels(labels, vocabulary_size, padding_id):
    """Raises `ValueError` unless labels are whole numbers inside the vocabulary, or padding, where values are known."""
    values = token_weights.whole_numbers(labels)
    if values is None:
        return
    values = values[values != padding_id] if padding_id is not None else values
    if values.size and not 0 <= values.min() <= values.max() < vocabulary_size:
        raise ValueError(
            "`y_true` must hold token ids in [0, vocabulary_size), or `padding_id`. Received: labels from "
            f"{values.min()} to {values.max()}, logits of {vocabulary_size} tokens, padding_id={padding_id}."
        )
