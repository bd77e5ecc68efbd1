"""How far heads look, by the depth of their layers."""

import numpy as np

from . import canvas, given


def plot_attention_distances(distances, title=None, path=None, unit="pixels"):
    """Draws one dot a head: its mean attention distance, over the depth of its layer.

    Args:
        distances: dict from layer name to float array (B, N), as `attention_distances` returns it for images and
            `token_distances` for texts. The mean over the images, or texts, is drawn.
        title: str over the picture, or `None`.
        path: file to write, PNG by its ending, or `None`.
        unit: str, what is counted: "pixels" of images, "tokens" of texts.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there are no layers, or an entry has another rank.
        ImportError: if matplotlib is missing, with the command that installs it.

    Example:

    ```python
    distances = {"encoder_0": np.array([[3.0, 9.0]]), "encoder_1": np.array([[8.0, 9.5]])}
    figure = keras_tx.analysis.plots.plot_attention_distances(distances)
    ```
    """
    distances = given.by_name("distances", distances, "from layer name to distances (B, N)")
    distances = {name: np.asarray(rows, dtype="float32") for name, rows in distances.items()}
    if not distances or any(rows.ndim != 2 or not len(rows) for rows in distances.values()):
        raise ValueError(
            "`distances` must hold an array (images or texts, heads) for each of at least one layer. Received: arrays of shapes "
            f"{ {name: rows.shape for name, rows in distances.items()} }."
        )
    # The names stand upright below the axes, and take their height from nothing else.
    figure = canvas.new_figure(max(4.0, 1.5 + 0.35 * len(distances)), 3.2 + 0.075 * max(map(len, distances)))
    panel, farthest = figure.subplots(), 0.0
    for depth, rows in enumerate(distances.values()):
        means = [float(np.mean(row[~np.isnan(row)])) for row in rows.T if not np.isnan(row).all()]
        farthest = max([farthest, *means])
        panel.scatter([depth] * len(means), means, s=22, alpha=0.8, color=f"C{depth % 10}", linewidths=0)
    panel.set_xticks(range(len(distances)), list(distances), rotation=90, fontsize=8)
    panel.set_ylim(0.0, 1.08 * farthest or 1.0)
    panel.set_ylabel(f"mean attention distance ({unit})", fontsize=9)
    panel.set_xlabel("layer, by depth; one dot a head", fontsize=9)
    panel.grid(alpha=0.3)
    return canvas.finish(figure, title, path)
