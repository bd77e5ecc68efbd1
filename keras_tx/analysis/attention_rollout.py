"""Attention followed through all layers of a model."""

import numpy as np

from . import attention_trace


def attention_rollout(model, inputs):
    """Returns how much of each position of the first attention layer arrives at each position of the last.

    A~ = (mean over heads of A + I) / 2 for each layer, the identity standing for its residual connection, with rows made to
    sum to 1; the product A~_L ... A~_1. Where positions are merged (`PatchMerging`), the new one is the mean of the old.

    A position without keys, such as padding, keeps what it has: its row of A~ is the identity's.

    Args:
        model: functional `keras.Model` or built `keras.Sequential`, in which every layer that attends depends on the one
            before. Any layer that takes `return_attention_scores` counts.
        inputs: a tensor or array, or several in the structure of the model's inputs.

    Returns:
        Float32 array (B, T_last, T_first) whose rows sum to 1. With a class token, row 0 is the token's, and its columns from
        1 on are the patches in row-major order.

    Raises:
        ValueError: if the model is a subclassed one, has no attention, attends in branches or to another sequence than its
            own, or changes the count of its positions between two layers that attend in a way that no layer tells of, or
            their order by a Permute, or mixes them otherwise in between, as `FourierMixing` does. Operations of `keras.ops`
            between layers are not seen, and must keep the order.

    Example:

    ```python
    inputs = keras.Input((7, 8))
    x = keras_tx.layers.TransformerEncoder(16, 2)(inputs)
    model = keras.Model(inputs, keras_tx.layers.TransformerEncoder(16, 2)(x))
    rollout = keras_tx.analysis.attention_rollout(model, keras.random.normal((1, 7, 8)))  # (1, 7, 7)
    ```

    Reference:
        Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3.
    """
    attention_trace.check_chain(model)
    attention_trace.check_unmixed(model)
    return np.stack([_rollout(model, example) for example in attention_trace.examples(inputs)])


def _rollout(model, example):
    """(T_last, T_first), of one example."""
    total = None

    def join(path, weights):
        nonlocal total
        total = np.eye(weights.shape[1], dtype="float32") if total is None else total
        if len(total) != weights.shape[1]:
            raise ValueError(
                "The positions that a layer attends to must be those of the layer before, unless a layer with `position_stride` "
                f"merged them. Received: {path} on {weights.shape[1]} positions after {len(total)}."
            )
        total = weights @ total

    def attend(path, scores, grid, moved):
        if moved is not None and total is not None:
            raise ValueError(
                "The positions that a layer attends to must stand in the order of the layer before. Received: "
                f"{path}, after {moved} moved them."
            )
        mean = scores[0].astype("float32").mean(axis=0)
        mean += np.eye(len(mean), dtype="float32")
        join(path, mean / mean.sum(axis=1, keepdims=True))

    attention_trace.trace(model, example, attend, lambda path, weights: join(path, weights[0]))
    return total
