"""All heads of a model on one sheet: lines from word to word or small maps, and their labels by depth."""

import numpy as np

from ... import arguments
from . import canvas, given

_LEAST = 0.02  # of the weight: thinner lines are not seen
_COLOURS = {
    "next": "#4e79a7",
    "previous": "#86b5dc",
    "self": "#59a14f",
    "same": "#9ccc7e",
    "separator": "#e15759",
    "first": "#f28e2b",
    "punctuation": "#b07aa1",
    "own_part": "#edc948",
    "broad": "#bab0ac",
    "mixed": "#f4f2f0",
    "null": "#3b3b3b",
}


def plot_heads(maps, tokens, key_tokens=None, row=0, labels=None, lines=True, title=None, path=None):
    """Draws all heads of a model for one text: a row of panels a layer, a panel a head.

    Args:
        maps: dict from layer name to float array (B, N, T, S), as `attention_maps` returns it or `AttentionPatterns.maps` is.
        tokens: T' <= T strings, the queries, on the left; those beyond them (padding) are left out.
        key_tokens: S' <= S strings, the keys, on the right; `None` for `tokens`.
        row: int, which text of the batch.
        labels: dict from layer name to a list of N strings, such as `AttentionPatterns.labels`, over the panels; or `None`.
        lines: bool, whether to draw lines from word to word, the thicker the larger the weight, or small heat maps.
        title: str over the whole picture, or `None`.
        path: file to write, PNG by its ending, or `None`.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there are no layers, a map has another rank or no such row, there are more tokens than positions, tokens
            are one string, or a head has no label beside those that have.
        ImportError: if matplotlib is missing, with the command that installs it.

    Example:

    ```python
    maps = {"encoder_0": np.full((1, 2, 3, 3), 1 / 3)}
    figure = keras_tx.analysis.plots.plot_heads(maps, ["a", "good", "film"])
    ```

    Reference:
        Clark et al. 2019, "What Does BERT Look At? An Analysis of BERT's Attention", figure 1.
    """
    maps = given.by_name("maps", maps, "from layer name to weights (B, N, T, S)")
    maps = {name: np.asarray(scores, dtype="float32") for name, scores in maps.items()}
    tokens, row = given.tokens("tokens", tokens), arguments.integer("row", row, least=0)
    keys = tokens if key_tokens is None else given.tokens("key_tokens", key_tokens)
    for name, scores in maps.items():
        fits = scores.ndim == 4 and row < len(scores) and scores.shape[1] and scores.shape[2] >= len(tokens) > 0
        if not fits or not scores.shape[3] >= len(keys) > 0:
            raise ValueError(
                "`maps` must hold arrays (B, N, T, S) with the row that is drawn, a head and a position for each token. "
                f"Received: {name} of shape {scores.shape}, row={row}, {len(tokens)} tokens, {len(keys)} key tokens."
            )
    if not maps:
        raise ValueError("`maps` must hold a layer to be drawn. Received: none.")
    labels = given.labels(labels, {name: scores.shape[1] for name, scores in maps.items()})
    most = max(scores.shape[1] for scores in maps.values())
    height = 0.35 + 0.11 * max(len(tokens), len(keys))
    figure = canvas.new_figure(max(4.0, 1.55 * most + 0.4), max(1.2, height) * len(maps) + 0.4)
    panels = figure.subplots(len(maps), most, squeeze=False)
    for across, (name, scores) in zip(panels, maps.items(), strict=True):
        for head, panel in enumerate(across):
            panel.set_axis_off()
            if head >= scores.shape[1]:
                continue
            weights = scores[row, head, : len(tokens), : len(keys)]
            if lines:
                _draw_lines(panel, weights, tokens, keys)
            else:
                _draw_map(panel, weights)
            label = f": {labels[name][head]}" if labels else ""
            panel.set_title(f"{name.rpartition('/')[2]} {head}{label}", fontsize=6, pad=2)
    return canvas.finish(figure, title, path)


def _draw_lines(panel, weights, tokens, keys):
    from matplotlib.collections import LineCollection

    pairs = np.argwhere(weights > _LEAST)
    sizes = np.clip(weights[tuple(pairs.T)], 0.0, 1.0)
    ends = [((0.0, query), (1.0, key)) for query, key in pairs]
    colours = [(0.12, 0.35, 0.6, 0.15 + 0.85 * float(size)) for size in sizes]
    panel.add_collection(LineCollection(ends, linewidths=0.2 + 1.8 * sizes, colors=colours))
    for place, words, side in ((-0.05, tokens, "right"), (1.05, keys, "left")):
        for position, word in enumerate(words):
            panel.text(place, position, word, ha=side, va="center", fontsize=4.5, parse_math=False)
    panel.set_xlim(-0.9, 1.9)
    panel.set_ylim(max(len(tokens), len(keys)) - 0.5, -0.5)


def _draw_map(panel, weights):
    panel.set_axis_on()  # for its frame
    panel.set_xticks([])
    panel.set_yticks([])
    panel.imshow(weights, cmap="Blues", vmin=0.0, vmax=1.0)


def plot_patterns(labels, title=None, path=None):
    """Draws the label of each head as a coloured cell: a row a layer by depth, a column a head.

    Args:
        labels: dict from layer name to a list of N strings, such as `AttentionPatterns.labels`.
        title: str over the whole picture, or `None`.
        path: file to write, PNG by its ending, or `None`.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there are no layers or no heads, or a label is none of those of `attention_patterns`.
        ImportError: if matplotlib is missing, with the command that installs it.

    Example:

    ```python
    labels = {"encoder_0": ["previous", "broad"], "encoder_1": ["separator", "null"]}
    figure = keras_tx.analysis.plots.plot_patterns(labels)
    ```
    """
    given.by_name("labels", labels, "from layer name to a list of strings, one for each head")
    for name, heads in labels.items():
        given.tokens(f"labels[{name!r}]", heads)
    used = [label for label in _COLOURS if any(label in heads for heads in labels.values())]
    if not used or any(label not in used for heads in labels.values() for label in heads):
        raise ValueError(f"`labels` must hold labels of {', '.join(_COLOURS)} by layer. Received: labels={labels}.")
    most = max(map(len, labels.values()))
    figure = canvas.new_figure(max(4.0, 0.85 * most + 1.4), 0.42 * len(labels) + 0.9)
    panel = figure.subplots()
    for depth, heads in enumerate(labels.values()):
        for head, label in enumerate(heads):
            colour = _COLOURS[label]
            panel.bar(head, 0.94, width=0.96, bottom=depth - 0.47, color=colour, edgecolor="#999999", linewidth=0.4)
            ink = "white" if label in ("null", "next", "separator") else "black"
            panel.text(head, depth, label, ha="center", va="center", fontsize=7, color=ink)
    panel.set_xticks(range(most))
    panel.set_yticks(range(len(labels)), list(labels), fontsize=8)
    panel.set_xlim(-0.5, most - 0.5)
    panel.set_ylim(len(labels) - 0.5, -0.5)
    panel.set_xlabel("head", fontsize=9)
    panel.tick_params(length=0, labelsize=8)
    return canvas.finish(figure, title, path)
