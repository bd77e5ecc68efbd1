"""A folder of safetensors: shards and index agree, nothing outside is read, and what is not asked for stays on disk."""

import os
import time
import tracemalloc

import numpy as np
import pytest

from keras_tx.checkpoints import Checkpoint, read_json

from .files import entry, file_bytes, packed, write_index, write_shards, write_single

pytestmark = pytest.mark.once  # files and numpy alone

INDEX = "model.safetensors.index.json"
A, B = {"a": np.arange(3.0)}, {"b": np.ones((2, 2))}


@pytest.fixture
def folder(tmp_path):
    """A folder in another, so that there is an outside."""
    (tmp_path / "outside.safetensors").write_bytes(file_bytes(A))
    path = tmp_path / "folder"
    path.mkdir()
    return path


def refused(folder, message):
    started = time.perf_counter()
    with pytest.raises(ValueError, match=message) as refusal:
        Checkpoint(folder)
    assert time.perf_counter() - started < 5
    return str(refusal.value)


def test_shards_are_read_as_one(folder):
    write_shards(folder, [A, B])
    checkpoint = Checkpoint(folder)
    assert checkpoint.shapes == {"a": (3,), "b": (2, 2)}
    assert np.array_equal(checkpoint.read("a"), A["a"])
    assert np.array_equal(checkpoint.read("b"), B["b"])


def test_a_single_file_goes_before_an_index(folder):
    write_shards(folder, [A, B])
    write_single(folder, {"c": np.zeros(1)})
    assert list(Checkpoint(folder).shapes) == ["c"]


def test_a_folder_that_is_not_there_is_refused(folder):
    refused(folder / "nowhere", "`folder` must be a folder.*nowhere")
    (folder / "file").write_text("")
    refused(folder / "file", "`folder` must be a folder.*file")


def test_an_empty_folder_is_refused(folder):
    refused(folder, "must hold model.safetensors, or shards.*both are missing")


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "weights.pkl", "x.ckpt"]
)
def test_a_pickle_is_refused_without_being_opened(name, folder):
    os.mkfifo(folder / name)  # opening it would wait for ever
    message = refused(folder, f"'{name}', a pickle, which can run code.*was not opened")
    assert "from_pretrained(folder).save_pretrained(new_folder)" in message


def test_a_missing_shard_is_named(folder):
    write_shards(folder, [A, B])
    (folder / "part-1.safetensors").unlink()
    refused(folder, "must be there. Received: 'part-1.safetensors', missing from")


def test_a_tensor_missing_from_its_shard_is_named(folder):
    write_shards(folder, [A, B], {"a": "part-0.safetensors", "b": "part-1.safetensors", "c": "part-1.safetensors"})
    refused(folder, "'c', missing from 'part-1.safetensors'")


def test_a_tensor_that_the_index_does_not_have_is_named(folder):
    write_shards(folder, [A, {**B, "c": np.zeros(1)}], {"a": "part-0.safetensors", "b": "part-1.safetensors"})
    refused(folder, "'c' in 'part-1.safetensors' of .* an extra one")


def test_a_tensor_in_two_shards_is_named(folder):
    write_shards(folder, [A, {**A, **B}], {"a": "part-0.safetensors", "b": "part-1.safetensors"})
    refused(folder, "'a' in 'part-1.safetensors' of .*, duplicated in another")


def test_a_tensor_in_another_shard_than_the_index_says_is_named(folder):
    write_shards(folder, [A, B], {"a": "part-1.safetensors", "b": "part-0.safetensors"})
    refused(folder, "'b' in 'part-1.safetensors' of .* in place of 'part-0.safetensors'")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"weight_map": {"a": "x", "a": "y"}}', "a key is duplicated: 'a'"),
        ('{"weight_map": ["x"]}', "must have a weight_map"),
        ('{"weight_map": {"a": 1}}', "must have a weight_map"),
        ("{}", "must have a weight_map"),
        ("[]", "JSON must be an object"),
        ("{", "JSON must be well formed"),
    ],
)
def test_a_wrong_index_is_refused(text, message, folder):
    (folder / INDEX).write_text(text)
    refused(folder, message)


@pytest.mark.parametrize(
    "name",
    [
        "../outside.safetensors",
        "sub/../../outside.safetensors",
        "/etc/hostname",
        "..\\outside.safetensors",
        "C:\\x",
        "c:x",
        "//host/x",
    ],
)
def test_a_shard_path_that_leaves_the_folder_is_refused(name, folder):
    write_index(folder, {"a": name})
    refused(folder, "must be inside its folder.*which leaves")


def test_an_absolute_path_into_the_folder_is_refused_too(folder):
    write_shards(folder, [A], {"a": str(folder / "part-0.safetensors")})
    refused(folder, "must be inside its folder")


@pytest.mark.parametrize("name", ["", ".", "a\0b", "\ud800"])
def test_a_shard_without_a_possible_name_is_refused(name, folder):
    write_index(folder, {"a": name})
    refused(folder, "must have a name")


@pytest.mark.parametrize("target", ["../outside.safetensors", "/dev/zero"])
def test_a_link_that_leaves_the_folder_is_refused(target, folder):
    (folder / "link.safetensors").symlink_to(target)
    write_index(folder, {"a": "link.safetensors"})
    refused(folder, "must be inside its folder.*'link.safetensors', which leaves")


def test_a_folder_that_is_a_link_to_the_outside_is_refused(folder):
    (folder / "sub").symlink_to("..")
    write_index(folder, {"a": "sub/outside.safetensors"})
    refused(folder, "must be inside its folder")


def test_a_single_file_that_is_a_link_to_the_outside_is_refused(folder):
    (folder / "model.safetensors").symlink_to("../outside.safetensors")
    refused(folder, "must be inside its folder")


def test_links_that_lead_in_a_circle_are_refused(folder):
    (folder / "x").symlink_to("y")
    (folder / "y").symlink_to("x")
    write_index(folder, {"a": "x"})
    refused(folder, "must be there")


def test_a_shard_that_is_a_pipe_or_a_folder_is_refused(folder):
    os.mkfifo(folder / "pipe")
    (folder / "sub").mkdir()
    write_index(folder, {"a": "pipe"})
    refused(folder, "must be a regular file.*'pipe'")
    write_index(folder, {"a": "sub"})
    refused(folder, "'sub'")


def test_a_link_inside_the_folder_is_followed(folder):
    write_shards(folder, [A], {"a": "link"})
    (folder / "link").symlink_to("part-0.safetensors")
    assert np.array_equal(Checkpoint(folder).read("a"), A["a"])


def test_a_snapshot_of_the_cache_may_link_to_the_blobs_of_its_own_repository_alone(tmp_path):
    repository, other = tmp_path / "models--x--y", tmp_path / "models--x--z"
    for path in (repository / "snapshots" / "0123", repository / "blobs", other / "blobs"):
        path.mkdir(parents=True)
    snapshot = repository / "snapshots" / "0123"
    for place in (repository, other):
        (place / "blobs" / "cafe").write_bytes(file_bytes(A))
    (snapshot / "model.safetensors").symlink_to("../../blobs/cafe")
    assert np.array_equal(Checkpoint(snapshot).read("a"), A["a"])
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to("../../../models--x--z/blobs/cafe")
    refused(snapshot, "must be inside its folder")


def test_a_prefix_is_taken_off_where_it_stands(folder):
    write_single(folder, {"base.a": np.zeros(1), "head": np.zeros(2), "database.c": np.zeros(3)})
    assert Checkpoint(folder, "base.").shapes == {"a": (1,), "head": (2,), "database.c": (3,)}


def test_a_tensor_with_and_without_the_prefix_is_refused(folder):
    write_single(folder, {"base.a": np.zeros(1), "a": np.zeros(1)})
    with pytest.raises(ValueError, match="must be there once. Received: 'a' and 'base.a', which mean the same"):
        Checkpoint(folder, "base.")


def test_reading_one_tensor_leaves_the_others_on_disk(folder):
    large = 2**32
    header = {"large": entry((large,), 0, "U8"), "small": entry((3,), large)}
    with open(folder / "model.safetensors", "wb") as file:
        file.write(packed(header))
        start = file.tell() + large
        file.truncate(start + 12)  # sparse: takes no room on the disk
        file.seek(start)
        file.write(np.arange(3, dtype="<f4").tobytes())
    tracemalloc.start()
    started = time.perf_counter()
    read = np.array(Checkpoint(folder).read("small"))
    seconds, (_, peak) = time.perf_counter() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read.tolist() == [0, 1, 2]
    assert peak < 2**20
    assert seconds < 5


def test_a_json_file_keeps_to_the_rules_of_the_folder(folder):
    (folder / "config.json").symlink_to("../outside.safetensors")
    with pytest.raises(ValueError, match="must be inside its folder"):
        read_json(folder, "config.json")
    with pytest.raises(ValueError, match="'other.json', missing"):
        read_json(folder, "other.json")
    with open(folder / "large.json", "wb") as file:
        file.truncate(2**34)
    with pytest.raises(ValueError, match="must not be longer than 100000000 bytes"):
        read_json(folder, "large.json")
