"""Heat maps show each head, with the tokens on both axes."""

import numpy as np
import pytest

from keras_tx.analysis import plots

pytestmark = pytest.mark.once  # numpy and matplotlib alone

TOKENS = ["a", "warm", "film"]


def labels(axis):
    return [tick.get_text() for tick in axis.get_ticklabels()]


def test_each_head_has_a_panel_with_the_tokens_on_both_axes():
    scores = np.random.default_rng(0).random((2, 5, 5)).astype("float32")
    figure = plots.plot_attention(scores, TOKENS, title="a warm film")
    panels = [panel for panel in figure.axes if panel.images]
    heads = [panel for panel in panels if panel.get_title().startswith("head")]
    assert len(heads) == 2
    for index, panel in enumerate(heads):
        assert labels(panel.xaxis) == TOKENS
        assert labels(panel.yaxis) == TOKENS
        assert np.array_equal(panel.images[0].get_array(), scores[index, :3, :3])


def test_queries_and_keys_may_have_tokens_of_their_own(tmp_path):
    path = tmp_path / "map.png"
    figure = plots.plot_attention(np.ones((3, 2)), ["x", "y", "z"], key_tokens=["p", "q"], path=path)
    panel = figure.axes[0]
    assert labels(panel.yaxis) == ["x", "y", "z"]
    assert labels(panel.xaxis) == ["p", "q"]
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_map_of_zeros_is_drawn():
    assert plots.plot_attention(np.zeros((1, 3, 3)), TOKENS).axes


@pytest.mark.parametrize("shape", [(2, 2, 2), (3,), (1, 1, 3, 3)])
def test_scores_without_a_row_for_each_token_are_refused(shape):
    with pytest.raises(ValueError, match=r"`scores` must have shape .* Received: .* 3 tokens"):
        plots.plot_attention(np.zeros(shape), TOKENS)


@pytest.mark.parametrize(
    ("shape", "tokens", "keys"), [((0, 3, 3), TOKENS, None), ((2, 3, 3), [], None), ((2, 3, 3), TOKENS, [])]
)
def test_nothing_to_draw_is_refused(shape, tokens, keys):
    with pytest.raises(ValueError, match=r"`scores` must have a head, .* Received: scores of shape .* key tokens"):
        plots.plot_attention(np.zeros(shape), tokens, key_tokens=keys)


def test_a_missing_matplotlib_is_answered_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'keras-tx\[plots\]'"):
        plots.plot_attention(np.zeros((1, 3, 3)), TOKENS)
