"""The figures that all plots are drawn on: matplotlib's own, without its global state."""


def new_figure(width, height):
    """Returns an empty `matplotlib.figure.Figure` of so many inches.

    Raises:
        ImportError: if matplotlib is missing, with the command that installs it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Plots need matplotlib: pip install 'keras-tx[plots]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def finish(figure, title, path):
    """Writes the title over the figure, and the figure to a file, where there are any; returns the figure."""
    if title:
        figure.suptitle(title, fontsize=10)
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure
