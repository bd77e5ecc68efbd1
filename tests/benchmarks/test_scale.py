"""How cost grows with the length: exponents of known costs, cells that are left out, and all candidates at small sizes."""

import argparse
import json

import numpy as np
import pytest
import scale
import scale_candidates as candidates
import torch

pytestmark = pytest.mark.once  # the peers are of other packages
# Answers as a cell would whose seconds grow with the square of the length, and whose memory with the length.
PROGRAM = """
import sys
part, candidate, length, batch, width, window, jit = sys.argv[1:]
if candidate == "keras_hub":
    sys.exit("no such layer")
for line in sys.stdin:
    base, growth = (0, 1000) if candidate == "keras_tx" else (5e6, 1000)
    print({"base": 0, "reset": 0, "peak": base + growth * int(length)}.get(line.strip(), 1e-8 * int(length) ** 2), flush=True)
"""


@pytest.fixture
def run(tmp_path, capsys):
    program = tmp_path / "cell.py"
    program.write_text(PROGRAM)

    def run(*options):
        scale.main(["--batch", "1", "--width", "256", "--least", "0", "--program", str(program), *options])
        return capsys.readouterr().out.strip().splitlines()

    return run


def test_exponents_are_those_of_known_costs(run):
    *table, last = run(
        "--part", "encoder", "--lengths", "128", "512", "1024", "2048", "--candidates", "keras_tx", "keras"
    )
    ours, keras = json.loads(last)["rows"]
    assert ours["seconds_exponent"] == ours["seconds_exponent_last"] == 2.0
    assert ours["peak_exponent"] == 1.0
    assert ours["seconds_theory"] == 2
    assert ours["peak_theory"] == 1
    assert keras["peak_theory"] == 2
    assert keras["peak_exponent"] < keras["peak_exponent_last"] < 0.5  # a constant hides what grows
    assert keras["peak_exponent_growth"] == ours["peak_exponent_growth"] == 1.0
    assert ours["cells"]["2048"]["seconds"] == pytest.approx(1e-8 * 2048**2)
    assert len(table) == 2 + 2 * 4 + 2
    assert "seconds to the 2.0 (last 2.0, growth 1.76, theory 2)" in table[-2]


def test_a_slope_by_least_squares_is_that_of_numpy():
    lengths, values = [512, 2048, 4096, 16384], [3.0, 9.0, 30.0, 70.0]
    expected = np.polyfit(np.log(lengths), np.log(values), 1)[0]
    assert scale.exponent(lengths, values) == pytest.approx(expected, abs=0.006)
    assert scale.exponent(lengths[:1], values[:1]) is None


def test_what_would_take_too_long_or_hold_too_much_is_left_out(run, monkeypatch):
    # A run of 1024 takes 0.0105 s, one of 4096 16 times that.
    options = ("--part", "encoder", "--lengths", "1024", "4096", "8192", "--seconds", "0.4")
    (series,) = json.loads(run(*options, "--candidates", "keras_tx")[-1])["rows"]
    assert list(series["cells"]) == ["1024"]
    assert series["left_out"] == {"4096": "would take 0.17 s a run", "8192": "as the one before"}
    monkeypatch.setattr(scale, "available", lambda: 2e9)
    *table, last = run(*options[:-1], "60", "--candidates", "keras", "keras_hub")
    keras, hub = json.loads(last)["rows"]
    assert list(keras["cells"]) == ["1024", "4096"]
    assert keras["left_out"] == {"8192": "memory: 3 GB at least"}
    assert hub["left_out"] == {
        "1024": "status 1: no such layer",
        "4096": "as the one before",
        "8192": "as the one before",
    }
    assert all(line.count("|") == table[0].count("|") for line in table[:8])


@pytest.mark.parametrize("part", candidates.PARTS)
def test_cells_of_all_candidates_run(part):
    torch.set_num_threads(1)
    for name in candidates.PARTS[part]:
        cell = argparse.Namespace(part=part, candidate=name, length=24, batch=2, width=64, window=4, jit="off")
        step = candidates.make(cell)
        first, second = step(), step()
        if part != "step":
            assert 0 < second < first, name  # it trains
