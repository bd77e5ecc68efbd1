"""How far over the image each head looks."""

import numpy as np

from . import attention_trace


def attention_distances(model, images) -> dict[str, np.ndarray]:
    """Returns the mean distance, in pixels, between a patch and what each head attends to from it.

    d = mean over queries t of sum over keys s of A[t, s] |x_t - x_s|, with x the centres of the patches. Small distances mean
    that a head works as a convolution does. Class and distillation tokens, which lie nowhere, are left out, and the weights
    of the rest made to sum to 1; a query that has none of it left, such as padding, does not count.

    Args:
        model: functional `keras.Model` or built `keras.Sequential` of images (B, Y, X, C). `PatchEmbedding` must make its
            positions, and `PatchMerging` alone may merge them; or any layers that tell of it by `position_stride`. No layer
            may give images another size before, as pooling does; their pixels would be others. Operations of `keras.ops`
            between layers are not seen, and must leave positions where they are.
        images: tensor or array (B, Y, X, C).

    Returns:
        Dict from layer name to float32 array (B, N), in the order of the layers; nan where no query counts.

    Raises:
        ValueError: if the model is a subclassed one, has no attention, attends in branches or to another sequence than its
            own, or to positions that are on no grid, or that a layer moved which does not tell of it (Permute, or pooling before
            there are patches).

    Example:

    ```python
    images = keras.Input((32, 48, 3))
    x = keras_tx.layers.PatchEmbedding(8, 16)(images)
    x = keras_tx.layers.ClassToken()(x)
    model = keras.Model(images, keras_tx.layers.TransformerEncoder(32, 2, name="block")(x))
    pixels = keras.random.uniform((1, 32, 48, 3))
    distances = keras_tx.analysis.attention_distances(model, pixels)  # {"block": (1, 2)}
    ```

    Reference:
        Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", figure 7 (right) and section D.7.
    """
    attention_trace.check_chain(model)
    found, between = {}, {}

    def attend(path, scores, grid, moved):
        if moved is not None:
            raise ValueError(
                "`model` must not move positions, or resize images, before it attends, but by layers with `position_stride`. "
                f"Received: {path}, after {moved} did."
            )
        if grid is None or scores.shape[-1] != grid.num_tokens + grid.rows * grid.columns:
            raise ValueError(
                "`model` must attend to patches on a grid, as PatchEmbedding makes them. Received: "
                f"{path}, which attends to {scores.shape[-1]} positions, "
                + ("and no layer with `position_stride` before it." if grid is None else f"on {grid}.")
            )
        if grid not in between:
            between[grid] = _distances(grid)
        weights = scores[0, :, grid.num_tokens :, grid.num_tokens :].astype("float32")
        found.setdefault(path, []).append(mean_distance(weights, between[grid]))

    for example in attention_trace.examples(images):
        attention_trace.trace(model, example, attend)
    return {path: np.stack(rows) for path, rows in found.items()}


def mean_distance(weights, distances):
    """Returns the mean over queries of a layer's heads: (N,), of weights (N, P, P) that may sum to less than 1."""
    total = weights.sum(axis=-1)
    counts = total > 0
    each = np.einsum("nts,ts->nt", weights, distances) / np.where(counts, total, 1.0)
    number = counts.sum(axis=-1)
    return np.where(number > 0, each.sum(axis=-1) / np.maximum(number, 1), np.nan).astype("float32")


def _distances(grid):
    """(P, P), in pixels."""
    row, column = (
        step * np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
        for size, step in zip((grid.rows, grid.columns), grid.stride, strict=True)
    )
    distances = np.hypot(row[:, None, :, None], column[None, :, None, :])
    return distances.reshape(grid.rows * grid.columns, -1).astype("float32")
