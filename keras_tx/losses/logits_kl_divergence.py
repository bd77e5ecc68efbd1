"""The loss of predicting distributions, from logits."""

import keras
from keras import ops

from ..ops import sizes
from ..ops.concrete import concrete


@keras.saving.register_keras_serializable(package="keras_tx")
class LogitsKLDivergence(keras.losses.Loss):
    """How far predicted distributions, given as logits, are from others: those of a detector for masked regions, or of a teacher.

    loss = sum_c q_c (log q_c - log softmax(z)_c), where 0 log 0 is 0. It is computed in float32 or wider.

    Args:
        reduction: as in `keras.losses.Loss`; by the mean over the weights, positions of weight 0 are left out.
        name: str.
        dtype: of the computation, which runs in float32 where this is narrower.

    Raises:
        ValueError: for logits of another shape than the distributions, and, where values are known, which they are not inside a
            compiled function, negative probabilities.

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
        if values is not None and values.size and values.min() < 0:
            raise ValueError(f"`y_true` must hold probabilities. Received: {values.min()} in y_true.")
        logs = ops.log(ops.where(y_true > 0, y_true, ops.ones_like(y_true)))
        return ops.sum(y_true * (logs - ops.log_softmax(y_pred, axis=-1)), axis=-1)
