"""Where the multiply-accumulates of a model go, as bars by depth."""

from . import canvas

_MOST_BARS = 60


def plot_costs(rows, title=None, path=None):
    """Draws a bar for each call that has products, in the order of the calls, with a colour for each kind of product.

    Args:
        rows: list of pairs: the path of a call, and a dict from kind to multiply-accumulates.
        title: str over the whole picture, or `None`.
        path: file to write, PNG by its ending, or `None`.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: if no call has products.
        ImportError: if matplotlib is missing, with the command that installs it.
    """
    rows = [(name, {kind: count for kind, count in macs.items() if count}) for name, macs in rows]
    rows = [(name, macs) for name, macs in rows if macs]
    if not rows:
        raise ValueError("`rows` must hold a call that has products. Received: none.")
    sums = {}
    for _, macs in rows:
        for kind, count in macs.items():
            sums[kind] = sums.get(kind, 0) + count
    whole = sum(sums.values())
    unit, scale = ("GMAC", 1e9) if whole >= 1e9 else ("MMAC", 1e6) if whole >= 1e6 else ("MAC", 1)
    longest = max(len(name) for name, _ in rows) if len(rows) <= _MOST_BARS else 0
    figure = canvas.new_figure(max(5.0, 2.0 + 0.22 * min(len(rows), _MOST_BARS)), 3.4 + 0.06 * longest)
    panel, bottoms = figure.subplots(), [0.0] * len(rows)
    for kind, total in sums.items():
        heights = [macs.get(kind, 0) / scale for _, macs in rows]
        panel.bar(range(len(rows)), heights, bottom=bottoms, label=f"{kind}: {total / whole:.1%}", width=0.85)
        bottoms = [bottom + height for bottom, height in zip(bottoms, heights, strict=True)]
    if longest:
        panel.set_xticks(range(len(rows)), [name for name, _ in rows], rotation=90, fontsize=7)
    panel.set_xlabel("calls in the order of the graph", fontsize=9)
    panel.set_ylabel(unit, fontsize=9)
    panel.legend(fontsize=8)
    panel.grid(axis="y", alpha=0.3)
    return canvas.finish(figure, title, path)
