"""The loss of predicting tokens: label smoothing and a padding id, neither of which Keras' sparse crossentropy has whole."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_tx")
class TokenCrossentropy(keras.losses.Loss):
    """Crossentropy between logits and token ids, with smoothed labels, and with padding left out.

    loss = -sum_v q_v log p_v with q = (1 - e) onehot(y) + e / V, averaged over the tokens that are not padding. No one-hot
    labels are made.

    Args:
        label_smoothing: float in [0, 1), e: the share of probability that is spread over the whole vocabulary.
        padding_id: int, the label that is padding and has weight 0, or `None` if all are tokens.
        reduction: as in `keras.losses.Loss`; the mean over the weights is that over the tokens.
        name: str.
        dtype: of the computation.

    Raises:
        ValueError: for arguments out of range, and logits that are not one axis longer than the labels.

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
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        if (
            isinstance(label_smoothing, bool)
            or not isinstance(label_smoothing, (int, float))
            or not 0 <= label_smoothing < 1
        ):
            raise ValueError(
                f"`label_smoothing` must be a number in [0, 1). Received: label_smoothing={label_smoothing!r}."
            )
        if padding_id is not None and (isinstance(padding_id, bool) or not isinstance(padding_id, int)):
            raise ValueError(f"`padding_id` must be an integer or None. Received: padding_id={padding_id!r}.")
        self.label_smoothing, self.padding_id = float(label_smoothing), padding_id

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Returns the loss, a scalar unless there is no reduction.

        Args:
            y_true: integer tensor (B, T).
            y_pred: float tensor (B, T, V), logits.
            sample_weight: float tensor that broadcasts from (B,) or (B, T), or `None`.
        """
        y_true = ops.convert_to_tensor(y_true)
        if len(y_pred.shape) != len(y_true.shape) + 1:
            raise ValueError(
                "`y_pred` must have one axis more than `y_true`, that of the vocabulary. Received: y_pred of shape "
                f"{tuple(y_pred.shape)}, y_true of shape {tuple(y_true.shape)}."
            )
        if self.padding_id is not None:
            real = ops.cast(ops.not_equal(y_true, self.padding_id), self.dtype)
            if sample_weight is not None:
                sample_weight = ops.cast(sample_weight, self.dtype)
                while len(sample_weight.shape) < len(real.shape):
                    sample_weight = sample_weight[..., None]
                real = real * sample_weight
            sample_weight = real
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true, y_pred):
        labels = ops.cast(y_true, "int32")[..., None]
        chosen = ops.take_along_axis(y_pred, labels, axis=-1)[..., 0]
        target = (1.0 - self.label_smoothing) * chosen
        if self.label_smoothing:
            target = target + self.label_smoothing * ops.mean(y_pred, axis=-1)
        return ops.logsumexp(y_pred, axis=-1) - target

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing, "padding_id": self.padding_id}
