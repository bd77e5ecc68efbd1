"""Files that are replaced in one step, or stay as they were."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_tx.whole_files
from keras_tx.backup import whole_file

KILLED = """
import importlib.util, os, signal, sys

spec = importlib.util.spec_from_file_location("whole_files", sys.argv[1])
whole_files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(whole_files)
moment, replace = sys.argv[3], os.replace

def kill(now):
    if now == moment:
        os.kill(os.getpid(), signal.SIGKILL)

def replaced(*paths):
    kill("before it is replaced")
    replace(*paths)
    kill("after it is replaced")

os.replace = replaced
with whole_files.whole_file(sys.argv[2]) as beside, open(beside, "wb", buffering=0) as file:
    file.write(b"ne")
    kill("while it is written")
    file.write(b"w")
"""


@pytest.mark.once
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
@pytest.mark.parametrize("old", [b"old", None], ids=["old", "none"])
def test_a_kill_leaves_the_old_file_or_the_new_one(tmp_path, old):
    place = tmp_path / "model.keras"
    for moment in ("while it is written", "before it is replaced", "after it is replaced"):
        if old is not None:
            place.write_bytes(old)
        line = [sys.executable, "-c", KILLED, keras_tx.whole_files.__file__, str(place), moment]
        assert subprocess.run(line, capture_output=True, timeout=60).returncode == -9
        wanted = b"new" if moment.startswith("after") else old
        assert (place.read_bytes() if place.exists() else None) == wanted
        assert all(".partial." in left.name for left in tmp_path.iterdir() if left != place)
    with whole_file(place) as beside:
        beside.write_bytes(b"newer")
    assert place.read_bytes() == b"newer"


def broken_off(path, save, error):
    with whole_file(path) as beside:
        save(beside)
        raise error


def test_keras_saves_a_model_and_weights_whole(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    for name, save in (("a.keras", model.save), ("b.weights.h5", model.save_weights)):
        place = tmp_path / "new" / name
        for value in (1.0, 2.0):
            model.layers[0].bias.assign([value] * 3)
            with whole_file(place) as beside:
                assert (beside.parent, beside.name[-len(name) :]) == (place.parent, name)
                save(beside)
        model.layers[0].bias.assign([3.0] * 3)
        with pytest.raises(RuntimeError, match="here"):
            broken_off(str(place), save, RuntimeError("here"))
    again = keras.saving.load_model(tmp_path / "new" / "a.keras")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again.layers[0].bias), [2.0] * 3)
    again.layers[0].bias.assign([0.0] * 3)
    again.load_weights(tmp_path / "new" / "b.weights.h5")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again.layers[0].bias), [2.0] * 3)
    assert sorted(os.listdir(tmp_path / "new")) == ["a.keras", "b.weights.h5"]


@pytest.mark.once
def test_a_place_or_a_write_that_is_no_file_is_refused(tmp_path):
    for path, said in (
        (None, "the path of a file. Received: path=None"),
        ("", "the path of a file. Received: path=''"),
        (tmp_path, "which is a folder"),
        (tmp_path / "a.weights.json", "must be that of one file; .* `whole_folder`"),
    ):
        with pytest.raises(ValueError, match=said), whole_file(path):
            pass
    (tmp_path / "a").write_text("old")
    with pytest.raises(ValueError, match="A file must be written to the path"), whole_file(tmp_path / "a"):
        pass
    with pytest.raises(KeyboardInterrupt):
        broken_off(tmp_path / "a", lambda beside: beside.write_text("new"), KeyboardInterrupt())
    assert (tmp_path / "a").read_text() == "old"
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "a").chmod(0o640)
    with whole_file(tmp_path / "link") as beside:
        beside.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a").read_text() == "new"
    assert os.name == "nt" or (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(tmp_path)) == ["a", "link"]
