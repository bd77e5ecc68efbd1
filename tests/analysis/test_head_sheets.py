"""Sheets of heads have a panel a head, lines as thick as weights, and a cell a label; lines by depth are what was given."""

import numpy as np
import pytest

from keras_tx.analysis import AttentionPatterns, plots

pytestmark = pytest.mark.once  # numpy and matplotlib alone

TOKENS = ["a", "warm", "film", "$5 or $6"]


PATTERNS = AttentionPatterns({}, {"x": ["broad"]}, {}, {"x": np.ones((1, 1, 4, 4))}, {})


def made():
    scores = np.zeros((2, 3, 5, 5), "float32")
    scores[1, :, :, 0] = 1.0
    scores[1, 2] = np.eye(5)
    scores[1, 2, 0, :2] = 0.75, 0.25
    return {"encoder_0": scores, "inner/encoder_1": scores[:, :2]}


def test_lines_go_from_queries_to_keys_and_are_as_thick_as_the_weights(tmp_path):
    labels = {"encoder_0": ["first", "null", "self"], "inner/encoder_1": ["first", "first"]}
    file = tmp_path / "heads.png"
    figure = plots.plot_heads(made(), TOKENS, row=1, labels=labels, path=file)
    panels = [panel for panel in figure.axes if panel.get_title()]
    assert [panel.get_title() for panel in panels] == [
        "encoder_0 0: first",
        "encoder_0 1: null",
        "encoder_0 2: self",
        "encoder_1 0: first",
        "encoder_1 1: first",
    ]
    lines = panels[2].collections[0]
    ends = [tuple(segment[:, 1].astype(int)) for segment in lines.get_segments()]
    assert ends == [(0, 0), (0, 1), (1, 1), (2, 2), (3, 3)]
    widths = lines.get_linewidths()
    assert widths[2] == max(widths) > widths[0] > widths[1]
    assert [text.get_text() for text in panels[0].texts] == TOKENS * 2
    assert file.read_bytes().startswith(b"\x89PNG")


def test_small_maps_show_the_weights_of_the_tokens():
    figure = plots.plot_heads(made(), TOKENS, key_tokens=TOKENS[:2], row=1, lines=False)
    images = [panel.images[0].get_array() for panel in figure.axes if panel.images]
    assert len(images) == 5
    assert np.array_equal(images[2], made()["encoder_0"][1, 2, :4, :2])


def test_each_label_is_a_cell_of_its_row():
    labels = {"encoder_0": ["previous", "broad", "mixed"], "encoder_1": ["separator", "null", "own_part"]}
    panel = plots.plot_patterns(labels).axes[0]
    cells = {text.get_position(): text.get_text() for text in panel.texts}
    assert cells == {
        (head, depth): label for depth, row in enumerate(labels.values()) for head, label in enumerate(row)
    }


def test_lines_by_depth_are_what_was_given():
    curves = {"one": {"a": 1.0, "b": 0.5}, "two": {"a": 0.0, "b": 0.25}}
    panel = plots.plot_by_depth(curves).axes[0]
    assert [list(line.get_ydata()) for line in panel.lines] == [[1.0, 0.5], [0.0, 0.25]]
    assert [text.get_text() for text in panel.figure.legends[0].get_texts()] == ["one", "two"]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.plot_heads({}, TOKENS), "must hold a layer"),
        (lambda: plots.plot_heads(made(), TOKENS, row=2), "row=2"),
        (lambda: plots.plot_heads(made(), TOKENS * 2), "8 tokens"),
        (lambda: plots.plot_heads(made(), []), "0 tokens"),
        (lambda: plots.plot_heads({"x": np.ones((3, 3))}, TOKENS), r"x of shape \(3, 3\)"),
        (lambda: plots.plot_patterns({}), "`labels` must hold"),
        (lambda: plots.plot_patterns({"x": ["broad", "odd"]}), "odd"),
        (
            lambda: plots.plot_heads(PATTERNS, TOKENS),
            "`maps` must be a dict .* of type AttentionPatterns, whose `maps` would",
        ),
        (lambda: plots.plot_heads(made(), TOKENS, row=0.0), "`row` must be an integer .* row=0.0"),
        (lambda: plots.plot_heads(made(), TOKENS, row=-1), "`row` must be an integer .* row=-1"),
        (lambda: plots.plot_heads(made(), "film"), "`tokens` must be a list of strings.* tokens='film'"),
        (lambda: plots.plot_heads(made(), TOKENS, key_tokens=3), "`key_tokens` must be a list .* key_tokens=3"),
        (lambda: plots.plot_heads({"x": np.ones((1, 0, 5, 5))}, TOKENS), r"x of shape \(1, 0, 5, 5\)"),
        (
            lambda: plots.plot_heads(made(), TOKENS, labels={"encoder_0": ["self"] * 3}),
            r"Received: labels of \['encoder_0'\], and maps with 2 heads of inner/encoder_1",
        ),
        (
            lambda: plots.plot_heads(made(), TOKENS, labels=dict.fromkeys(made(), ["self", "broad"])),
            r"Received: \['self', 'broad'\] for encoder_0, and maps with 3 heads",
        ),
        (
            lambda: plots.plot_heads(made(), TOKENS, labels=PATTERNS),
            "`labels` must be a dict .* whose `labels` would do",
        ),
        (
            lambda: plots.plot_patterns(PATTERNS),
            "`labels` must be a dict .* AttentionPatterns, whose `labels` would do",
        ),
        (lambda: plots.plot_patterns({"x": "broad"}), r"`labels\['x'\]` must be a list of strings.*'broad'"),
        (lambda: plots.plot_by_depth({"a": 1.0}), "`curves` must be a dict .* curves of type float"),
        (lambda: plots.plot_attention_distances(np.ones((1, 2))), "`distances` must be a dict .* of type ndarray"),
        (lambda: plots.plot_attention(np.ones((1, 4, 4)), "film"), "`tokens` must be a list .* tokens='film'"),
        (lambda: plots.plot_by_depth({}), "one at least"),
        (lambda: plots.plot_by_depth({"one": {"a": 1.0}, "two": {"b": 1.0}}), "over the same layers"),
    ],
)
def test_bad_arguments_are_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
