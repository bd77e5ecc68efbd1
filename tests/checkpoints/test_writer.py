"""Saving: the same bytes each time, shards under their limit, and the old checkpoint whole until the new one is."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import keras_tx
from keras_tx.checkpoints import Checkpoint, Tensor, write_folder

pytestmark = pytest.mark.once  # files and numpy alone

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

# Saves over a folder, and stops for ever before one step of its writing or renaming, after saying so.
SLOW_SAVE = """
import os, sys, time, types
import numpy as np
folder, stop_at, max_shard_bytes, package = sys.argv[1], sys.argv[2], int(sys.argv[3]) or None, sys.argv[4]

# The packages without what they import: Keras takes seconds.
for name, path in (("keras_tx", package), ("keras_tx.checkpoints", package + "/checkpoints")):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [path]
from keras_tx.checkpoints.writer import Tensor, write_folder

def stop():
    print("stopped", flush=True)
    time.sleep(600)

def make(number):
    if stop_at == f"tensor {number}":
        stop()
    return np.full((1000,), number, "float32")

replace, count = os.replace, 0
def slow_replace(source, target):
    global count
    if stop_at == f"rename {count}":
        stop()
    count += 1
    replace(source, target)
os.replace = slow_replace

tensors = [Tensor(f"t{number}", "F32", (1000,), lambda number=number: make(number)) for number in range(3)]
write_folder(folder, tensors, {"config.json": b"{}"}, max_shard_bytes)
"""


def tensors(*values, shape=(1000,), dtype="F32"):
    return [
        Tensor(f"t{number}", dtype, shape, lambda value=value: np.full(shape, value, "float32"))
        for number, value in enumerate(values)
    ]


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def values(folder):
    checkpoint = Checkpoint(folder)
    return [checkpoint.read(name)[0].item() for name in sorted(checkpoint.shapes)]


def killed(folder, stop_at, max_shard_bytes=0):
    """Runs the slow save until it stops, and kills it there."""
    command = [sys.executable, "-c", SLOW_SAVE, str(folder), stop_at, str(max_shard_bytes), keras_tx.__path__[0]]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "stopped\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("stop_at", ["tensor 1", "rename 0"])
def test_a_killed_save_leaves_the_old_file_whole(stop_at, tmp_path):
    write_folder(tmp_path, tensors(7, 8, 9), {"config.json": b'{"old": 1}'})
    before = content(tmp_path)
    killed(tmp_path, stop_at)
    after = content(tmp_path)
    assert {name: after[name] for name in before} == before
    assert all(name.endswith(".partial") for name in after.keys() - before.keys())
    assert values(tmp_path) == [7, 8, 9]
    write_folder(tmp_path, tensors(1, 2, 3))
    assert values(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize("stop_at", ["tensor 2", "rename 1", "rename 4"])
def test_a_killed_save_leaves_the_old_shards_whole(stop_at, tmp_path):
    write_folder(tmp_path, tensors(7, 8, 9), max_shard_bytes=4000)
    before = content(tmp_path)
    killed(tmp_path, stop_at, max_shard_bytes=4000)  # renames: three shards, config.json, the index
    after = content(tmp_path)
    assert {name: after[name] for name in before} == before
    assert values(tmp_path) == [7, 8, 9]


def test_a_save_that_fails_leaves_nothing_behind(tmp_path):
    write_folder(tmp_path, tensors(7), {"config.json": b"{}"})
    before = content(tmp_path)
    wrong = [*tensors(1, 2), Tensor("t9", "F32", (2,), lambda: np.zeros(3))]
    with pytest.raises(
        ValueError, match=r"made in the shape it is announced with. Received: \(3,\) for 't9' of shape \(2,\)"
    ):
        write_folder(tmp_path, wrong, {"config.json": b"[]"}, max_shard_bytes=4000)
    assert content(tmp_path) == before


def test_the_same_tensors_give_the_same_bytes(tmp_path):
    write_folder(tmp_path / "a", tensors(1, 2, 3), max_shard_bytes=5000)
    write_folder(tmp_path / "b", list(reversed(tensors(1, 2, 3))), max_shard_bytes=5000)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_a_shard_keeps_to_the_limit_unless_one_tensor_is_larger(tmp_path):
    many = [*tensors(1, 2, 3, 4), Tensor("z", "F32", (5000,), lambda: np.zeros(5000))]
    write_folder(tmp_path, many, max_shard_bytes=8000)
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["metadata"]["total_size"] == 36_000
    held = {}
    for tensor, shard in index["weight_map"].items():
        held.setdefault(shard, []).append(tensor)
    assert sorted(held.values()) == [["t0", "t1"], ["t2", "t3"], ["z"]]
    assert set(content(tmp_path)) == {INDEX, *held}
    assert values(tmp_path) == [1, 2, 3, 4, 0]


def test_what_fits_in_one_shard_is_one_file(tmp_path):
    write_folder(tmp_path, tensors(1, 2), max_shard_bytes=8000)
    assert set(content(tmp_path)) == {SINGLE}


def test_a_new_checkpoint_takes_the_place_of_every_file_of_the_old(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    for limit in (None, 4000, np.int64(8000), None):
        write_folder(tmp_path, tensors(1, 2, 3), max_shard_bytes=limit)
        assert values(tmp_path) == [1, 2, 3]
        shards = set(content(tmp_path)) - {SINGLE, INDEX, "tokenizer.json"}
        assert len(shards) == {None: 0, 4000: 3, 8000: 2}[limit]
        assert (tmp_path / INDEX).exists() == bool(shards)
        assert (tmp_path / SINGLE).exists() != bool(shards)


def test_an_old_index_cannot_have_other_files_removed(tmp_path):
    (tmp_path / "outside.safetensors").write_text("keep")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "notes.txt").write_text("keep")
    places = {"a": "../outside.safetensors", "b": "notes.txt", "c": str(tmp_path / "outside.safetensors")}
    (folder / INDEX).write_text(json.dumps({"weight_map": places}))
    write_folder(folder, tensors(1))
    assert (tmp_path / "outside.safetensors").read_text() == (folder / "notes.txt").read_text() == "keep"
    assert values(folder) == [1]


@pytest.mark.parametrize("old", [b"{", b'{"weight_map": 3}', b'{"weight_map": {"a": 1}}', b"[]"])
def test_a_damaged_old_index_does_not_stop_a_save(old, tmp_path):
    (tmp_path / INDEX).write_bytes(old)
    write_folder(tmp_path, tensors(1))
    assert set(content(tmp_path)) == {SINGLE}


def test_the_reference_implementation_reads_what_is_written(tmp_path):
    reference = pytest.importorskip("safetensors")
    mixed = [
        Tensor("half", "F16", (3,), lambda: np.arange(3)),
        *tensors(5, shape=()),
        Tensor("none", "BF16", (0, 2), lambda: np.zeros((0, 2))),
    ]
    write_folder(tmp_path, mixed)
    with reference.safe_open(tmp_path / SINGLE, "np") as file:
        assert file.metadata() == {"format": "pt"}
        assert set(file.keys()) == {"half", "t0", "none"}
        assert file.get_tensor("half").tolist() == [0, 1, 2]
        assert file.get_tensor("half").dtype == np.float16
        assert file.get_tensor("t0") == 5


def test_files_are_as_readable_as_others(tmp_path):
    write_folder(tmp_path, tensors(1), {"config.json": b"{}"})
    (tmp_path / "other").write_text("")
    assert {oct(os.stat(path).st_mode) for path in tmp_path.iterdir()} == {oct(os.stat(tmp_path / "other").st_mode)}


def test_a_place_that_is_a_file_and_a_limit_that_is_none_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="`folder` must be a folder, or a path for a new one.*which is a file"):
        write_folder(tmp_path / "file", tensors(1))
    for limit in (0, -1, 2.5, True, np.True_, np.float32(4), "5GB"):
        with pytest.raises(ValueError, match="`max_shard_bytes` must be a positive integer or None. Received"):
            write_folder(tmp_path / "new", tensors(1), max_shard_bytes=limit)
    assert not (tmp_path / "new").exists()
