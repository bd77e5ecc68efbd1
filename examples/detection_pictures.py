"""Pictures of detection: canvases with what was found on them, and where each query looks."""

import numpy as np


def draw_boxes(pixels, labels, boxes, found, path, least=0.5):
    """Draws canvases with their true boxes, dashed, and those found with a score of at least `least`."""
    plt = _pyplot()
    figure, axes = plt.subplots(2, (len(pixels) + 1) // 2, figsize=(9.5, 6.6), squeeze=False)
    for axis, canvas, its_labels, its_boxes, (names, places, scores) in zip(
        axes.flat, pixels, labels, boxes, found, strict=False
    ):
        _show(axis, canvas)
        for box in its_boxes:
            _frame(axis, box, edgecolor="white", linestyle=":")
        for name, box, score in zip(names, places, scores, strict=True):
            if score >= least:
                _frame(axis, box, edgecolor="tab:orange")
                above = box[1] - 1.5 if box[1] > 5 else box[3] + 4.5  # or below, where no place is left
                axis.text(box[0], above, f"{name} {score:.2f}", color="tab:orange", fontsize=9)
        axis.set_title("digits " + " ".join(map(str, its_labels)), fontsize=10)
    return _save(figure, path)


def draw_queries(canvas, weights, found, path):
    """Draws where each query looks, and the box and digit that it finds, the queries in their own order.

    Args:
        canvas: pixels (Y, X, 1).
        weights: array (Q, rows, columns), of the last block's cross-attention, the mean over heads.
        found: (labels (Q,), boxes (Q, 4), scores (Q,)).
        path: file to write.
    """
    plt = _pyplot()
    figure, axes = plt.subplots(2, (len(weights) + 1) // 2, figsize=(9.5, 5.4), squeeze=False)
    for number, (axis, share, name, box, score) in enumerate(zip(axes.flat, weights, *found, strict=False)):
        _show(axis, canvas)
        extent = (-0.5, canvas.shape[1] - 0.5, canvas.shape[0] - 0.5, -0.5)
        axis.imshow(share, cmap="inferno", alpha=0.6, extent=extent, interpolation="bilinear", vmin=0)
        says = f"{name}, {score:.2f}" if score >= 0.5 else f"no object ({score:.2f})"
        if score >= 0.5:
            _frame(axis, box, edgecolor="white")
        axis.set_title(f"query {number}: {says}", fontsize=9)
    return _save(figure, path)


def _pyplot():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _show(axis, canvas):
    axis.imshow(np.asarray(canvas)[..., 0], cmap="gray", vmin=0, vmax=255)
    axis.axis("off")


def _frame(axis, box, **style):
    import matplotlib.patches

    left, top, right, bottom = (float(edge) - 0.5 for edge in box)
    axis.add_patch(
        matplotlib.patches.Rectangle((left, top), right - left, bottom - top, fill=False, linewidth=1.5, **style)
    )


def _save(figure, path):
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    _pyplot().close(figure)
    return path
