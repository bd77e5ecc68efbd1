"""Unigram inside a graph (T5, XLM-R, ALBERT): SentencePiece's search for the most probable pieces, which tensorflow-text runs.

The words come normalized and split as `tokenizers` does it, so SentencePiece is given a model that does neither.
"""

import re

import numpy as np

from . import character_maps, character_pairs, code_points, precompiled

_FORMS = ("NFC", "NFD", "NFKC", "NFKD")
_BY_CHARACTER = ("Lowercase", "StripAccents")
_KNOWN = ("type", "vocab", "unk_id", "byte_fallback")
_UNKNOWN = f"{code_points.PRIVATE}unknown"  # a piece that SentencePiece must have, and whose text is never made


def normalizer(parts):
    """Returns a function that normalizes strings (P,) inside a graph, and the tables that it reads.

    Args:
        parts: list of dicts, the normalizers of a `tokenizer.json`.

    Raises:
        ValueError: by name for what is not implemented.
    """
    import tensorflow as tf

    module = tf.Module()
    module.kept, steps, parts = [], [], list(parts)
    while parts:
        run = _by_character(parts)
        if run:
            made = code_points.mapped(_package(run).normalize_str, code_points.PRIVATE)
            steps.append(character_maps.mapper(made))
        elif parts[0]["type"] == "Precompiled":
            step, kept = precompiled.normalizer(parts[0])
            steps.append(step)
            module.kept.append(kept)
        else:
            steps.append(_step(parts[0]))
        parts = parts[max(len(run), 1) :]

    def normalize(texts):
        for step in steps:
            texts = step(texts)
        return texts

    return normalize, module


def _by_character(parts):
    """Returns the first of some normalizers, as many as may look at one character at a time."""
    run = []
    if len(parts) > 1 and parts[0]["type"] in ("NFD", "NFKD") and parts[1]["type"] == "StripAccents":
        run = parts[:1]  # no marks are left that could be in another order
    for part in parts[len(run) :]:
        if part["type"] not in _BY_CHARACTER:
            break
        run.append(part)
    return run


def _package(parts):
    import tokenizers

    return tokenizers.normalizers.Sequence([getattr(tokenizers.normalizers, part["type"])() for part in parts])


def _step(part):
    import tensorflow as tf

    kind, pattern = part["type"], part.get("pattern", {})
    if kind in _FORMS:
        import tensorflow_text as tf_text

        return lambda texts: tf_text.normalize_utf8(texts, kind)
    if kind == "Prepend":
        return lambda texts: tf.where(texts == "", "", tf.strings.join([part["prepend"], texts]))
    if kind == "Strip":
        blank = f"[{code_points.re2_class(code_points.split_by('WhitespaceSplit')[0])}]+"
        sides = [f"^{blank}"] * bool(part.get("strip_left")) + [f"{blank}$"] * bool(part.get("strip_right"))
        return _replacement([(side, "") for side in sides])
    if kind == "Replace" and pattern.get("String"):
        return _replacement([(character_pairs.escaped(pattern["String"]), part["content"])])
    if kind == "Replace" and re.fullmatch(r"( |\\s)(\+|\{\d+,\})", pattern.get("Regex", "")):
        blank = code_points.re2_class(code_points.matching(r"\s"))
        return _replacement([(pattern["Regex"].replace(r"\s", f"[{blank}]"), part["content"])])
    raise ValueError(
        "A normalizer of a Unigram must be Precompiled, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Prepend or Replace "
        f"of a String or of a run of spaces. Received: normalizer={part!r}."
    )


def _replacement(pairs):
    import tensorflow as tf

    def replace(texts):
        for pattern, new in pairs:
            texts = tf.strings.regex_replace(texts, pattern, new.replace("\\", r"\\"))
        return texts

    return replace


def splitter(parts):
    """Returns a function from strings (P,), and whether a text begins with each, to their words and the string of each.

    Args:
        parts: list of dicts, the pre-tokenizers of a `tokenizer.json`.

    Raises:
        ValueError: for others than `Metaspace` and, before it, `WhitespaceSplit`.
    """
    import tensorflow as tf

    kinds = [part["type"] for part in parts]
    first = kinds[:1] == ["WhitespaceSplit"]
    scheme = parts[-1].get("prepend_scheme") if parts else None
    if kinds[first:] not in ([], ["Metaspace"]) or (first and scheme == "first"):
        raise ValueError(
            "The pre-tokenizer of a Unigram must be none, Metaspace, or WhitespaceSplit and a Metaspace whose prepend_scheme is "
            f"not 'first'. Received: pre_tokenizer={parts!r}."
        )
    blank = f"[{code_points.re2_class(code_points.split_by('WhitespaceSplit')[0])}]+" if first else ""
    split_at_spaces = character_pairs.metaspace(parts[-1], "") if "Metaspace" in kinds else None

    def split(texts, begins):
        owners = tf.range(tf.size(texts, tf.int64))
        if first:
            words = tf.strings.split(tf.strings.regex_replace(texts, blank, b"\xff"), b"\xff")
            texts, owners = words.flat_values, words.value_rowids()
            begins = tf.zeros_like(owners, tf.bool)
        if split_at_spaces:
            texts, inside = split_at_spaces(texts, begins)
            owners = tf.gather(owners, inside)
        real = texts != ""
        return tf.boolean_mask(texts, real), tf.boolean_mask(owners, real)

    return split


def pieces(model):
    """Returns a function from words, strings (W,), to their ids, int32 ragged (W, ids), and what it reads.

    Args:
        model: dict, the model of a `tokenizer.json`, which `tokenizers` has read without an error.

    Raises:
        ImportError: if sentencepiece is not installed.
        ValueError: by name for what is not implemented.
    """
    import tensorflow as tf
    import tensorflow_text as tf_text

    vocabulary, unknown = model["vocab"], model.get("unk_id")
    if unknown is None:
        raise ValueError("A Unigram must have the id of an unknown token. Received: unk_id=None.")
    others = {name: value for name, value in model.items() if name not in _KNOWN and value}
    if others:
        raise ValueError(f"A Unigram with {', '.join(map(repr, others))} is not implemented. Received: {others!r}.")
    names = [character_pairs.byte_token(byte) for byte in range(256)]
    ids = {token: index for index, (token, _) in enumerate(vocabulary)}
    module = tf.Module()
    module.search = tf_text.SentencepieceTokenizer(model=_proto(vocabulary), out_type=tf.string)
    module.ids = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant(list(ids), tf.string), tf.constant(list(ids.values()), tf.int32)
        ),
        -1,
    )
    byte_ids = np.array([ids.get(name, -1) for name in names], np.int32)
    to_bytes = model.get("byte_fallback") and (byte_ids >= 0).all()
    if model.get("byte_fallback") and not to_bytes:
        missing = names[int(np.argmin(byte_ids))]
        raise ValueError(f"A Unigram with byte_fallback must have a token for each byte. Received: none for {missing}.")

    def ids_of(words):
        unique, where = tf.unique(words)
        split = module.search.tokenize(unique)
        flat = split.flat_values
        known = module.ids.lookup(flat)
        if not to_bytes:
            return tf.gather(split.with_flat_values(tf.where(known < 0, unknown, known)), where)
        data = tf.strings.bytes_split(tf.where(known < 0, flat, ""))
        codes = tf.cast(tf.reshape(tf.io.decode_raw(data.flat_values, tf.uint8), [-1]), tf.int32)
        whole = tf.RaggedTensor.from_row_lengths(tf.boolean_mask(known, known >= 0), tf.cast(known >= 0, tf.int64))
        either = tf.concat([whole, data.with_flat_values(tf.gather(byte_ids, codes))], 1)
        return tf.gather(split.with_values(either).merge_dims(1, 2), where)

    return ids_of, module


def _proto(vocabulary):
    """Returns a model of SentencePiece, bytes, with these pieces, which takes a text as it comes."""
    from .sentence_pieces import proto_class

    proto = proto_class()()
    for piece, score in vocabulary:
        proto.pieces.add(piece=piece, score=score, type=proto.SentencePiece.NORMAL)
    proto.pieces.add(piece=_UNKNOWN, type=proto.SentencePiece.UNKNOWN)
    proto.trainer_spec.model_type = proto.trainer_spec.UNIGRAM
    proto.trainer_spec.unk_piece = _UNKNOWN
    spec = proto.normalizer_spec
    spec.add_dummy_prefix = spec.remove_extra_whitespaces = spec.escape_whitespaces = False
    return proto.SerializeToString()
