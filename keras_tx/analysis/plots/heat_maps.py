"""Attention weights between tokens, as heat maps."""

import math

import numpy as np

from . import canvas, given


def plot_attention(scores, tokens, key_tokens=None, title=None, path=None):
    """Draws one heat map a head: queries down, keys across, with the tokens on both axes.

    Args:
        scores: float array (N, T, S), or (T, S) for one map: one example's entry of `attention_maps`.
        tokens: T' <= T strings, the queries; rows beyond them (padding) are left out.
        key_tokens: S' <= S strings, the keys; `None` for `tokens`.
        title: str over the whole picture, or `None`.
        path: file to write, PNG by its ending, or `None`.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: if the scores have another rank, there are more tokens than rows, or there is no head or no token.
        ImportError: if matplotlib is missing, with the command that installs it.

    Example:

    ```python
    scores = np.full((2, 3, 3), 1 / 3)
    figure = keras_tx.analysis.plots.plot_attention(scores, ["a", "good", "film"])
    ```
    """
    if isinstance(scores, dict):
        raise ValueError(
            "`scores` must be those of one layer and row, such as `maps[name][0]`. Received: a dict with the keys "
            f"{', '.join(map(repr, scores))}."
        )
    scores = np.asarray(scores, dtype="float32")
    if scores.ndim == 2:
        scores = scores[None]
    tokens = given.tokens("tokens", tokens)
    key_tokens = tokens if key_tokens is None else given.tokens("key_tokens", key_tokens)
    if scores.ndim != 3 or len(tokens) > scores.shape[1] or len(key_tokens) > scores.shape[2]:
        raise ValueError(
            "`scores` must have shape (heads, queries, keys), with a row for each token. Received: scores of shape "
            f"{scores.shape}, {len(tokens)} tokens, {len(key_tokens)} key tokens."
        )
    if not len(scores) or not tokens or not key_tokens:
        raise ValueError(
            "`scores` must have a head, and `tokens` and `key_tokens` a token, to be drawn. Received: scores of shape "
            f"{scores.shape}, {len(tokens)} tokens, {len(key_tokens)} key tokens."
        )
    scores = scores[:, : len(tokens), : len(key_tokens)]

    heads = len(scores)
    columns = min(heads, 4 if len(key_tokens) <= 16 else 2)
    rows = math.ceil(heads / columns)
    width, height = 1.2 + 0.24 * len(key_tokens), 1.2 + 0.24 * len(tokens)
    figure = canvas.new_figure(max(3.0, width) * columns + 0.8, max(3.0, height) * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False)
    for head, panel in enumerate(panels.flat):
        if head >= heads:
            panel.set_visible(False)
            continue
        image = panel.imshow(scores[head], cmap="Blues", vmin=0.0, vmax=float(scores.max()) or 1.0)
        panel.set_xticks(range(len(key_tokens)), key_tokens, rotation=90, fontsize=8)
        panel.set_yticks(range(len(tokens)), tokens, fontsize=8)
        if heads > 1:
            panel.set_title(f"head {head}", fontsize=9)
        panel.set_xlabel("key", fontsize=8)
        panel.set_ylabel("query", fontsize=8)
    figure.colorbar(image, ax=panels, shrink=0.6, label="attention weight")
    return canvas.finish(figure, title, path)
