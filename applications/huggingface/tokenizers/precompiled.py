r"""SentencePiece's table of characters inside a graph, as the normalizer `Precompiled` of the package `tokenizers` applies it.

The package cuts a text where a reader sees one character end, such as a letter with its accents. What has less than six
bytes is looked up as a whole, by the shortest entry that it begins with, and what follows that entry is dropped. All else is
looked up character by character. SentencePiece itself takes the longest entry at each place, and drops nothing.
"""

import base64
import binascii
import functools
import struct

import numpy as np

from . import character_maps, code_points

_MOST_BYTES = 5  # of what is looked up as a whole
_MOST_ENTRIES = 1 << 16


def check(part):
    """Raises `ValueError` if a normalizer of a `tokenizer.json`, a dict or `None`, holds a table that is damaged."""
    if isinstance(part, dict) and part.get("type") == "Sequence":
        for each in part.get("normalizers") or []:
            check(each)
    elif isinstance(part, dict) and part.get("type") == "Precompiled":
        entries(part)


def entries(part):
    """Returns the entries of a table of up to five bytes, a dict of bytes to str.

    Args:
        part: dict, a normalizer `Precompiled` of a `tokenizer.json`, whose arrays are those of the library Darts-clone.

    Raises:
        ValueError: if the table is damaged, at which the package would panic.
    """
    try:
        data = base64.b64decode(part["precompiled_charsmap"], validate=True)
        (size,) = struct.unpack_from("<I", data)
        units = np.frombuffer(data, "<u4", size // 4, 4).astype(np.int64)
        texts = data[4 + size :]
        texts.decode()
        _check(units, texts)
        return _entries(units, texts)
    except (KeyError, TypeError, IndexError, ValueError, struct.error, binascii.Error) as error:
        raise ValueError(
            f"A `precompiled_charsmap` must be a table of SentencePiece. Received: {str(part)[:100]}, {error}."
        ) from None


def _check(units, texts):
    """Raises unless each node that can be reached, and the text of each leaf, is there."""
    starts = {0, *(place + 1 for place, byte in enumerate(texts[:-1]) if not byte)}
    nodes = np.array([_offset(units[0])])
    seen = np.zeros(len(units), bool)
    while len(nodes):
        seen[nodes] = True
        _, _, nodes, leaves = _children(units, nodes)
        if not starts.issuperset(units[nodes[leaves]] & ~(1 << 31)) or not texts.endswith(b"\0"):
            raise ValueError("a leaf without a text")
        nodes = np.unique(nodes[~seen[nodes]])


def _entries(units, texts):
    found, nodes, keys = {}, np.array([_offset(units[0])]), [b""]
    for _ in range(_MOST_BYTES):
        rows, labels, nodes, leaves = _children(units, nodes)
        if len(nodes) > _MOST_ENTRIES:
            raise ValueError("too many entries")
        keys = [keys[row] + bytes([label]) for row, label in zip(rows, labels, strict=True)]
        for place in np.flatnonzero(leaves):
            value = units[nodes[place]] & ~(1 << 31)
            found[keys[place]] = texts[value : texts.index(b"\0", value)].decode()
    return found


def _children(units, nodes):
    """Returns of each byte that goes on from a node: the place of the node, the byte, the next node, and whether a key ends."""
    labels = np.arange(1, 256)
    places = nodes[:, None] ^ labels  # nodes, labels; one beyond the end is an `IndexError`
    rows, columns = np.nonzero((units[places] & (1 << 31 | 0xFF)) == labels)
    places = places[rows, columns]
    after = units[places]
    return rows, labels[columns], places ^ _offset(after), (after >> 8) & 1 == 1


def _offset(unit):
    return (unit >> 10) << ((unit & (1 << 9)) >> 6)


def normalizer(part):
    """Returns a function that normalizes strings (P,) inside a graph, and the tables that it reads.

    Args:
        part: dict, a normalizer `Precompiled` of a `tokenizer.json`.

    Raises:
        ValueError: if the table is damaged.
    """
    import tensorflow as tf

    known = entries(part)
    normalize = _package(base64.b64decode(part["precompiled_charsmap"]))
    single = code_points.mapped(normalize, code_points.PRIVATE)
    map_each = character_maps.mapper(single)
    marks, alone = _marks()
    dropping = [chr(code) for code in single if not alone[code]]
    texts = [key.decode() for key in known]
    whole = {text: known[text.encode()] for text in texts if len(text) > 1 and normalize(text) == known[text.encode()]}
    whole["\r\n"] = normalize("\r\n")
    module = tf.Module()
    module.dropping = _table(tf, dropping, dropping)
    module.whole = _table(tf, list(whole), ["=" + text for text in whole.values()])
    base, mark = code_points.re2_class(~marks & ~alone), code_points.re2_class(marks)
    cluster = rf"(\r\n|[{base}]?[{mark}]+)"
    longest = max(map(len, whole))

    def normal(texts):
        parts = tf.strings.split(tf.strings.regex_replace(texts, cluster, b"\xff\xfe\\1\xff"), b"\xff")
        flat = parts.flat_values
        open_ = tf.strings.substr(flat, 0, 1) == b"\xfe"
        flat = _without_first(tf, open_, flat)
        open_ &= tf.strings.length(flat) <= _MOST_BYTES
        first = module.dropping.lookup(_beginning(tf, open_, flat, 1))
        flat, open_ = tf.where(first != "", first, flat), open_ & (first == "")
        final = tf.zeros_like(flat)
        for count in range(2, longest + 1):
            found = module.whole.lookup(_beginning(tf, open_, flat, count))
            final, open_ = tf.where(found != "", found, final), open_ & (found == "")
        each = map_each(tf.where(final == "", flat, ""))
        flat = tf.where(final == "", each, _without_first(tf, final != "", final))
        return tf.strings.reduce_join(parts.with_flat_values(flat), axis=-1)

    return normal, module


def _without_first(tf, where, texts):
    return tf.where(where, tf.strings.substr(tf.where(where, texts, "x"), 1, 1 << 30), texts)


def _beginning(tf, where, texts, count):
    """Returns the first characters of some of the texts, and "" for the others."""
    return tf.strings.substr(tf.where(where, texts, ""), 0, count, unit="UTF8_CHAR")


def _package(data):
    import tokenizers

    return tokenizers.normalizers.Precompiled(data).normalize_str


@functools.lru_cache
def _marks():
    """Returns which characters join what stands before them, and which nothing joins: bool arrays (1,114,112,)."""
    marks, alone = _made_of("x{}", "x", "y"), _made_of("{}\u0308\u0301", "\u0308", "{}y")
    alone[[ord("\r"), ord("\n")]] = True
    return marks, alone


def _made_of(text, key, wanted):
    """Returns for which characters a text becomes what is wanted by a table with one entry, which becomes "y".

    A bool array (1,114,112,). What ends a line is not asked about, and is False.
    """
    units, value = np.zeros(1024, "<u4"), key.encode()
    units[0] = 256 << 10
    for block, byte in enumerate(value, 1):  # each in a block of its own, and offsets count from where they stand
        place = 256 * block ^ byte
        units[place] = ((256 * (block + 1) ^ place) << 10) | ((block == len(value)) << 8) | byte
    units[256 * (len(value) + 1)] = 1 << 31
    normalize = _package(struct.pack("<I", units.nbytes) + units.tobytes() + b"y\0")
    codes = [code for code in code_points.asked() if chr(code) not in "\r\n"]
    made = normalize("".join(text.format(chr(code)) + "\n" for code in codes)).split("\n")
    result = np.zeros(code_points.COUNT, bool)
    result[codes] = [each == wanted.format(chr(code)) for each, code in zip(made[:-1], codes, strict=True)]
    return result


def _table(tf, keys, values):
    texts = tf.lookup.KeyValueTensorInitializer(tf.constant(keys, tf.string), tf.constant(values, tf.string))
    return tf.lookup.StaticHashTable(texts, "")
