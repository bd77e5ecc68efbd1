"""Safetensors files put together by hand, right and wrong."""

import json
import math

import numpy as np

ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U8": 1, "I8": 1}


def encoded(array, dtype="F32"):
    """The bytes of an array in a dtype of the format."""
    array = np.asarray(array)
    if dtype == "BF16":
        bits = array.astype("<f4").view("<u4")
        assert not (bits & 0xFFFF).any(), "these numbers are not in bfloat16"
        return (bits >> 16).astype("<u2").tobytes()
    return array.astype(
        {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "U8": "u1", "I8": "i1"}[dtype]
    ).tobytes()


def packed(header, data=b"", length=None):
    """A file from a header (a dict, or bytes as they are) and data; `length` is what the file says of its header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(shape, begin, dtype="F32"):
    """A tensor's entry in a header."""
    end = begin + math.prod(shape) * ITEM_BYTES[dtype]
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def file_bytes(arrays, dtypes=None):
    """A right file of arrays by name, in F32 or the dtypes by name."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        dtype = (dtypes or {}).get(name, "F32")
        header[name] = entry(np.shape(array), len(data), dtype)
        data += encoded(array, dtype)
    return packed(header, data)


def write_single(folder, arrays, dtypes=None):
    (folder / "model.safetensors").write_bytes(file_bytes(arrays, dtypes))


def write_shards(folder, shards, weight_map=None):
    """Shards, a dict of arrays each, and their index."""
    names = [f"part-{number}.safetensors" for number in range(len(shards))]
    places = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
    for name, shard in zip(names, shards, strict=True):
        (folder / name).write_bytes(file_bytes(shard))
    write_index(folder, places if weight_map is None else weight_map)


def write_index(folder, weight_map):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
