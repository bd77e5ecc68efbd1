"""The header of a safetensors file: what it holds and where, checked against the file before anything is read.

Read here, and not by the `safetensors` package, because that takes a name which stands twice, copies what it reads, and names
neither tensor nor file in its errors (docs/log.md).

The format: 8 bytes with the length of the header (little-endian); the header, JSON from tensor name to dtype, shape,
first byte and byte after the last; then the tensors, without gap or overlap.
"""

import json
import math
from collections import Counter
from typing import NamedTuple

from .. import arguments

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000  # the format's own limit
METADATA = "__metadata__"
_MAX_AXES = 64  # numpy's limit

# Bytes an element.
ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "U32": 4, "I32": 4, "U64": 8, "I64": 8,
    "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1,
    "F16": 2, "BF16": 2, "F32": 4, "F64": 8, "C64": 8,
}  # fmt: skip


class Entry(NamedTuple):
    """A tensor in a file."""

    dtype: str
    shape: tuple
    start: int  # its first byte, counted from the start of the file

    @property
    def size(self):
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def num_bytes(self):
        """How many bytes it takes."""
        return self.size * ITEM_BYTES[self.dtype]


def shown(text, limit=100):
    """Returns a name out of a file as an error may show it: quoted, escaped, and not too long."""
    text = text if isinstance(text, str) else repr(text)
    return ascii(text if len(text) <= limit else text[:limit] + "...")


def read(file, file_bytes, where):
    """Reads and checks the header of a safetensors file.

    Args:
        file: binary file, at its start.
        file_bytes: int, the length of the file.
        where: str, what to call the file in errors.

    Returns:
        Dict from tensor name to `Entry`.

    Raises:
        ValueError: if the file is no safetensors file, or the header contradicts itself or the file.
    """
    start = file.read(LENGTH_BYTES + 24)
    if start[LENGTH_BYTES : LENGTH_BYTES + 1] != b"{":
        raise ValueError(
            f"A safetensors file must start with the length of its header and '{{'. Received: {where}, {_kind(start)}."
        )
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(
            f"The header of a safetensors file must not be longer than {MAX_HEADER_BYTES} bytes. Received: {where}, whose header "
            f"is said to take {length} bytes."
        )
    if LENGTH_BYTES + length > file_bytes:
        raise ValueError(
            f"The header of a safetensors file must end within the file. Received: {where}, of {file_bytes} bytes, whose header "
            f"is said to take {length} bytes; the file is truncated or damaged."
        )
    file.seek(LENGTH_BYTES)
    table = parse_json(file.read(length), f"the header of {where}")
    table.pop(METADATA, None)
    data_start = LENGTH_BYTES + length
    entries, ranges = {}, []
    for name, fields in table.items():
        dtype, shape, begin, end = _fields(name, fields, where)
        entries[name] = Entry(dtype, shape, data_start + begin)
        if entries[name].num_bytes != end - begin:
            raise ValueError(
                f"A tensor must take the bytes that its dtype and shape need. Received: {shown(name)} in {where}, {dtype} of "
                f"shape {shown_shape(shape)}, in bytes {begin} to {end}."
            )
        ranges.append((begin, end, name))
    _check_ranges(ranges, file_bytes - data_start, where)
    return entries


def shown_shape(shape, limit=8):
    """Returns a shape as an error may show it."""
    return str(tuple(shape)) if len(shape) <= limit else f"{tuple(shape[:limit])}... of {len(shape)} axes"


def parse_json(data, where):
    """Reads a JSON object from bytes.

    Args:
        data: bytes.
        where: str, what to call them in errors.

    Returns:
        A dict.

    Raises:
        ValueError: if the bytes are no JSON, no object, or an object anywhere in them has a key twice.
    """

    def without_duplicates(pairs):
        found = dict(pairs)
        if len(found) < len(pairs):
            twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
            raise ValueError(f"a key is duplicated: {shown(twice)}")
        return found

    try:
        parsed = json.loads(data.decode("utf-8"), object_pairs_hook=without_duplicates)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "it is nested too deeply"
        raise ValueError(f"JSON must be well formed, each key once. Received: {where}, {reason}.") from error
    if not isinstance(parsed, dict):
        raise ValueError(f"JSON must be an object, from names to values. Received: {where}, a {type(parsed).__name__}.")
    return parsed


def _fields(name, fields, where):
    what = f"{shown(name)} in {where}"
    if not isinstance(fields, dict) or set(fields) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(
            f"A tensor must have a dtype, a shape and data_offsets. Received: {what}, with {shown(fields)}."
        )
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise ValueError(
            f"The dtype of a tensor must be one of {', '.join(ITEM_BYTES)}. Received: {what}, with unknown dtype {shown(dtype)}."
        )
    if not isinstance(shape, list) or len(shape) > _MAX_AXES or not all(_is_count(size) for size in shape):
        raise ValueError(
            f"The shape of a tensor must be a list of at most {_MAX_AXES} sizes. Received: {what}, with shape {shown(shape)}."
        )
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_count(offset) for offset in offsets):
        raise ValueError(
            f"The data_offsets of a tensor must be two byte counts. Received: {what}, with {shown(offsets)}."
        )
    return dtype, tuple(shape), *offsets


def _is_count(value):
    return arguments.is_integer(value) and 0 <= value < 2**63


def _check_ranges(ranges, data_bytes, where):
    before = 0
    for begin, end, name in sorted(ranges):
        what = f"{shown(name)} in {where}, in bytes {begin} to {end}"
        if begin < before:
            raise ValueError(f"Tensors must not overlap. Received: {what}, where another goes on to {before}.")
        if begin > before:
            raise ValueError(
                f"Tensors must follow each other without a gap. Received: {what}, where the last ends at {before}."
            )
        if end > data_bytes:
            raise ValueError(
                f"A tensor must end within the file. Received: {what} of {data_bytes}; the file is truncated or damaged."
            )
        before = end
    if before < data_bytes:
        rest = data_bytes - before
        raise ValueError(f"The tensors must fill the file. Received: {where}, with {rest} bytes after the last tensor.")


def _kind(start):
    """What a file that is no safetensors file looks like."""
    if start.startswith(b"PK\x03\x04") or (start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")):
        return "a pickle or a zip, which can run code when it is opened and was not opened. " + HOW_TO_CONVERT
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS; fetch the file itself with: git lfs pull"
    if len(start) <= LENGTH_BYTES:
        return f"of {len(start)} bytes; the file is truncated"
    return "something else"


HOW_TO_CONVERT = (
    "Convert it where its origin is trusted, for instance with the class of transformers that wrote it: "
    "TheClass.from_pretrained(folder).save_pretrained(new_folder)"
)
