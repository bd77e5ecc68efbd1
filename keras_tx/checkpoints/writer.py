"""Writing a safetensors folder, so that a save which is killed half-way leaves the old one whole."""

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

from .. import arguments
from .folder import INDEX, SINGLE, read_json
from .header import ITEM_BYTES, LENGTH_BYTES, METADATA, Entry

# Readers take it for the name of the layout, and ask for it.
_METADATA = {"format": "pt"}


class Tensor(NamedTuple):
    """A tensor to write."""

    name: str
    dtype: str  # "F64", "F32", "F16" or "BF16"
    shape: tuple
    make: Callable  # () -> array, called when its turn comes

    @property
    def num_bytes(self):
        """How many bytes it takes."""
        return Entry(self.dtype, self.shape, 0).num_bytes


def write_folder(folder, tensors, files=None, max_shard_bytes=None) -> None:
    """Writes tensors, and other files with them, into a folder.

    Everything is written beside first, under names that end in `.partial` (what a killed save leaves of them may be
    deleted), and then renamed, last the file by which a reader finds the tensors: until then the old ones stand. Shards
    are named by their contents, so that none replaces another. The same tensors give the same bytes.

    Args:
        folder: str or path; made if it is not there.
        tensors: list of `Tensor`.
        files: dict from name to bytes.
        max_shard_bytes: int, how many bytes of tensors one file may hold, one tensor at least; `None` for one file.

    Raises:
        ValueError: if `folder` is a file, or `max_shard_bytes` is no positive integer.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(
            f"`folder` must be a folder, or a path for a new one. Received: folder={str(folder)!r}, which is a file."
        )
    max_shard_bytes = arguments.positive_int("max_shard_bytes", max_shard_bytes, optional=True)
    folder.mkdir(parents=True, exist_ok=True)
    # Wide elements first, so that each tensor starts at a multiple of its element.
    tensors = sorted(tensors, key=lambda tensor: (-ITEM_BYTES[tensor.dtype], tensor.name))
    shards = _shards(tensors, max_shard_bytes)
    stale = _old_shards(folder)
    with contextlib.ExitStack() as stack:

        def beside(name, chunks):
            path = folder / f"{name}.{secrets.token_hex(6)}.partial"
            stack.callback(path.unlink, missing_ok=True)
            return path, _write(path, chunks)

        moves, places = [], {}  # (path, final name); tensor name: shard
        for number, shard in enumerate(shards, 1) if len(shards) > 1 else ():
            path, digest = beside("model", _chunks(shard))
            name = f"model-{number:05d}-of-{len(shards):05d}-{digest[:12]}.safetensors"
            moves.append((path, name))
            places.update({tensor.name: name for tensor in shard})
        moves += [(beside(name, [data])[0], name) for name, data in (files or {}).items()]
        if places:
            total = sum(tensor.num_bytes for tensor in tensors)
            index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
            moves.append((beside(INDEX, [json_bytes(index)])[0], INDEX))
        else:
            moves.append((beside(SINGLE, _chunks(tensors))[0], SINGLE))
        for path, name in moves:
            os.replace(path, folder / name)
    # A single file goes before an index for every reader, so what is in force changes here or with the rename above.
    for name in [SINGLE if places else INDEX, *stale]:
        if name not in places.values():
            (folder / name).unlink(missing_ok=True)
    _sync(folder)


def json_bytes(value) -> bytes:
    """Returns a JSON file for people to read."""
    return (json.dumps(value, indent=2) + "\n").encode()


def _shards(tensors, max_bytes):
    shards, held = [[]], 0
    for tensor in tensors:
        if shards[-1] and max_bytes is not None and held + tensor.num_bytes > max_bytes:
            shards.append([])
            held = 0
        shards[-1].append(tensor)
        held += tensor.num_bytes
    return shards


def _old_shards(folder):
    """The shards of the index that is there, which a new checkpoint replaces."""
    try:
        names = read_json(folder, INDEX)["weight_map"].values()
        return [name for name in dict.fromkeys(names) if PurePath(name).name == name and name.endswith(".safetensors")]
    except (ValueError, KeyError, AttributeError, TypeError):
        return []  # there is none, or it is damaged


def _chunks(tensors):
    """The bytes of a safetensors file, in pieces, so that one tensor at a time is in memory."""
    header, end = {METADATA: _METADATA}, 0
    for tensor in tensors:
        offsets = [end, end + tensor.num_bytes]
        header[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": offsets}
        end = offsets[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH_BYTES)  # the tensors start at a multiple of 8
    yield len(text).to_bytes(LENGTH_BYTES, "little") + text
    for tensor in tensors:
        array = np.asarray(tensor.make())
        if array.shape != tuple(tensor.shape):
            raise ValueError(
                f"A tensor must be made in the shape it is announced with. Received: {array.shape} for {tensor.name!r} of shape "
                f"{tensor.shape}."
            )
        yield _bytes(array, tensor.dtype)


def _bytes(array, dtype):
    if dtype == "BF16":  # the upper half of a float32, exact because the array comes from a bfloat16 weight
        return (array.astype(np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()
    return array.astype({"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype], copy=False).tobytes()


def _write(path, chunks):
    digest = hashlib.sha256()
    with open(path, "xb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _sync(folder):
    """Makes the renames last, where a folder can be synchronized."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
