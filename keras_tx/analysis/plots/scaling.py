"""A law of scaling beside the runs that it was fitted to."""

import numpy as np

from . import canvas

CURVES = 6


def plot_scaling_law(law, c0, title, path):
    """Draws three panels: losses along lines of equal compute, the frontier over compute, and residuals over compute.

    Args:
        law: a `ScalingLaw` with points.
        c0: float, FLOP a parameter and token.
        title: str over the picture, or `None`.
        path: file to write, PNG by its ending, or `None`.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ImportError: if matplotlib is missing, with the command that installs it.
    """
    figure = canvas.new_figure(14.0, 4.2)
    parameters, tokens, losses = law.points
    compute = c0 * parameters * tokens
    curves, frontier, residuals = figure.subplots(1, 3)
    _draw_curves(curves, law, c0, compute)
    _draw_frontier(frontier, law, c0, compute, losses)
    _draw_residuals(residuals, law, compute)
    return canvas.finish(figure, title, path)


def _draw_curves(panel, law, c0, compute):
    """The loss over parameters, a curve a budget, and the runs that cost nearly as much."""
    from matplotlib import colormaps

    parameters, tokens, losses = law.points
    budgets = np.geomspace(compute.min(), compute.max(), CURVES)
    colors = colormaps["viridis"](np.linspace(0, 0.9, CURVES))
    nearest = np.argmin(np.abs(np.log(compute[:, None] / budgets)), axis=1)
    best = [law.optimal(budget, c0) for budget in budgets]
    sizes = np.geomspace(parameters.min() / 2, parameters.max() * 2, 200)
    for index, (budget, color) in enumerate(zip(budgets, colors, strict=True)):
        panel.plot(sizes, law.predict(sizes, budget / (c0 * sizes)), color=color, lw=1.2, label=f"{budget:.1e}")
        mine = nearest == index
        # A run costs a little more or less than the curve: it is moved there along the law.
        moved = losses[mine] * law.predict(parameters[mine], budget / (c0 * parameters[mine]))
        panel.scatter(parameters[mine], moved / law.predict(parameters[mine], tokens[mine]), s=16, color=[color])
    shown = [each for each in best if sizes[0] <= each.parameters <= sizes[-1]]
    panel.plot([each.parameters for each in shown], [each.loss for each in shown], "k*--", lw=0.8, ms=8, label="best")
    panel.set_ylim(min(losses.min(), min(each.loss for each in best)) * 0.96, losses.max() * 1.1)
    _label(panel, "parameters N", "loss", "lines of equal compute (FLOP)", y_log=True)
    panel.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))  # beside the runs, which may be anywhere


def _draw_frontier(panel, law, c0, compute, losses):
    """The losses of all runs over their compute, and the least that the law allows, up to ten times the compute."""
    parameters = law.points[0]
    for index, size in enumerate(sizes := np.unique(parameters)):
        mine = parameters == size
        label = f"N = {size:.3g}" if len(sizes) <= 8 else None
        color = f"C{index % 10}" if len(sizes) <= 8 else "C0"
        panel.scatter(compute[mine], losses[mine], s=16, color=color, alpha=0.8, label=label)
    budgets = np.geomspace(compute.min(), 10 * compute.max(), 100)
    panel.plot(budgets, [law.optimal(each, c0).loss for each in budgets], "k-", lw=1.2, label="best of the law")
    if (floor := law.constants.get("E", 0.0)) > 0.7 * losses.min():
        panel.axhline(floor, color="0.4", ls=":", label="floor E")
    _label(panel, "compute C (FLOP)", "loss", "the frontier", y_log=True)
    panel.legend(fontsize=7)


def _draw_residuals(panel, law, compute):
    """How far each run lies from the law, in per cent."""
    parameters, tokens, losses = law.points
    percent = 100 * (losses / law.predict(parameters, tokens) - 1)
    drawn = panel.scatter(compute, percent, c=np.log10(parameters), s=18, cmap="plasma")
    panel.figure.colorbar(drawn, ax=panel, label="log10 N", pad=0.01)
    panel.axhline(0.0, color="0.4", lw=0.8)
    _label(panel, "compute C (FLOP)", "measured over predicted loss, minus 1 (%)", "residuals")


def _label(panel, x, y, title, y_log=False):
    from matplotlib import ticker

    panel.set_xscale("log")
    panel.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 3.0)))  # labels of each digit would lie on each other
    panel.xaxis.set_major_formatter(
        ticker.LogFormatterSciNotation(labelOnlyBase=False, minor_thresholds=(np.inf, np.inf))
    )
    panel.xaxis.set_minor_formatter(ticker.NullFormatter())
    panel.tick_params(axis="x", labelsize=7)
    if y_log:
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:.3g}")
        panel.yaxis.set_minor_formatter("{x:.3g}")
        panel.tick_params(axis="y", which="both", labelsize=7)
    panel.set_xlabel(x, fontsize=9)
    panel.set_ylabel(y, fontsize=9)
    panel.set_title(title, fontsize=9)
    panel.grid(alpha=0.3)
