"""The grid of the scaling law: each token once, a killed grid ends as an undisturbed one, and its report knows a known law."""

import json
import sys

import keras
import numpy as np
import pytest
import scaling_law
import scaling_runs

from keras_tx.analysis import ScalingLaw
from keras_tx.applications import GPT

pytestmark = pytest.mark.once  # the example is run on TensorFlow
KNOWN = {"E": 1.9, "A": 30.0, "B": 600.0, "alpha": 0.4, "beta": 0.45}
SETTINGS = {"batch": 2, "epoch_steps": 4, "rate": 1e-2, "head": 8}


class SmallGrid(scaling_runs.Grid):
    """A grid whose model is compiled in a moment."""

    def _model(self, width, blocks):
        keras.utils.set_random_seed(0)
        model = GPT(self.vocabulary_size, self.length, blocks, 1, width, width, positions="rotary")
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
        return model


def small_grid(folder, epochs=(1.25, 2.5)):
    rows = np.random.default_rng(0).integers(0, 16, 400).astype("int32")
    windows = scaling_runs.make_windows(rows, 8)
    return SmallGrid(windows, windows[:4], 16, [(8, 1)], epochs, SETTINGS, folder)


def test_windows_hold_each_token_once_as_a_target():
    windows = scaling_runs.make_windows(np.arange(100, dtype="int32"), 8)
    assert windows.shape == (12, 9)
    assert sorted(windows[:, 1:].ravel()) == [*range(1, 97)]
    assert (windows[:, 1:] == windows[:, :-1] + 1).all()
    assert (np.diff(windows[:, 0]) != 8).any()


def test_the_rate_warms_up_stays_and_falls_to_nothing():
    rates = []

    class Model:
        class optimizer:
            class learning_rate:
                assign = staticmethod(rates.append)

    for callback, batches in ((scaling_runs.Rate(2.0, 0), 40), (scaling_runs.Rate(2.0, 40, falling=10), 10)):
        callback.set_model(Model)
        for batch in range(batches):
            callback.on_train_batch_begin(batch)
    assert rates[:30] == pytest.approx(2.0 * np.arange(1, 31) / 30)
    assert rates[30:41] == [2.0] * 11
    assert rates[40:] == pytest.approx(2.0 * np.arange(10, 0, -1) / 10)


def test_branches_that_begin_inside_an_epoch_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"begin at whole epochs.* epochs=\(1, 2\)"):
        small_grid(tmp_path, (1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("batches", [5, 9])  # in the branch of the first epoch, and in the second
def test_a_killed_grid_ends_as_an_undisturbed_one(tmp_path, monkeypatch, batches):
    wanted = small_grid(tmp_path / "undisturbed")
    (tmp_path / "undisturbed").mkdir()
    points = wanted.points()
    assert [each["tokens"] for each in points] == [80, 160]
    assert points[0]["parameters"] == 4 * 8 * 8 + 2 * 8 * 8
    assert wanted.progress.done == pytest.approx(wanted.progress.total)

    seen, count = [], scaling_runs.Progress.on_train_batch_end

    def stop(self, batch, logs=None):
        count(self, batch, logs)
        seen.append(batch)
        if len(seen) == batches:
            raise KeyboardInterrupt

    (tmp_path / "killed").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(scaling_runs.Progress, "on_train_batch_end", stop)
        with pytest.raises(KeyboardInterrupt):
            small_grid(tmp_path / "killed").points()
    again = small_grid(tmp_path / "killed")
    found = again.points()
    for each, other in zip(found, points, strict=True):
        assert each["loss"] == pytest.approx(other["loss"], rel=1e-5)
    assert small_grid(tmp_path / "killed").points() == found  # nothing is left to train


@pytest.mark.slow
def test_a_grid_that_is_done_gives_its_law(tmp_path, monkeypatch, capsys):
    plan = scaling_law.FULL
    settings = plan["settings"]
    needed = round(plan["epochs"][-1] * settings["epoch_steps"] * settings["batch"])
    windows = np.zeros((needed, scaling_law.LENGTH + 1), "int32")
    monkeypatch.setattr(scaling_law, "load_windows", lambda texts, count: (windows, windows[:800]))
    monkeypatch.setattr(scaling_law.python_text, "load_sources", dict)
    known, losses = ScalingLaw("hoffmann", KNOWN), {}
    for width, blocks in plan["sizes"]:
        for epochs in plan["epochs"]:
            tokens = epochs * settings["epoch_steps"] * settings["batch"] * scaling_law.LENGTH
            loss = float(known.predict(12 * width**2 * blocks, tokens))
            losses[f"width {width}, blocks {blocks}, epochs {epochs}"] = loss
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "losses.json").write_text(json.dumps(losses))
    monkeypatch.setattr(sys, "argv", ["scaling_law.py", "--output", str(tmp_path)])
    scaling_law.main()
    printed = capsys.readouterr().out
    figures = json.loads(printed.splitlines()[-1])
    assert figures["constants"] == pytest.approx(KNOWN, rel=1e-3)
    assert abs(figures["error"]) < 1e-5
    assert figures["optimum"]["a"] == pytest.approx(0.45 / 0.85, abs=1e-4)
    assert len(figures["runs"]) == 20
    assert "this call trained 0%" in printed
    for name in ("law.png", "runs.png"):
        assert (tmp_path / "full" / name).read_bytes().startswith(b"\x89PNG")
