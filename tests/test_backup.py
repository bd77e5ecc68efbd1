"""Backups: a training goes on from the last whole one, whatever a kill left behind."""

import os
import subprocess
import sys
import tracemalloc

import keras
import numpy as np
import pytest

from keras_tx import backup
from keras_tx.backup import Backup

ROWS = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")


def fitted(epochs, *callbacks):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, name="dense"), keras.layers.Dense(1, name="dense_1")]
    )
    model.compile(keras.optimizers.Adam(0.1), "mse")
    model.fit(ROWS, ROWS[:, :1], batch_size=4, epochs=epochs, shuffle=False, verbose=0, callbacks=[*callbacks])
    return [keras.ops.convert_to_numpy(weight) for weight in model.weights], model


def same(weights, wanted):
    for ours, theirs in zip(weights, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_training_goes_on_from_its_backup_with_the_state_of_its_optimizer(tmp_path):
    wanted, _ = fitted(4)
    fitted(2, Backup(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-2"]
    resumed, model = fitted(4, Backup(tmp_path))
    same(resumed, wanted)
    assert int(model.optimizer.iterations) == 8
    assert model.history.epoch == [2, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-4"]
    again, model = fitted(4, Backup(tmp_path))
    same(again, wanted)
    assert model.history.epoch == []


KILLED = """
import os, sys
sys.path.insert(0, sys.argv[1])
import keras, test_backup
from keras_tx.backup import Backup

write = keras.callbacks.BackupAndRestore.on_epoch_end

def killed(self, epoch, logs=None):
    if epoch == 2:
        with open(self.backup_dir / "latest.weights.h5", "wb") as file:
            file.write(b"half a file")
        os._exit(9)
    write(self, epoch, logs)

keras.callbacks.BackupAndRestore.on_epoch_end = killed
test_backup.fitted(4, Backup(sys.argv[2]))
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


@pytest.mark.parametrize("size", [0, 1000])
def test_a_damaged_backup_is_named(tmp_path, size):
    fitted(1, Backup(tmp_path))
    os.truncate(tmp_path / "epoch-1" / "latest.weights.h5", size)
    with pytest.raises(ValueError, match="A backup must be readable; .*epoch-1: OSError: .*"):
        fitted(2, Backup(tmp_path))


def test_a_file_is_no_folder_of_backups(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="`folder` must be a folder. Received: .*file', which is a file"):
        fitted(1, Backup(tmp_path / "file"))


def test_weights_that_are_split_over_processes_are_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(backup, "_is_here", lambda weight: not weight.path.endswith("dense_1/kernel"))
    with pytest.raises(
        ValueError, match="must hold all of each weight; take .*OrbaxCheckpoint .*Received: .*dense_1/kernel"
    ):
        fitted(1, Backup(tmp_path))


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
    assert [*(tmp_path / "c").iterdir()] == []


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
