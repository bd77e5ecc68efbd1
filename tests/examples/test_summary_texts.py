"""How docstrings are written out for the summarizer."""

import pytest
import summary_texts
from summary_pairs import Docstring

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("signature", "text", "expected"),
    [
        (
            "la.LowRank.to_dense(self, out_dtype)",
            "Slow.",
            " to dense | to_dense | LowRank la | out dtype | adds it. | Slow.",
        ),
        (
            "a.b.C.d.f(x: int=3, /, *rest, y_2: dict[str, int]={'(': 1}, **kw)",
            "A\n  b.",
            " f | f | d C a | x, rest, y 2, kw | adds it. | A b.",
        ),
        ("net.HTTPServer", "", " http server | HTTPServer | net |  | adds it. | "),
        ("net.__init__()", "x", " init | __init__ | net |  | adds it. | x"),
    ],
)
def test_a_pair_is_read_as_name_words_place_arguments_near_summary_and_text(signature, text, expected):
    assert summary_texts.source(Docstring(signature, text, "Sums up.", "a.py", "Adds it.")) == expected


@pytest.mark.parametrize(
    "summary", ["Return the  sum.", "A class.", "RNN cells.", "`x` is shown.", "LowRank updates", "x"]
)
def test_a_summary_is_restored(summary):
    text = summary_texts.target(summary)
    assert text.startswith(" ")
    expected = " ".join(summary.split())
    assert summary_texts.restored(text) == expected[0].upper() + expected[1:]


def test_words_in_front_are_spelled_as_within_a_text():
    assert summary_texts.target("Return the sum.") == " return the sum."
    assert summary_texts.target("RNN cells.") == " RNN cells."
    assert summary_texts.restored("") == ""
