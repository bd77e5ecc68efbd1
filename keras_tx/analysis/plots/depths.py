"""What becomes of a quantity by the depth of the layers."""

from . import canvas, given


def plot_by_depth(curves, label="cosine", title=None, path=None):
    """Draws a line for each quantity, over the layers of a model.

    Args:
        curves: dict from the name of a line to a dict from layer name to float, as `Similarity.between` returns it. All
            lines have the same layers.
        label: str beside the axis of the quantity.
        title: str over the picture, or `None`.
        path: file to write, PNG by its ending, or `None`.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there are no lines, or two have other layers.
        ImportError: if matplotlib is missing, with the command that installs it.

    Example:

    ```python
    curves = {"bank - bank": {"embedding": 1.0, "encoder_0": 0.8}, "bank - shore": {"embedding": 0.1, "encoder_0": 0.3}}
    figure = keras_tx.analysis.plots.plot_by_depth(curves)
    ```
    """
    what = "from the name of each line to a dict from layer name to a number"
    for curve in given.by_name("curves", curves, what).values():
        given.by_name("curves", curve, what)
    layers = [list(curve) for curve in curves.values()]
    if not layers or not layers[0] or any(names != layers[0] for names in layers):
        raise ValueError(f"`curves` must hold lines over the same layers, one at least. Received: lines over {layers}.")
    names = layers[0]
    figure = canvas.new_figure(max(5.0, 2.0 + 0.5 * len(names)) + 2.0, 3.4 + 0.06 * max(map(len, names)))
    panel = figure.subplots()
    for name, curve in curves.items():
        panel.plot(range(len(names)), list(curve.values()), marker="o", markersize=4, label=name)
    panel.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    panel.set_xlabel("layer, by depth", fontsize=9)
    panel.set_ylabel(label, fontsize=9)
    figure.legend(loc="outside right upper", fontsize=8)  # beside the lines, which may be anywhere
    panel.grid(alpha=0.3)
    return canvas.finish(figure, title, path)
