"""The loss of predicting distributions, from logits."""

import keras
from keras import ops

from ..ops import sizes
from ..ops.concrete import concrete


@keras.saving.register_keras_serializable(package="keras_tx")
class LogitsKLDivergence(keras.losses.Loss):
    """How far predicted distributions, given as logits, are from others: those of a detector for masked regions, or of a teacher.

    loss = sum_c q_c (log q_c - log softmax(z)_c), where 0 log 0 is 0, whatever the logit. It is computed in float32 or wider.

    Args:
        reduction: as in `keras.losses.Loss`; by the mean over the weights, positions of weight 0 are left out.
        name: str.
        dtype: of the computation, which runs in float32 where this is narrower.

    Raises:
        ValueError: for logits of another shape than the distributions, and, where values are known, negative probabilities.
            Inside a compiled function, where nothing can be raised, the loss is NaN for these.

    Example:

    ```python
    loss = keras_tx.losses.LogitsKLDivergence()
    value = loss(np.array([[[0.5, 0.5, 0.0]]]), np.zeros((1, 1, 3), "float32"))  # log(3) - log(2)
    ```

    Reference:
        Kullback and Leibler 1951; Lu et al. 2019, "ViLBERT", section 2.2, for masked regions.
    """

    def __init__(self, reduction="mean_with_sample_weight", name="logits_kl_divergence", dtype=None):
        policy = keras.dtype_policies.get(dtype or keras.config.floatx())
        wide = keras.backend.result_type(policy.compute_dtype, "float32")
        super().__init__(name=name, reduction=reduction, dtype=wide)

    def call(self, y_true, y_pred):
        if len(y_pred.shape) != len(y_true.shape) or any(map(sizes.differ, y_true.shape, y_pred.shape)):
            raise ValueError(
                "`y_pred` must hold a logit for each probability of `y_true`. Received: y_pred of shape "
                f"{tuple(y_pred.shape)}, y_true of shape {tuple(y_true.shape)}."
            )
        values = concrete(y_true)
        if values is not None and not (values >= 0).all():
            raise ValueError(f"`y_true` must hold probabilities. Received: {values[~(values >= 0)][0]} in y_true.")
        possible = y_true > 0
        # A class that a logit of -infinity rules out counts where it has a probability alone.
        shares = ops.where(possible, ops.log_softmax(y_pred, axis=-1), 0.0)
        divergence = y_true * (ops.log(ops.where(possible, y_true, 1.0)) - shares)
        return ops.sum(ops.where(y_true >= 0, divergence, float("nan")), axis=-1)
