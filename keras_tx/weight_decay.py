"""Which weights an optimizer's weight decay leaves out."""

import keras

from . import arguments

# What no matrix is called: biases of heads have two axes (N, H), and so has the gain of a norm over all heads.
_NO_MATRIX = ("bias", "beta", "gamma", "scale")


def decay_matrices_only(optimizer, model, embeddings=True) -> keras.optimizers.Optimizer:
    """Lets an optimizer's weight decay leave out biases and the gains and offsets of norms, whatever their shape.

    Decayed are the weights of two axes or more: kernels, and tables of embeddings and positions, as nanoGPT does it. The weights
    are told by what they are, and not by their paths, which differ from model to model.

    Keras saves no exclusion: after `load_model`, compile the model anew with an optimizer that was made so. `Backup` goes on
    with the optimizer of the `fit` that it is given.

    Args:
        optimizer: `keras.optimizers.Optimizer` that has not been built: before the first `fit`.
        model: built `keras.Model`.
        embeddings: bool, whether tables of embeddings and positions decay.

    Returns:
        The optimizer.

    Raises:
        ValueError: for an optimizer that has no weight decay, or has been built; for a model that has not.

    Example:

    ```python
    model = keras_tx.applications.GPT(50, 16, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
    optimizer = keras.optimizers.AdamW(6e-4, weight_decay=0.1, beta_2=0.95, clipnorm=1.0)
    model.compile(keras_tx.weight_decay.decay_matrices_only(optimizer, model), "sparse_categorical_crossentropy")
    ```

    Reference:
        Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization"; Karpathy, nanoGPT, `configure_optimizers`.
    """
    arguments.flag("embeddings", embeddings)
    if not isinstance(optimizer, keras.optimizers.Optimizer) or not isinstance(model, keras.Model) or not model.built:
        raise ValueError(
            "`optimizer` must be a keras.optimizers.Optimizer, and `model` a built keras.Model. Received: "
            f"optimizer={optimizer!r}, model={model!r}."
        )
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # that of a LossScaleOptimizer
    if not inner.weight_decay:
        raise ValueError(f"`optimizer` must have a `weight_decay`. Received: weight_decay={inner.weight_decay}.")
    if inner.built:
        raise ValueError(
            "`optimizer` must not have been built, which its first step does. Received: an optimizer with "
            f"{len(inner.variables)} variables."
        )
    left_out = [weight for weight in model.trainable_variables if not _is_matrix(weight, embeddings)]
    inner.exclude_from_weight_decay(var_list=left_out)
    return optimizer


def _is_matrix(weight, embeddings):
    name = weight.path.rpartition("/")[2]
    is_table = "embedding" in name
    return len(weight.shape) > 1 and not any(part in name for part in _NO_MATRIX) and (embeddings or not is_table)
