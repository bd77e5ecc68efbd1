"""Weights of places laid over the images that they are of."""

import math

import numpy as np

from . import canvas


def plot_overlay(images, weights, titles=None, title=None, path=None):
    """Draws each image, and beside it the image under a heat map of how much each of its places weighs.

    Each map has a scale of its own, from zero to its largest weight.

    Args:
        images: array (B, Y, X, C) of 1 or 3 channels, or (B, Y, X): integers 0 to 255, or floats, taken for 0 to 255 if any
            is above 1 and for 0 to 1 else.
        weights: float array (B, rows, columns), none below zero, such as a row of `attention_rollout` on the grid of its patches.
        titles: B strings, one over each image, or `None`.
        title: str over the whole picture, or `None`.
        path: file to write, PNG by its ending, or `None`.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: if images or weights have another rank or are not equally many, there are no images, or a weight is
            negative or no number.
        ImportError: if matplotlib is missing, with the command that installs it.

    Example:

    ```python
    images, weights = np.zeros((2, 28, 28, 1)), np.full((2, 7, 7), 1 / 49)
    figure = keras_tx.analysis.plots.plot_overlay(images, weights, titles=["zero", "six"])
    ```
    """
    images, weights = np.asarray(images), np.asarray(weights, dtype="float32")
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or weights.ndim != 3 or not len(images) == len(weights) > 0:
        raise ValueError(
            "`images` must have shape (B, Y, X, 1 or 3) or (B, Y, X), and `weights` (B, rows, columns). Received: images of "
            f"shape {images.shape}, weights of shape {weights.shape}."
        )
    if weights.size == 0 or not np.all(np.isfinite(weights) & (weights >= 0)):
        raise ValueError(
            "`weights` must have at least one place, and be finite and not negative, for a scale from zero. Received: "
            f"weights of shape {weights.shape} from {weights.min(initial=np.inf)} to {weights.max(initial=-np.inf)}."
        )
    titles = [""] * len(images) if titles is None else list(titles)
    if len(titles) != len(images):
        raise ValueError(f"`titles` must be one for each image. Received: {len(titles)} for {len(images)} images.")

    height, width = images.shape[1:3]
    columns = min(len(images), 3)
    rows = math.ceil(len(images) / columns)
    figure = canvas.new_figure(3.6 * columns, (1.8 * height / width + 0.4) * rows + 0.3)
    panels = figure.subplots(rows, 2 * columns, squeeze=False).flat
    for panel in panels:
        panel.set_axis_off()
    for index, (image, weight, text) in enumerate(zip(_shades(images), weights, titles, strict=True)):
        plain, covered = panels[2 * index], panels[2 * index + 1]
        for panel in (plain, covered):
            panel.imshow(image, cmap="gray", vmin=0.0, vmax=1.0)
        place = (-0.5, width - 0.5, height - 0.5, -0.5)  # of the image's pixels, whose centres have whole numbers
        most = float(weight.max()) or 1.0
        covered.imshow(weight, cmap="inferno", alpha=0.6, extent=place, interpolation="bilinear", vmin=0.0, vmax=most)
        plain.set_title(text, fontsize=9)
    return canvas.finish(figure, title, path)


def _shades(images):
    """0 to 1, (B, Y, X) or (B, Y, X, 3)."""
    scale = 255.0 if images.dtype.kind in "iu" or images.max() > 1.0 else 1.0
    images = np.clip(images.astype("float32") / scale, 0.0, 1.0)
    return images[..., 0] if images.shape[-1] == 1 else images
