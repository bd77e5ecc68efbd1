"""The loss of telling replaced tokens from original ones, over all real tokens."""

import keras
from keras import ops

from .. import arguments
from . import token_weights


@keras.saving.register_keras_serializable(package="keras_tx")
class ReplacedTokenCrossentropy(keras.losses.Loss):
    """Binary crossentropy between what `electra_pretrainer` says of each token and whether it was replaced, padding left out.

    loss = log(1 + e^s) - r s, with s the logit and r 1 for a replaced token, averaged over the tokens that are not padding.
    The `class_weight` of `fit` is not for tokens: Keras would give each row the weight of the place of its largest id. Rows and
    tokens have weights by `sample_weight`.

    Args:
        padding_id: int, the token id that is padding.
        reduction: as in `keras.losses.Loss`; the mean over the weights is that over the tokens.
        name: str.
        dtype: of the computation; that of narrower floats is float32.

    Raises:
        ValueError: for outputs that are not a pair for each token, weights that are not one for each row or token, and, where
            values are known, ids that are no whole numbers.

    Example:

    ```python
    loss = keras_tx.losses.ReplacedTokenCrossentropy()
    outputs = np.array([[[0.0, 1.0], [0.0, 0.0], [9.0, 0.0]]])  # a logit and a label each
    value = loss(np.array([[5, 7, 0]]), outputs)  # log(2): the last is padding
    ```

    Reference:
        Clark et al. 2020, "ELECTRA", section 2, the loss of the discriminator.
    """

    def __init__(
        self, padding_id=0, reduction="mean_with_sample_weight", name="replaced_token_crossentropy", dtype=None
    ):
        policy = keras.dtype_policies.get(dtype or keras.config.floatx())
        super().__init__(
            name=name, reduction=reduction, dtype=keras.backend.result_type(policy.compute_dtype, "float32")
        )
        self.padding_id = arguments.integer("padding_id", padding_id)

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Returns the loss, a scalar unless there is no reduction.

        Args:
            y_true: integer tensor (B, T), the token ids, original or not: they say what is padding.
            y_pred: float tensor (B, T, 2), a logit and a label for each token.
            sample_weight: float tensor (B,) or (B, T), or `None`.
        """
        y_true, y_pred = token_weights.checked(y_true, y_pred, "a logit and a label for each token")
        if y_pred.shape[-1] != 2:
            raise ValueError(
                "`y_pred` must hold a logit and a label for each token of `y_true`. Received: y_pred of shape "
                f"{tuple(y_pred.shape)}, y_true of shape {tuple(y_true.shape)}."
            )
        token_weights.whole_numbers(y_true)
        weights = token_weights.token_weights(y_true, sample_weight, self.padding_id, self.dtype)
        return super().__call__(y_true, y_pred, weights)

    def call(self, y_true, y_pred):
        is_real = ops.not_equal(ops.cast(y_true, "int32"), self.padding_id)
        # NaN at padding reaches nothing.
        scores, labels = (ops.where(is_real, y_pred[..., place], ops.zeros((), y_pred.dtype)) for place in (0, 1))
        return ops.softplus(scores) - ops.stop_gradient(labels) * scores

    def get_config(self):
        return {**super().get_config(), "padding_id": self.padding_id}
