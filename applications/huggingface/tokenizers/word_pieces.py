"""BERT's word pieces inside a graph: its normalizer, its words, and tensorflow-text's search for the longest pieces.

keras-hub's tokenizer folds case where BERT makes letters small, takes words of 100 bytes where BERT takes 100 characters, and
has white space and punctuation by other tables. Here the tables are those of `tokenizers`.
"""

import json

from . import character_maps, code_points


def normalizer(spec, fast):
    """Returns a function that normalizes strings (P,) inside a graph.

    BERT's normalizer looks at one character at a time, so what it makes of each is asked once, and kept in a table.

    Args:
        spec: dict, the normalizer of a `tokenizer.json`, or `None`.
        fast: `tokenizers.Tokenizer` that has it.

    Raises:
        ValueError: for another normalizer.
    """
    if spec is None:
        return lambda texts: texts
    if spec["type"] != "BertNormalizer":
        raise ValueError(f"A normalizer of word pieces must be BertNormalizer. Received: normalizer={spec!r}.")
    return character_maps.mapper(code_points.mapped(fast.normalizer.normalize_str))


def splitter(spec):
    """Returns a function from strings (P,), and whether a text begins with each, to their words and the string of each.

    Args:
        spec: dict, the pre-tokenizer of a `tokenizer.json`.

    Raises:
        ValueError: unless it is BERT's.
    """
    import tensorflow as tf

    if spec is None or spec["type"] != "BertPreTokenizer":
        raise ValueError(f"A pre-tokenizer of word pieces must be BertPreTokenizer. Received: pre_tokenizer={spec!r}.")
    taken, kept = (tf.constant(each) for each in code_points.split_by("BertPreTokenizer"))

    def split(texts, begins):
        characters = tf.strings.unicode_decode(texts, "UTF-8")
        codes, owners = characters.flat_values, characters.value_rowids()
        alone = tf.gather(taken, codes)
        goes_on = tf.concat([[False], ~alone[1:] & ~alone[:-1] & (owners[1:] == owners[:-1])], 0)[: tf.size(codes)]
        words = tf.cumsum(tf.cast(~goes_on, tf.int64)) - 1
        real = ~alone | tf.gather(kept, codes)
        begins = tf.boolean_mask(owners, ~goes_on & real)
        _, words, lengths = tf.unique_with_counts(tf.boolean_mask(words, real), tf.int64)
        words = tf.RaggedTensor.from_row_lengths(tf.boolean_mask(codes, real), lengths)
        return tf.strings.unicode_encode(words, "UTF-8"), begins

    return split


def pieces(model):
    """Returns a function from words, strings (W,), to their ids, int32 ragged (W, ids), and what it reads.

    Args:
        model: dict, the model of a `tokenizer.json`.

    Raises:
        ValueError: if the ids of its vocabulary have holes.
    """
    import tensorflow as tf
    import tensorflow_text as tf_text

    vocabulary = sorted(model["vocab"], key=model["vocab"].get)
    if [model["vocab"][token] for token in vocabulary] != list(range(len(vocabulary))):
        raise ValueError("The ids of a vocabulary of word pieces must be 0, 1, 2, ... Received: ids with a hole.")
    unknown, longest = model.get("unk_token", "[UNK]"), model.get("max_input_chars_per_word", 100)
    search = tf_text.FastWordpieceTokenizer(
        vocab=vocabulary,
        suffix_indicator=model.get("continuing_subword_prefix", "##"),
        max_bytes_per_word=4 * longest + len(unknown.encode()),
        token_out_type=tf.int32,
        unknown_token=unknown,
        no_pretokenization=True,
    )

    def ids_of(words):
        too_long = tf.strings.length(words, "UTF8_CHAR") > longest
        return search.tokenize(tf.where(too_long, unknown, words))

    return ids_of, search


def file_as_json(vocabulary, options):
    """Returns the `tokenizer.json` of a `vocab.txt`, as `transformers` reads it.

    Args:
        vocabulary: list of str.
        options: dict, a `tokenizer_config.json`: `do_lower_case`, `strip_accents` and `tokenize_chinese_chars`.

    Raises:
        ValueError: if a token is there twice, or one that the tokenizer needs is not.
    """
    if len(set(vocabulary)) != len(vocabulary):
        twice = next(token for token in vocabulary if vocabulary.count(token) > 1)
        raise ValueError(f"`vocab.txt` must have each token once. Received: {twice!r}, twice.")
    names = {
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }
    names = {key: text_of(options.get(key)) or token for key, token in names.items()}
    for key in ("unk_token", "sep_token", "cls_token"):
        if names[key] not in vocabulary:
            raise ValueError(
                f"`vocab.txt` must have the {key} {names[key]!r}. Received: {len(vocabulary)} tokens without it."
            )
    places = {token: index for index, token in enumerate(vocabulary)}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": places[token], "content": token, **flags} for token in names.values() if token in places]
    sequences = [{"SpecialToken": {"id": names["cls_token"], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    end = {"id": names["sep_token"]}
    single = [*sequences, {"SpecialToken": {**end, "type_id": 0}}]
    pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {**end, "type_id": 1}}]
    around = {
        name: {"id": name, "ids": [places[name]], "tokens": [name]} for name in (names["cls_token"], names["sep_token"])
    }
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": sorted(added, key=lambda token: token["id"]),
            "normalizer": {
                "type": "BertNormalizer",
                "clean_text": True,
                "handle_chinese_chars": options.get("tokenize_chinese_chars", True),
                "strip_accents": options.get("strip_accents"),
                "lowercase": options.get("do_lower_case", True),
            },
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": around},
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
            "model": {
                "type": "WordPiece",
                "unk_token": names["unk_token"],
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": places,
            },
        }
    )


def text_of(token):
    """Returns the text of a token that a config names by a string or by a dict with its content; `None` for anything else."""
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else None
