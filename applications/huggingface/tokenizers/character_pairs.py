"""Pairs of characters inside a graph: BPE as SentencePiece has it (Llama 2, Mistral, Gemma), where spaces are written as `▁`.

A character that is not in the vocabulary becomes the tokens of its bytes, `<0x00>` to `<0xFF>`.
"""

import re

from . import byte_pairs

_SPACE = "▁"


def normalizer(parts):
    """Returns a function that normalizes strings (P,) inside a graph.

    Args:
        parts: list of dicts, the normalizers of a `tokenizer.json`.

    Raises:
        ValueError: for others than `Prepend`, and `Replace` with a string.
    """
    import tensorflow as tf

    steps = []
    for part in parts:
        string = part.get("pattern", {}).get("String") if part["type"] == "Replace" else None
        if part["type"] == "Prepend":
            steps.append(("", part["prepend"]))
        elif string:
            steps.append((escaped(string), part["content"].replace("\\", r"\\")))
        else:
            raise ValueError(
                "A normalizer of a BPE with byte_fallback must be Prepend, or Replace with a String. Received: "
                f"normalizer={part!r}."
            )

    def normalize(texts):
        for pattern, new in steps:
            if pattern:
                texts = tf.strings.regex_replace(texts, pattern, new)
            else:
                texts = tf.where(texts == "", "", tf.strings.join([new, texts]))
        return texts

    return normalize


def splitter(parts, normalizers, model):
    """Returns a function from strings (P,), and whether a text begins with each, to their words and the string of each.

    Args:
        parts: list of dicts, the pre-tokenizers of a `tokenizer.json`.
        normalizers: list of dicts, its normalizers.
        model: dict, its model.

    Raises:
        ValueError: for another pre-tokenizer than `Metaspace`, and splits at spaces that a normalizer has replaced.
    """
    no_spaces = any(part["type"] == "Replace" and part["pattern"].get("String") == " " for part in normalizers)
    no_spaces = no_spaces and normalizers[-1]["type"] == "Replace"
    parts = [
        part for part in parts if not (no_spaces and part["type"] == "Split" and part["pattern"].get("String") == " ")
    ]
    meta = parts[0] if parts else None
    if len(parts) > 1 or (meta and (meta["type"] != "Metaspace" or meta["replacement"] != _SPACE)):
        raise ValueError(
            "The pre-tokenizer of a BPE with byte_fallback must be none, or Metaspace. Received: "
            f"pre_tokenizer={parts!r}."
        )
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    # Where no pair joins the end of a word and a space, words may be merged apart: that changes nothing, and is quicker.
    apart = not any(not left.endswith(_SPACE) and right.startswith(_SPACE) for left, right in pairs)
    return metaspace(meta, rf"([^{_SPACE}])({_SPACE})" if apart else "")


def metaspace(meta, cut):
    """Returns a function as `splitter` does, for a pre-tokenizer `Metaspace`, or `None` for texts with `▁` in them already.

    Args:
        meta: dict of a `tokenizer.json`, or `None`.
        cut: str, the pattern of two groups between which a text is cut where `meta` does not split it; "" for none.
    """
    import tensorflow as tf

    scheme = meta["prepend_scheme"] if meta else "never"
    if meta and meta.get("split", True):  # before each space
        cut = rf"(.)({_SPACE})"

    def split(texts, begins):
        if meta:
            texts = tf.strings.regex_replace(texts, " ", _SPACE)
            bare = (texts != "") & (tf.strings.substr(texts, 0, len(_SPACE.encode())) != _SPACE)
            bare &= {"always": True, "first": begins, "never": False}[scheme]
            texts = tf.where(bare, tf.strings.join([_SPACE, texts]), texts)
        words = texts
        if cut:
            words = tf.strings.regex_replace(texts, f"(?s){cut}", b"\\1\xff\\2")
            words = tf.strings.regex_replace(words, f"(?s){cut}", b"\\1\xff\\2")
        words = tf.strings.split(words, b"\xff")
        return words.flat_values, words.value_rowids()

    return split


def merger(model):
    """Returns a function from words, strings (W,), to their ids, int32 ragged (W, ids), and the tables that it reads.

    Args:
        model: dict, the model of a `tokenizer.json`, which `tokenizers` has read without an error.

    Raises:
        ValueError: by name for what is not implemented.
    """
    import tensorflow as tf

    byte_pairs.check_options(model, "ignore_merges")
    vocabulary = model["vocab"]
    names = [byte_token(byte) for byte in range(256)]
    if not all(name in vocabulary for name in names):
        missing = next(name for name in names if name not in vocabulary)
        raise ValueError(f"A BPE with byte_fallback must have a token for each byte. Received: none for {missing}.")
    byte_ids = tf.constant([vocabulary[name] for name in names], tf.int32)
    characters = [token for token in vocabulary if len(token) == 1]
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant([*characters, ""]), tf.constant([*(vocabulary[token] for token in characters), -1], tf.int32)
        ),
        -1,
    )

    def symbols(words):
        split = tf.strings.unicode_split(words, "UTF-8")
        flat = split.flat_values
        known = table.lookup(flat)
        data = tf.strings.bytes_split(tf.where(known < 0, flat, ""))
        codes = tf.cast(tf.reshape(tf.io.decode_raw(data.flat_values, tf.uint8), [-1]), tf.int32)
        whole = tf.RaggedTensor.from_row_lengths(tf.boolean_mask(known, known >= 0), tf.cast(known >= 0, tf.int64))
        either = tf.concat([whole, data.with_flat_values(tf.gather(byte_ids, codes))], 1)
        return split.with_values(either).merge_dims(1, 2)

    merge, module = byte_pairs.merged_symbols(model, symbols, str.encode)
    module.characters = table
    return merge, module


def merges_of(vocabulary):
    """Returns the merges of a BPE of SentencePiece, as `transformers` has them: each way to put a piece together of two others.

    Args:
        vocabulary: list of str, the pieces by their ids: those that were learned first come first.
    """
    places = {piece: index for index, piece in enumerate(vocabulary)}
    merges = []
    for piece in vocabulary:
        halves = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        halves = [(left, right) for left, right in halves if left in places and right in places]
        merges += sorted(halves, key=lambda pair: (len(pair[0]), len(pair[1])))
    return [list(pair) for pair in merges]


def byte_token(byte):
    """Returns the name of the token of a byte."""
    return f"<0x{byte:02X}>"


def escaped(text):
    """Returns a pattern of RE2 that matches a text."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)
