"""A folder with a safetensors checkpoint: one file, or shards and their index."""

import mmap
import os
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from . import header
from .header import shown

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_PICKLES = (".bin", ".bin.index.json", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")

_MAX_JSON_BYTES = 100_000_000
# BF16 is the upper half of an F32.
_NUMPY_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class Checkpoint:
    """The tensors of a safetensors folder, mapped into memory: a tensor is read from disk when it is asked for.

    Reads `model.safetensors`, or else the shards that `model.safetensors.index.json` names. All headers are checked
    first: that each tensor lies inside its file and overlaps no other, and that index and shards say the same. A pickle
    is refused without being opened, and so is a path that leaves the folder, also by a link (except from a snapshot in
    the Hugging Face cache to the blobs of the same repository).

    Args:
        folder: str or path.
        prefix: str, taken off the names that start with it.

    Raises:
        ValueError: if the folder holds no safetensors checkpoint, or one that is damaged or contradicts itself.

    Example:

    ```python
    weights = {"scale": keras.Variable([1.0, 2.0])}
    keras_tx.checkpoints.save_weights(weights, folder, [keras_tx.checkpoints.Rule("scale", "scale")])
    checkpoint = keras_tx.checkpoints.Checkpoint(folder)
    checkpoint.shapes  # {"scale": (2,)}
    checkpoint.read("scale")  # array([1., 2.], dtype=float32)
    ```
    """

    def __init__(self, folder, prefix=""):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise ValueError(f"`folder` must be a folder. Received: folder={str(folder)!r}.")
        self._places = {}  # name: (mapped file, Entry)
        if (self.folder / SINGLE).is_file():
            self._places = _read_file(self.folder, SINGLE)
        elif (self.folder / INDEX).is_file():
            self._places = _read_shards(self.folder)
        else:
            raise ValueError(_nothing_there(self.folder))
        self._take_off(prefix)
        self.shapes = {name: entry.shape for name, (_, entry) in self._places.items()}

    def _take_off(self, prefix):
        for name in [name for name in self._places if prefix and name.startswith(prefix)]:
            short = name[len(prefix) :]
            if short in self._places:
                raise ValueError(
                    f"A tensor must be there once. Received: {shown(short)} and {shown(name)}, which mean the same, in "
                    f"{self.folder}."
                )
            self._places[short] = self._places.pop(name)

    def dtype(self, name):
        """Returns the dtype of a tensor by its name in the format: "F32", "BF16", ..."""
        return self._places[name][1].dtype

    def read(self, name):
        """Returns a tensor as a numpy array.

        Args:
            name: str, one of `shapes`.

        Returns:
            A float array: of F32, F16 and F64 a view of the mapped file, which must not outlive it being overwritten in
            place; of BF16 a copy in float32, which holds the same numbers.

        Raises:
            ValueError: for a tensor of another dtype.
        """
        mapped, entry = self._places[name]
        if entry.dtype not in _NUMPY_DTYPES:
            raise ValueError(
                f"A tensor must be of dtype {', '.join(_NUMPY_DTYPES)} to be read. Received: {shown(name)} of dtype "
                f"{entry.dtype} in {self.folder}."
            )
        dtype = np.dtype(_NUMPY_DTYPES[entry.dtype])
        if not entry.size:
            array = np.zeros(entry.shape, dtype)
        else:
            array = np.frombuffer(mapped, dtype, entry.size, entry.start).reshape(entry.shape)
        return from_bfloat16(array) if entry.dtype == "BF16" else array


def from_bfloat16(bits):
    """Returns float32 numbers for bfloat16 ones that came as 16-bit integers."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def read_json(folder, name) -> dict:
    """Reads a JSON object from a file of a folder.

    Args:
        folder: str or path.
        name: str, the file's name.

    Returns:
        A dict.

    Raises:
        ValueError: if the file is missing, lies outside the folder, is no JSON object, or has a key twice.
    """
    with _open(Path(folder), name) as file:
        size = os.fstat(file.fileno()).st_size
        if size > _MAX_JSON_BYTES:
            raise ValueError(
                f"A JSON file must not be longer than {_MAX_JSON_BYTES} bytes. Received: {name} in {folder}, of {size} bytes."
            )
        return header.parse_json(file.read(), f"{name} in {folder}")


def _read_file(folder, name):
    with _open(folder, name) as file:
        size = os.fstat(file.fileno()).st_size
        entries = header.read(file, size, f"{name} in {folder}")
        mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    return {tensor: (mapped, entry) for tensor, entry in entries.items()}


def _read_shards(folder):
    places = read_json(folder, INDEX).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        raise ValueError(
            f"An index must have a weight_map from tensor names to file names. Received: {INDEX} in {folder}, which has none."
        )
    found = {}
    for shard in dict.fromkeys(places.values()):
        for name, place in _read_file(folder, shard).items():
            what = f"{shown(name)} in {shown(shard)} of {folder}"
            if name in found:
                raise ValueError(f"A tensor must be in one shard. Received: {what}, duplicated in another.")
            if name not in places:
                raise ValueError(f"A tensor of a shard must be in the index. Received: {what}, an extra one.")
            if places[name] != shard:
                raise ValueError(
                    f"A tensor must be in the shard that the index names. Received: {what}, in place of {shown(places[name])}."
                )
            found[name] = place
    for name, shard in places.items():
        if name not in found:
            raise ValueError(
                f"A tensor of the index must be in its shard. Received: {shown(name)}, missing from {shown(shard)} of {folder}."
            )
    return found


def _open(folder, name):
    """Opens a regular file inside the folder."""
    if not _can_name_a_file(name):
        raise ValueError(f"A file of a checkpoint must have a name. Received: {shown(name)} in {folder}.")
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    leaves = posix.is_absolute() or windows.anchor or ".." in posix.parts or ".." in windows.parts
    path = folder / name
    if leaves or not _is_inside(path, folder):
        raise ValueError(
            f"A file of a checkpoint must be inside its folder. Received: {shown(name)}, which leaves {folder}."
        )
    try:
        # Not to wait for a writer, should it be a pipe.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        if not folder.exists():
            raise ValueError(
                f"`folder` must be a folder. Received: folder={str(folder)!r}, where nothing is."
            ) from error
        raise ValueError(
            f"A file of a checkpoint must be there. Received: {shown(name)}, missing from {folder} ({error.strerror})."
        ) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ValueError(f"A file of a checkpoint must be a regular file. Received: {shown(name)} in {folder}.")
    return os.fdopen(handle, "rb")


def _can_name_a_file(name):
    try:
        return name not in ("", ".") and b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def _is_inside(path, folder):
    path, home = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    if path.is_relative_to(home):
        return True
    # The Hugging Face cache: models--x--y/snapshots/<revision>/<name> is a link to models--x--y/blobs/<hash>.
    is_snapshot = home.parent.name == "snapshots" and home.parents[1].name.startswith("models--")
    return is_snapshot and path.parent == home.parents[1] / "blobs"


def _nothing_there(folder):
    rule = f"`folder` must hold {SINGLE}, or shards with {INDEX}."
    pickles = sorted(path.name for path in folder.iterdir() if path.name.endswith(_PICKLES))
    if pickles:
        return (
            f"{rule} Received: {folder} with {shown(pickles[0])}, a pickle, which can run code when it is opened and was not "
            f"opened. {header.HOW_TO_CONVERT}."
        )
    return f"{rule} Received: {folder}, from which both are missing."
