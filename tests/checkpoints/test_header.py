"""One safetensors file: every fault is found in the header, before a tensor is read, and has an error of its own."""

import json
import time

import numpy as np
import pytest

from keras_tx.checkpoints import Checkpoint

from .files import entry, packed, write_single

pytestmark = pytest.mark.once  # files and numpy alone

EIGHT = b"\0" * 8
A, B = entry((2,), 0), entry((2,), 8)


def pickled_by(path):
    """A pickle that makes a file when it is opened."""
    import pickle

    class Bomb:
        def __reduce__(self):
            return (open, (str(path), "w"))

    return pickle.dumps(Bomb())


FAULTS = {
    "empty": (b"", "of 0 bytes; the file is truncated"),
    "cut in its length": (b"\x10\0\0", "of 3 bytes; the file is truncated"),
    "text": (b"hello world, this is text", "something else"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    "zip": (b"PK\x03\x04" + EIGHT * 4, "a pickle or a zip, which can run code"),
    "header longer than the file": (packed({"a": A}, EIGHT, length=10_000), "must end within the file.*10000 bytes"),
    "header longer than any": (packed({"a": A}, EIGHT, length=2**62), "must not be longer than 100000000 bytes"),
    "header that is no JSON": (packed(b"{'a': 1}"), "JSON must be well formed"),
    "header that is no text": (packed(b"{\xff\xfe}"), "JSON must be well formed"),
    "header without end": (packed(b'{"a":' * 50_000), "nested too deeply"),
    "endless number": (packed(b'{"a":' + b"9" * 5000 + b"}"), "JSON must be well formed"),
    "name twice": (packed(f'{{"a": {json.dumps(A)}, "a": {json.dumps(A)}}}'.encode(), EIGHT), "a key is duplicated: 'a'"),
    "field twice": (packed(b'{"a": {"dtype": "F32", "dtype": "F16"}}', EIGHT), "a key is duplicated: 'dtype'"),
    "entry that is no object": (packed({"a": [1]}, EIGHT), "must have a dtype, a shape and data_offsets"),
    "entry without a shape": (packed({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, EIGHT), "must have a dtype, a shape"),
    "unknown dtype": (packed({"a": {**A, "dtype": "F31"}}, EIGHT), "unknown dtype 'F31'"),
    "dtype that is no text": (packed({"a": {**A, "dtype": [1]}}, EIGHT), "unknown dtype"),
    "negative size": (packed({"a": {**A, "shape": [-2]}}, EIGHT), "shape of a tensor must be a list"),
    "size that is no integer": (packed({"a": {**A, "shape": [2.0]}}, EIGHT), "shape of a tensor must be a list"),
    "size that is true": (packed({"a": {**A, "shape": [True, 2]}}, EIGHT), "shape of a tensor must be a list"),
    "too many axes": (packed({"a": {**A, "shape": [2**62] * 10_000}}, EIGHT), "at most 64 sizes"),
    "offsets that are no pair": (packed({"a": {**A, "data_offsets": [0, 4, 8]}}, EIGHT), "must be two byte counts"),
    "negative offset": (packed({"a": {**A, "data_offsets": [-8, 0]}}, EIGHT), "must be two byte counts"),
    "offsets for another shape": (packed({"a": {**A, "data_offsets": [0, 4]}}, EIGHT), "bytes that its dtype and shape need"),
    "shape beyond 64 bits": (packed({"a": {**A, "shape": [2**33, 2**33]}}, EIGHT), "bytes that its dtype and shape need"),
    "overlapping": (packed({"a": A, "b": entry((2,), 4)}, EIGHT * 2), "must not overlap.*'b'"),
    "twice the same bytes": (packed({"a": A, "b": A}, EIGHT), "must not overlap.*'b'"),
    "with a gap": (packed({"a": A, "b": entry((2,), 16)}, EIGHT * 3), "without a gap.*'b'"),
    "truncated": (packed({"a": A, "b": B}, EIGHT + b"\0" * 7), "must end within the file.*'b'.*truncated"),
    "out of bounds": (packed({"a": entry((2**40,), 0)}, EIGHT), "must end within the file.*'a'"),
    "with bytes after the last": (packed({"a": A}, EIGHT + b"\0"), "with 1 bytes after the last tensor"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named(fault, tmp_path):
    content, message = FAULTS[fault]
    (tmp_path / "model.safetensors").write_bytes(content)
    started = time.perf_counter()
    with pytest.raises(ValueError, match=message) as refusal:
        Checkpoint(tmp_path)
    assert time.perf_counter() - started < 5
    assert len(str(refusal.value)) < 1000
    assert str(tmp_path) in str(refusal.value)


def test_a_pickle_under_the_name_of_safetensors_is_not_opened(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(pickled_by(tmp_path / "opened"))
    with pytest.raises(ValueError, match="pickle or a zip, which can run code.*save_pretrained"):
        Checkpoint(tmp_path)
    assert not (tmp_path / "opened").exists()


def test_a_name_out_of_a_file_cannot_fill_or_colour_the_error(tmp_path):
    name = "\x1b[31m" + "a" * 100_000
    (tmp_path / "model.safetensors").write_bytes(packed({name: {**A, "dtype": "F31"}}, EIGHT))
    with pytest.raises(ValueError, match="unknown dtype") as refusal:
        Checkpoint(tmp_path)
    assert len(str(refusal.value)) < 1000
    assert "\x1b" not in str(refusal.value)


def test_no_damage_to_a_file_brings_another_error_or_a_number_from_outside(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "model.safetensors"
    write_single(tmp_path, {"a": np.ones((2, 3)), "b": np.ones(4), "c": np.ones(())}, {"b": "F16", "c": "BF16"})
    whole = path.read_bytes()
    refusals = 0
    for _ in range(500):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole) - 34, rng.integers(1, 4)):
            damaged[place] = rng.choice([rng.integers(256), *b'0123456789"{}[],:-'])
        path.write_bytes(damaged[: rng.integers(len(whole))] if rng.random() < 0.2 else damaged)
        try:
            checkpoint = Checkpoint(tmp_path)
        except ValueError:
            refusals += 1
            continue
        for name in checkpoint.shapes:
            if checkpoint.dtype(name) in ("F32", "F16", "BF16", "F64"):
                checkpoint.read(name).sum()
    assert 300 < refusals < 500


def test_what_is_right_is_read(tmp_path):
    arrays = {
        "matrix": np.arange(6.0).reshape(2, 3),
        "scalar": np.float32(7),
        "none": np.zeros((0, 4)),
        "axes": np.ones((1,) * 8),
    }
    write_single(tmp_path, arrays)
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint.shapes == {name: np.shape(array) for name, array in arrays.items()}
    for name, array in arrays.items():
        assert np.array_equal(checkpoint.read(name), array)


def test_a_header_as_long_as_a_pickle_starts_is_read(tmp_path):
    text = json.dumps({"a": A}).encode()
    text += b" " * (0x0280 - len(text))  # the file starts with 80 02, as a pickle does
    (tmp_path / "model.safetensors").write_bytes(packed(text, EIGHT))
    assert Checkpoint(tmp_path).shapes == {"a": (2,)}


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F64"])
def test_a_dtype_keeps_every_bit(dtype, tmp_path):
    special = np.array([0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, 2.0**-14, 2.0**-24], "float32")
    tiny = [2.0**-126, 2.0**-133] if dtype != "F16" else []  # subnormal where the dtype has them
    values = np.concatenate([special, np.array(tiny, "float32")])
    write_single(tmp_path, {"pad": np.zeros(1), "values": values}, {"pad": "U8", "values": dtype})  # at an odd byte
    read = Checkpoint(tmp_path).read("values")
    assert np.array_equal(read.astype("float32").view("uint32"), values.view("uint32"))


def test_a_tensor_of_integers_is_listed_and_not_read(tmp_path):
    write_single(tmp_path, {"ids": np.arange(3)}, {"ids": "I64"})
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint.dtype("ids") == "I64"
    with pytest.raises(
        ValueError, match="must be of dtype F64, F32, F16, BF16 to be read. Received: 'ids' of dtype I64"
    ):
        checkpoint.read("ids")


def test_files_agree_with_the_reference_implementation(tmp_path):
    reference = pytest.importorskip("safetensors.numpy")
    arrays = {"a": np.random.default_rng(0).normal(size=(3, 5)).astype("float32"), "b": np.ones(7, "float16")}
    reference.save_file(arrays, tmp_path / "model.safetensors")
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint.shapes == {"a": (3, 5), "b": (7,)}
    assert all(np.array_equal(checkpoint.read(name), array) for name, array in arrays.items())
