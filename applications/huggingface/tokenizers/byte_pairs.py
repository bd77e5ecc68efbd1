"""Byte pairs inside a graph: the pair that was learned first is merged first, as `tokenizers` does it.

keras-hub's tokenizer keeps each word that it ever saw in a table of its own, and splits by a pattern of its own. Here nothing is
kept, and words come split.
"""

import functools
import json

import numpy as np


@functools.lru_cache
def bytes_by_letter():
    """Returns the byte that each letter of a byte-level vocabulary stands for, a dict of str to int."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + index): byte for index, byte in enumerate(hidden)}


def spelled(token):
    """Returns the bytes of a token of a byte-level vocabulary; a token with other characters is spelled as it stands."""
    letters = bytes_by_letter()
    return bytes(letters[letter] for letter in token) if all(letter in letters for letter in token) else token.encode()


def merger(model):
    """Returns a function from words, strings (W,), to their ids, int32 ragged (W, ids), and the tables that it reads.

    Args:
        model: dict, the model of a `tokenizer.json`, which `tokenizers` has read without an error.

    Raises:
        ValueError: by name for what is not implemented.
    """
    import tensorflow as tf

    vocabulary = model["vocab"]
    check_options(model, "byte_fallback")
    unknown = vocabulary.get(model.get("unk_token"), -1)
    letters = {byte: vocabulary.get(letter, unknown) for letter, byte in bytes_by_letter().items()}
    if unknown >= 0 and model.get("fuse_unk") and unknown in letters.values():
        raise ValueError(
            "A byte-level BPE with 'fuse_unk' must have all 256 bytes in its vocabulary. Received: "
            f"{list(letters.values()).count(unknown)} bytes without a token."
        )
    byte_ids = tf.constant([letters[byte] for byte in range(256)], tf.int32)

    def symbols(words):
        split = tf.strings.bytes_split(words)
        codes = tf.reshape(tf.io.decode_raw(split.flat_values, tf.uint8), [-1])
        return split.with_flat_values(tf.gather(byte_ids, tf.cast(codes, tf.int32)))

    return merged_symbols(model, symbols, spelled)


def check_options(model, *others):
    """Raises `ValueError` for a BPE with an option that is not implemented."""
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", *others):
        if model.get(name):
            raise ValueError(f"A BPE with {name!r} is not implemented here. Received: {name}={model[name]!r}.")


def merged_symbols(model, symbols, spelled):
    """Returns a function from words, strings (W,), to their ids, int32 ragged (W, ids), and the tables that it reads.

    Args:
        model: dict, the model of a `tokenizer.json`.
        symbols: function from words, strings (W,), to what they are made of, ids or -1, int32 ragged (W, symbols).
        spelled: function from a token to the word, bytes, that it stands for where all of it is one token.
    """
    import tensorflow as tf

    vocabulary = model["vocab"]
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    # Of a pair that is there twice the last counts, as in the package.
    ranks = {(vocabulary[left] << 32) + vocabulary[right]: rank for rank, (left, right) in enumerate(pairs)}
    none = max(len(pairs), 1)
    module = tf.Module()
    module.ranks = _table(tf, np.array([*ranks, -1], np.int64), np.array([*ranks.values(), none], np.int32), none)
    words = {spelled(token): index for token, index in vocabulary.items()} if model.get("ignore_merges") else {}
    if words:
        module.words = _table(tf, list(words), np.array(list(words.values()), np.int32), -1)
    merged = tf.constant([vocabulary[left + right] for left, right in pairs] + [0], tf.int32)

    def rank_of(left, right):
        return module.ranks.lookup(
            tf.bitwise.left_shift(tf.cast(left, tf.int64), np.int64(32)) + tf.cast(right, tf.int64)
        )

    def least(values, owners):
        """Returns for each place the least value in its word."""
        words = tf.cumsum(tf.cast(tf.concat([[False], owners[1:] != owners[:-1]], 0)[: tf.size(owners)], tf.int32))
        return tf.gather(tf.math.segment_min(values, words), words)

    def step(ids, owners, ranks):
        """Merges one pair in each word that has one left; `ranks` are those of each id and the next."""
        places = tf.range(tf.size(ids))
        best = least(ranks, owners)
        first = least(tf.where(ranks == best, places, tf.size(ids)), owners)
        first = tf.boolean_mask(places, (places == first) & (best < none))
        at = first[:, None]
        ids = tf.tensor_scatter_nd_update(ids, at, tf.gather(merged, tf.gather(ranks, first)))
        kept = tf.tensor_scatter_nd_update(tf.ones_like(ids, tf.bool), at + 1, tf.zeros_like(first, tf.bool))
        ids, owners, ranks = (tf.boolean_mask(each, kept) for each in (ids, owners, ranks))
        at = first - tf.range(tf.size(first))  # where they stand now
        changed = tf.concat([at, tf.boolean_mask(at, at > 0) - 1], 0)
        return ids, owners, tf.tensor_scatter_nd_update(ranks, changed[:, None], ranks_at(ids, owners, changed))

    def some_steps(ids, owners, ranks, done_ids, done_owners):
        """Takes 16 steps, and puts the words that are whole aside."""
        ids, owners, ranks = tf.while_loop(
            lambda ids, owners, ranks: tf.reduce_any(ranks < none),
            step,
            (ids, owners, ranks),
            shape_invariants=(tf.TensorShape([None]),) * 3,
            maximum_iterations=16,
        )
        alive = least(ranks, owners) < none
        done_ids = tf.concat([done_ids, tf.boolean_mask(ids, ~alive)], 0)
        done_owners = tf.concat([done_owners, tf.boolean_mask(owners, ~alive)], 0)
        return *(tf.boolean_mask(each, alive) for each in (ids, owners, ranks)), done_ids, done_owners

    def ranks_at(ids, owners, places):
        after = tf.minimum(places + 1, tf.size(ids) - 1)
        inside = (after > places) & (tf.gather(owners, places) == tf.gather(owners, after))
        return tf.where(inside, rank_of(tf.gather(ids, places), tf.gather(ids, after)), none)

    def ids_of(texts):
        unique, where = tf.unique(texts)
        split = symbols(unique)
        ids, owners = split.flat_values, split.value_rowids()
        if words:
            whole = tf.gather(module.words.lookup(unique), owners)
            begins = tf.concat([[True], owners[1:] != owners[:-1]], 0)[: tf.size(owners)]
            ids = tf.where(whole < 0, ids, tf.where(begins, whole, -1))
        known = ids >= 0
        ids, owners = tf.boolean_mask(ids, known), tf.boolean_mask(owners, known)
        ranks = ranks_at(ids, owners, tf.range(tf.size(ids)))
        empty = (tf.zeros([0], tf.int32), tf.zeros([0], tf.int64))
        *_, ids, owners = tf.while_loop(
            lambda ids, *_: tf.size(ids) > 0,
            some_steps,
            (ids, owners, ranks, *empty),
            shape_invariants=(tf.TensorShape([None]),) * 5,
        )
        order = tf.argsort(owners, stable=True)
        ids, owners = tf.gather(ids, order), tf.gather(owners, order)
        count = tf.size(unique, tf.int64)
        return tf.gather(tf.RaggedTensor.from_value_rowids(ids, owners, nrows=count, validate=False), where)

    return ids_of, module


def _table(tf, keys, values, default):
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), default)


def files_as_json(vocabulary, merges, added, ends, options):
    """Returns the `tokenizer.json` of GPT-2's two files, as `transformers` reads them.

    Args:
        vocabulary: dict of str to int, of `vocab.json`.
        merges: str, the text of `merges.txt`.
        added: list of tokens that are cut out of a text first: their texts, or dicts with "content" and "id".
        ends: pair of str, the tokens around a text; `None` for none.
        options: dict, a `tokenizer_config.json`: `add_prefix_space`.

    Raises:
        ValueError: if a token that is put around a text is not in the vocabulary.
    """
    pairs = [line for line in merges.split("\n") if line and not line.startswith("#version")]
    level = {"type": "ByteLevel", "add_prefix_space": bool(options.get("add_prefix_space")), "trim_offsets": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokens = {}
    for token in added:
        token = {"content": token, "id": vocabulary[token]} if isinstance(token, str) else token
        tokens.setdefault(token["content"], {**flags, **token})
    around = None
    if ends is not None:
        places = vocabulary | {token["content"]: token["id"] for token in tokens.values()}
        if not all(end in places for end in ends):
            raise ValueError(f"The tokens around a text must be in the vocabulary. Received: {ends!r}.")
        first, last = ((end, places[end]) for end in ends)
        around = {
            "type": "RobertaProcessing",
            "sep": last,
            "cls": first,
            "trim_offsets": True,
            "add_prefix_space": False,
        }
    parts = {
        "added_tokens": sorted(tokens.values(), key=lambda token: token["id"]),
        "normalizer": None,
        "pre_tokenizer": {**level, "use_regex": True},
        "post_processor": around,
        "decoder": {**level, "use_regex": True},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": pairs},
    }
    return json.dumps({"version": "1.0", "truncation": None, "padding": None, **parts}, ensure_ascii=False)
