"""A `tokenizer.json` as a graph of TensorFlow: what the package `tokenizers` does, part by part, or a refusal by name."""

import json

from . import added_tokens, byte_pairs, character_pairs, code_points, split_patterns, unigram, word_pieces

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


class TokenizerGraph:
    """The functions `tokenize` and `detokenize` of strings and ids, and the tables that a SavedModel must track.

    Args:
        text: str, a `tokenizer.json` that `tokenizers` has read.
        fast: the `tokenizers.Tokenizer` that it gave.
        around: pair of tuples of int, the ids that are put before and behind each text.

    Raises:
        ValueError: by name for a part that is not implemented.
    """

    def __init__(self, text, fast, around):
        import tensorflow as tf

        self._tf, self._around = tf, around
        spec = json.loads(text)
        self.tables = tf.Module()
        self.tables.kept = []
        tokens = spec.get("added_tokens") or []
        added_tokens.check(tokens, fast)
        # Those that are not normalized are looked for first, in the text as it came.
        self._cuts = [
            self._keep(added_tokens.cutter(some)) if some else None
            for some in (
                [token for token in tokens if not token.get("normalized")],
                [token for token in tokens if token.get("normalized")],
            )
        ]
        model, kind = spec["model"], spec["model"].get("type")
        normalizers, splits = (
            listed(spec.get("normalizer"), "normalizers"),
            listed(spec.get("pre_tokenizer"), "pretokenizers"),
        )
        if kind == "BPE" and model.get("byte_fallback"):
            self._normalize = character_pairs.normalizer(normalizers)
            self._split = character_pairs.splitter(splits, normalizers, model)
            self._model = self._keep(character_pairs.merger(model))
            first, rest = _spelled_alone(fast, in_bytes=True)
        elif kind == "BPE":
            self._normalize = _unicode_forms(normalizers)
            self._split = self._by_patterns
            self._splits, self._prefix_space = _byte_level(splits)
            self._model = self._keep(byte_pairs.merger(model))
            spelled = {token["id"]: token["content"].encode() for token in tokens}
            first = [spelled.get(index, byte_pairs.spelled(fast.id_to_token(index))) for index in range(size_of(fast))]
            rest = first
        elif kind == "WordPiece":
            self._normalize = word_pieces.normalizer(spec.get("normalizer"), fast)
            self._split = word_pieces.splitter(spec.get("pre_tokenizer"))
            self._model = self._keep(word_pieces.pieces(model))
            first, rest = _spelled_alone(fast)
        elif kind == "Unigram":
            self._normalize = self._keep(unigram.normalizer(normalizers))
            self._split = unigram.splitter(splits)
            self._model = self._keep(unigram.pieces(model))
            first, rest = _spelled_alone(fast, in_bytes=bool(model.get("byte_fallback")))
        else:
            raise ValueError(
                f"A tokenizer must be a BPE, a WordPiece or a Unigram: others are not implemented. Received: {kind!r}."
            )
        # The last entry is an empty text: ids outside the vocabulary look it up.
        self._first, self._rest = tf.constant([*first, b""]), None if rest is first else tf.constant([*rest, b""])
        self._hidden = tf.constant(sorted({index for side in around for index in side}), tf.int32)

    def _keep(self, pair):
        self.tables.kept.append(pair[1])
        return pair[0]

    def tokenize(self, texts):
        """Returns the ids of strings (B,), int32 ragged (B, T)."""
        tf = self._tf
        pieces = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")  # bytes that make no character become U+FFFD
        rows = tf.range(tf.size(texts, tf.int64))
        ids = tf.fill(tf.shape(texts), -1)
        for cut, then in zip(self._cuts, (self._normalize, None), strict=True):
            if cut is not None:
                pieces, ids, owners = cut(pieces, ids)
                rows = tf.gather(rows, owners)
            if then is not None:
                pieces = then(pieces)
        begins = tf.concat([[True], rows[1:] != rows[:-1]], 0)[: tf.size(rows)]
        words, owners = self._split(tf.where(ids < 0, pieces, ""), begins)
        count = tf.size(pieces, tf.int64)
        model = self._model(words)
        lengths = tf.math.unsorted_segment_sum(model.row_lengths(), owners, count)
        # A piece is a token, or has the ids of its words.
        text = tf.RaggedTensor.from_row_lengths(tf.cast(model.flat_values, tf.int32), lengths)
        special = tf.RaggedTensor.from_row_lengths(tf.boolean_mask(ids, ids >= 0), tf.cast(ids >= 0, tf.int64))
        joined = tf.concat([text, special], 1)
        lengths = tf.math.unsorted_segment_sum(joined.row_lengths(), rows, tf.size(texts, tf.int64))
        rows = [tf.RaggedTensor.from_row_lengths(joined.flat_values, lengths)]
        for side, place in zip(self._around, (0, 1), strict=True):
            if side:
                added = tf.repeat(tf.constant([side], tf.int32), tf.size(texts), 0)
                rows.insert(place * len(rows), tf.RaggedTensor.from_tensor(added, row_splits_dtype=tf.int64))
        return tf.concat(rows, 1) if len(rows) > 1 else rows[0]

    def detokenize(self, ids):
        """Returns the strings (B,) of ids, ragged (B, T); what `tokenize` put around a text is left out."""
        tf = self._tf
        last = tf.size(self._first) - 1
        shown = tf.reduce_all(ids.flat_values[:, None] != self._hidden, 1)
        ids = tf.ragged.boolean_mask(ids, ids.with_flat_values(shown))
        places = tf.where((ids.flat_values < 0) | (ids.flat_values > last), last, ids.flat_values)
        texts = tf.gather(self._first, places)
        if self._rest is not None:
            begins = tf.ragged.range(ids.row_lengths()).flat_values == 0
            texts = tf.where(begins, texts, tf.gather(self._rest, places))
        return tf.strings.reduce_join(ids.with_flat_values(texts), axis=-1)

    def tokenize_any(self, inputs):
        """Returns the ids of a string () or of strings (B,): int32 (T,), or ragged (B, T)."""
        inputs = self._tf.convert_to_tensor(inputs, self._tf.string)
        if inputs.shape.rank not in (0, 1):
            raise ValueError(f"`inputs` must be a string or strings (B,). Received: strings of shape {inputs.shape}.")
        return self.tokenize(inputs) if inputs.shape.rank else self.tokenize(inputs[None]).flat_values

    def detokenize_any(self, inputs):
        """Returns the string () of ids (T,), or the strings (B,) of ids (B, T), dense or ragged."""
        tf = self._tf
        if isinstance(inputs, tf.RaggedTensor):
            return self.detokenize(tf.cast(inputs, tf.int32))
        inputs = tf.cast(tf.convert_to_tensor(inputs), tf.int32)
        rows = tf.RaggedTensor.from_tensor(
            inputs if inputs.shape.rank == 2 else inputs[None], row_splits_dtype=tf.int64
        )
        return self.detokenize(rows) if inputs.shape.rank == 2 else self.detokenize(rows)[0]

    def _by_patterns(self, texts, begins):
        tf = self._tf
        if self._prefix_space:
            bare = (texts != "") & (tf.strings.substr(texts, 0, 1) != " ")
            texts = tf.where(bare, tf.strings.join([" ", texts]), texts)
        characters = tf.strings.unicode_decode(texts, "UTF-8")
        codes, lengths = characters.flat_values, characters.row_lengths()
        owners = tf.range(tf.size(texts, tf.int64))
        for split in self._splits:
            lengths, inside = split(codes, lengths)
            owners = tf.gather(owners, inside)
        return tf.strings.unicode_encode(tf.RaggedTensor.from_row_lengths(codes, lengths), "UTF-8"), owners


def size_of(fast):
    """Returns the number of ids of a tokenizer: one more than the highest."""
    return max(fast.get_vocab(with_added_tokens=True).values(), default=-1) + 1


def listed(part, inside):
    """Returns the parts of a `Sequence`, of one part, or of none, as a list of dicts."""
    if part is None:
        return []
    return [each for one in part[inside] for each in listed(one, inside)] if part["type"] == "Sequence" else [part]


def _unicode_forms(normalizers):
    parts = [part["type"] for part in normalizers]
    for part in parts:
        if part not in ("NFC", "NFD", "NFKC", "NFKD"):
            raise ValueError(
                f"A normalizer of a byte-level BPE must be NFC, NFD, NFKC or NFKD: {part!r} is not implemented. Received: "
                f"normalizer={normalizers!r}."
            )

    def normalize(texts):
        import tensorflow_text as tf_text

        for part in parts:
            texts = tf_text.normalize_utf8(texts, part)
        return texts

    return normalize


def _byte_level(splits):
    """Returns the splits of a pre-tokenizer that ends with the byte level, and whether a space is put before a text."""
    *parts, level = splits or [{"type": None}]
    patterns = [_pattern_of(part) for part in parts]
    if level["type"] != "ByteLevel" or None in patterns or (level.get("add_prefix_space") and parts):
        raise ValueError(
            "The pre-tokenizer of a BPE must end with ByteLevel, and before it have only Digits, and Split with a Regex and the "
            f"behavior Isolated, without add_prefix_space. Received: pre_tokenizer={splits!r}."
        )
    if level.get("use_regex", True):
        patterns.append(GPT2)
    return [split_patterns.splitter(pattern) for pattern in patterns], bool(level.get("add_prefix_space"))


def _pattern_of(part):
    if part["type"] == "Digits":
        digits = f"[{code_points.re2_class(code_points.split_by('Digits')[0])}]"
        return digits if part.get("individual_digits") else f"{digits}+"
    if part["type"] == "Split" and part["behavior"] == "Isolated" and not part.get("invert"):
        return part["pattern"].get("Regex")
    return None


def _spelled_alone(fast, in_bytes=False):
    """Returns what each id is spelled as at the beginning of a text, and behind another token."""
    count = size_of(fast)
    first = fast.decode_batch([[index] for index in range(count)], skip_special_tokens=False)
    rest = fast.decode_batch([[0, index] for index in range(count)], skip_special_tokens=False)
    first, rest = [each.encode() for each in first], [each[len(first[0]) :].encode() for each in rest]
    for byte in range(256 if in_bytes else 0):
        index = fast.token_to_id(character_pairs.byte_token(byte))
        first[index] = rest[index] = bytes([byte])
    return first, rest
