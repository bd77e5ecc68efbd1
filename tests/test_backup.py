"""Backups: a training goes on from the last whole one, whatever a kill left behind."""

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_tx import backup
from keras_tx.backup import Backup, processes

from .small_fits import ROWS, fitted


def same(weights, wanted):
    for ours, theirs in zip(weights, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_training_goes_on_from_its_backup_with_the_state_of_its_optimizer(tmp_path):
    wanted, _ = fitted(4, optimizer=keras.optimizers.Adam(0.1))
    fitted(2, Backup(tmp_path), optimizer=keras.optimizers.Adam(0.1))
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-2"]
    resumed, model = fitted(4, Backup(tmp_path), optimizer=keras.optimizers.Adam(0.1))
    same(resumed, wanted)
    assert int(model.optimizer.iterations) == 8
    assert model.history.epoch == [2, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-4"]
    with pytest.warns(
        UserWarning, match="holds 4 epochs of training, and `fit` was asked for no more than 4: .*nothing"
    ):
        again, model = fitted(4, Backup(tmp_path), optimizer=keras.optimizers.Adam(0.1))
    same(again, wanted)
    assert model.history.epoch == []


KILLED = """
import os, sys
sys.path.insert(0, sys.argv[1])
import keras, small_fits
from keras_tx.backup import Backup

write = keras.Model.save_weights

def killed(self, path, *args, **kwargs):
    if "epoch-3" in str(path):
        path.write_bytes(b"half a file")
        os._exit(9)
    write(self, path, *args, **kwargs)

keras.Model.save_weights = killed
small_fits.fitted(4, Backup(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_process_killed_inside_a_backup_leaves_the_one_before(tmp_path):
    line = [sys.executable, "-c", KILLED, os.path.dirname(__file__), str(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=240)
    assert done.returncode == 9, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-2", "epoch-3.partial"]
    resumed, model = fitted(4, Backup(tmp_path))
    same(resumed, fitted(4)[0])
    assert model.history.epoch == [2, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-4"]


def cut(file):
    os.truncate(file, 1000)


def alter(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


def damaged(folder, file, damage):
    """Damages a file of a backup, and asserts that `fit` says so."""
    kept = file.read_bytes()
    damage(file)
    wrong = "is missing" if damage is Path.unlink else "was cut off or altered"
    name = file.relative_to(folder).as_posix()
    with pytest.raises(ValueError, match=f"A backup must be whole, .*{folder.name}: .*: .* in which {name} {wrong}"):
        fitted(9, Backup(folder.parent))
    file.write_bytes(kept)


DAMAGES = (cut, alter, Path.unlink)


@pytest.mark.once
def test_a_damaged_backup_is_named(tmp_path):
    fitted(1, Backup(tmp_path))
    for damage in DAMAGES:
        damaged(tmp_path / "epoch-1", tmp_path / "epoch-1" / "latest.weights.h5", damage)


def test_a_backup_of_another_model_is_named(tmp_path):
    fitted(1, Backup(tmp_path))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    with pytest.raises(
        ValueError,
        match="A backup must be whole, and of this model.*epoch-1: ValueError: of its weights, number 0 is kernel ",
    ):
        model.fit(ROWS, ROWS[:, :1], callbacks=[Backup(tmp_path)], verbose=0)


@pytest.mark.once
def test_a_backup_that_lacks_something_is_named_without_sums_too(tmp_path):
    fitted(2, Backup(tmp_path))
    (tmp_path / "epoch-2" / "SHA256SUMS").unlink()
    for name, text, said in [
        ("latest.weights.h5", None, "latest.weights.h5 is missing"),
        ("training_metadata.json", None, "training_metadata.json is missing"),
        ("training_metadata.json", '{"epoch": 7, "batch": 0}', "training_metadata.json says epoch 7"),
        ("training_metadata.json", "{", "JSONDecodeError"),
    ]:
        file = tmp_path / "epoch-2" / name
        kept = file.read_bytes()
        file.unlink()
        if text is not None:
            file.write_text(text)
        with pytest.raises(ValueError, match=f"A backup must be whole, .*epoch-2: .*{said}"):
            fitted(4, Backup(tmp_path))
        file.write_bytes(kept)


@pytest.mark.once
def test_what_others_keep_beside_the_backups_stays(tmp_path):
    (tmp_path / "epoch-01").mkdir()
    (tmp_path / "epoch-9").write_text("a file")
    fitted(1, Backup(tmp_path))
    (tmp_path / "epoch-1.partial").write_text("a file in the way of the next")
    (tmp_path / "epoch-1").rename(tmp_path / "kept")
    fitted(1, Backup(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-01", "epoch-1", "epoch-9", "kept"]


@pytest.mark.once
def test_a_place_that_no_backup_can_be_written_in_is_refused_before_the_training(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for place in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "link"):
        with pytest.raises(ValueError, match="`folder` must be a folder that can be made and written in. Received: .*"):
            fitted(1, Backup(place))
    for nothing in ("", None, 3):
        with pytest.raises(ValueError, match="`folder` must be the path of a folder. Received: folder="):
            Backup(nothing)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras draws from torch's own generator")
def test_seeds_of_the_layers_of_keras_go_on(tmp_path):
    def trained(epochs, *callbacks):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(1, name="dense")])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.fit(ROWS, ROWS[:, :1], epochs=epochs, shuffle=False, verbose=0, callbacks=[*callbacks])
        return [keras.ops.convert_to_numpy(each) for each in model.weights]

    wanted = trained(4)
    trained(2, Backup(tmp_path))
    same(trained(4, Backup(tmp_path)), wanted)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="weights are split over processes on JAX")
def test_weights_that_are_split_over_processes_are_written_by_all_through_orbax(tmp_path, monkeypatch):
    wanted, _ = fitted(4)
    with monkeypatch.context() as patch:
        patch.setattr(processes, "_is_here", lambda weight: not weight.path.endswith("dense_1/kernel"))
        fitted(1, Backup(tmp_path))
        fitted(2, Backup(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-2"]
    assert (tmp_path / "epoch-2" / "parts").is_dir()
    files = [path for path in (tmp_path / "epoch-2" / "parts").rglob("*") if path.is_file()]
    largest = max(files, key=lambda file: file.stat().st_size)
    for damage in DAMAGES:
        damaged(tmp_path / "epoch-2", largest, damage)
    (tmp_path / "epoch-3.partial" / "parts.orbax-checkpoint-tmp").mkdir(parents=True)  # as a kill leaves it
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5), keras.layers.Dense(1)])
    other.compile(keras.optimizers.Adam(), "mse")
    with pytest.raises(
        ValueError,
        match="A backup must be whole, .*epoch-2: ValueError: of its weights, number 0 is kernel .*, 3.* here",
    ):
        other.fit(ROWS, ROWS[:, :1], callbacks=[Backup(tmp_path)], verbose=0)
    resumed, model = fitted(4, Backup(tmp_path))
    same(resumed, wanted)
    assert model.history.epoch == [2, 3]
    assert int(model.optimizer.iterations) == 8
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-4"]


def test_without_orbax_split_weights_ask_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_is_here", lambda weight: False)
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(ImportError, match="needs Orbax: pip install orbax-checkpoint"):
        fitted(1, Backup(tmp_path))


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX reads it")
def test_a_backup_split_over_processes_is_refused_where_nothing_reads_it(tmp_path):
    (tmp_path / "epoch-2" / "parts").mkdir(parents=True)
    (tmp_path / "epoch-2" / "training_metadata.json").write_text('{"epoch": 2}')
    with pytest.raises(ValueError, match="A backup must be whole, .*it was split over processes, which is read on JAX"):
        fitted(4, Backup(tmp_path))


@pytest.mark.once
def test_a_whole_folder_has_its_name_when_all_is_written(tmp_path):
    with backup.whole_folder(tmp_path / "runs" / "a") as beside:
        (beside / "b.txt").write_text("b")
        assert not (tmp_path / "runs" / "a").exists()
    assert (tmp_path / "runs" / "a" / "b.txt").read_text() == "b"
    with (
        pytest.raises(ValueError, match="`path` must be a place where nothing is yet. Received: .*, which exists"),
        backup.whole_folder(tmp_path / "runs" / "a"),
    ):
        pass
    with pytest.raises(FileNotFoundError), backup.whole_folder(tmp_path / "c") as beside:
        (beside / "left" / "half").write_text("")
    assert [path.name for path in tmp_path.iterdir() if path.name != "runs"] == ["c.partial"]
    with backup.whole_folder(tmp_path / "c"):
        pass
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["SHA256SUMS"]


@pytest.mark.once
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_names_the_file(tmp_path, damage):
    with backup.whole_folder(tmp_path / "a") as beside:
        (beside / "b").mkdir()
        (beside / "b" / "c.bin").write_bytes(bytes(3000))
    backup.check_folder(tmp_path / "a")
    assert "  b/c.bin\n" in (tmp_path / "a" / "SHA256SUMS").read_text()
    damage(tmp_path / "a" / "b" / "c.bin")
    with pytest.raises(ValueError, match="Each file must be as it was saved. Received: .*, in which b/c.bin (is|was)"):
        backup.check_folder(str(tmp_path / "a"))


@pytest.mark.once
def test_a_folder_without_sums_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match="must be a folder that `whole_folder` wrote. Received: .*, without SHA256SUMS"
    ):
        backup.check_folder(tmp_path)


def wide():
    inputs = x = keras.Input((256,))
    for _ in range(12):
        x = keras.layers.Dense(256)(x)  # 0.26 MB
    return keras.Model(inputs, x)


def test_a_sharded_save_holds_one_weight_at_a_time_and_misses_its_files_by_name(tmp_path):
    model, size = wide(), 256 * 256 * 4
    with backup.whole_folder(tmp_path / "saved") as beside:
        tracemalloc.start()
        model.save_weights(beside / "model.weights.json", max_shard_size=4 * size / 2**30)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 3 * size  # of 12: a copy, and Keras' own one of that
    files = sorted((tmp_path / "saved").glob("*.h5"))
    assert len(files) >= 3
    again = wide()
    again.load_weights(tmp_path / "saved" / "model.weights.json")
    same([keras.ops.convert_to_numpy(w) for w in again.weights], [keras.ops.convert_to_numpy(w) for w in model.weights])
    os.truncate(files[1], 5000)
    with pytest.raises(OSError, match="truncated file"):  # by Keras
        again.load_weights(tmp_path / "saved" / "model.weights.json")
    files[1].unlink()
    with pytest.raises(FileNotFoundError, match=files[1].name):  # by Keras
        again.load_weights(tmp_path / "saved" / "model.weights.json")
