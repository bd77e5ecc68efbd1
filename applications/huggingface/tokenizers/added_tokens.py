"""Tokens that are cut out of a text before it is split into words: special tokens, and others that were added to a vocabulary."""

import re

from . import code_points

_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def check(tokens, fast):
    """Raises `ValueError` unless each added token of a `tokenizer.json` has an id of its own and can be cut out in a graph."""
    for token in tokens:
        content, index = token["content"], token["id"]
        if not content or token.get("single_word"):
            raise ValueError(
                f"An added token must have a content, and no 'single_word', which is not implemented. Received: {token!r}."
            )
        if fast.token_to_id(content) != index:
            raise ValueError(
                "An added token must have the id that comes next, or that the vocabulary has for it. Received: "
                f"{content!r} with the id {index}, where that is {fast.token_to_id(content)}."
            )
        if token.get("normalized") and fast.normalizer and fast.normalizer.normalize_str(content) != content:
            raise ValueError(f"An added token that is normalized must be normal already. Received: {token!r}.")


def cutter(tokens):
    """Returns a function that cuts tokens out of pieces of texts, inside a graph, and the tables that it reads.

    It takes pieces, strings (P,) of whole characters, and the id of those that are tokens already, int32 (P,), -1
    elsewhere. It returns pieces, ids and, int64, the piece that each was cut from. A text between tokens may be empty.

    Args:
        tokens: list of dicts, as in a `tokenizer.json`.
    """
    import tensorflow as tf

    # RE2 takes the first alternative that fits: the longest, as in the package.
    contents = sorted((token["content"] for token in tokens), key=lambda content: len(content.encode()), reverse=True)
    pattern = "|".join(map(_escaped, contents))
    module = tf.Module()
    keys, ids = [token["content"] for token in tokens], [token["id"] for token in tokens]
    module.ids = _table(tf, keys, ids)
    blank = f"[{code_points.re2_class(code_points.matching(chr(92) + 's'))}]+"
    strips = {}
    for side in ("lstrip", "rstrip"):
        hungry = [token["content"] for token in tokens if token.get(side)]
        if hungry:
            strips[side] = _table(tf, hungry, [0] * len(hungry))
    module.strips = list(strips.values())

    def cut(pieces, ids):
        whole = ids >= 0
        # `regex_split` ends a text at a NUL, so the tokens are set between bytes that UTF-8 has not.
        apart = tf.strings.regex_replace(tf.where(whole, "x", pieces), f"({pattern})", b"\xff\\1\xff")
        words = tf.strings.split(apart, b"\xff")
        words = tf.ragged.boolean_mask(words, words.with_flat_values(words.flat_values != ""))
        owners, flat = words.value_rowids(), words.flat_values
        inside = tf.gather(whole, owners)
        found = tf.where(inside, tf.gather(ids, owners), module.ids.lookup(flat))
        flat = tf.where(inside, tf.gather(pieces, owners), flat)
        text, same = found < 0, owners[1:] == owners[:-1]
        for side, table in strips.items():
            hungry = (table.lookup(flat) == 0) & ~inside
            if side == "lstrip":
                beside, at = tf.concat([hungry[1:] & same, [False]], 0)[: tf.size(flat)], f"{blank}$"
            else:
                beside, at = tf.concat([[False], hungry[:-1] & same], 0)[: tf.size(flat)], f"^{blank}"
            flat = tf.where(beside & text, tf.strings.regex_replace(flat, at, "", replace_global=False), flat)
        return flat, found, owners

    return cut, module


def _escaped(content):
    return re.sub(r"([^\w\s])", r"\\\1", content, flags=re.ASCII) if content.isascii() else re.escape(content)


def _table(tf, keys, values):
    return tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant(keys, tf.string), tf.constant(values, tf.int32)), -1
    )
