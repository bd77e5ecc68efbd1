r"""The patterns by which tokenizers split texts into words, run inside a graph.

RE2, which TensorFlow has, looks ahead nowhere, and its `\s` and `\p{L}` are not those of `tokenizers`. So each character is
replaced by one letter for all that the pattern cannot tell apart, and the pattern is written over these letters. What it looks
ahead for is written into the letters too: the last of several spaces before a word has letters of its own.
"""

import re
import string

import numpy as np

from . import code_points

_LETTERS = string.ascii_letters + string.digits
_SPACE = r"\s"
_PARTS = re.compile(
    r"""(?P<ahead> (?<![^|(]) \\s\+\(\?!\\S\) (?![^|)]) )      # all spaces but the one before a word
    | (?P<character> \\[pP]\{\^?\w+\} | \\[sSdDwWrntfv] | \\[^a-zA-Z0-9]
                   | \[\^?(?:\\.|[^\[\]\\])+\] | [^\\()\[\]{}|?*+.^$] )
    | (?P<times> (?:[?*+]|\{\d+(?:,\d*)?\}) \?? )
    | (?P<open> \((?:\?i?:)? ) | (?P<close> \) ) | (?P<or> \| )""",
    re.VERBOSE,
)


def letters_of(pattern):
    r"""Returns a pattern over letters that splits as one over characters does.

    Args:
        pattern: str, of characters, classes, alternatives, groups (also `(?i:...)`) and repetitions, with
            `\s+(?!\S)` as the one alternative that looks ahead.

    Returns:
        The pattern, a str; the letter of each character, uint8 (1,114,112,); and the letter that stands for each letter
        (256,) where it is white space before something else, the same letter where that is nothing to the pattern.

    Raises:
        ValueError: if the pattern has anything else.
    """
    parts = _parts(pattern)
    looks_ahead = any(kind == "ahead" for kind, _ in parts)
    atoms = list(dict.fromkeys([text for kind, text in parts if kind == "character"] + [_SPACE] * looks_ahead))
    keys = np.zeros(code_points.COUNT, np.int64)
    for index, atom in enumerate(atoms):
        keys |= code_points.matching(atom).astype(np.int64) << index
    found, numbers = np.unique(keys, return_inverse=True)
    spaces = [looks_ahead and bool(key >> atoms.index(_SPACE) & 1) for key in found]
    if len(atoms) > 62 or len(found) + sum(spaces) > len(_LETTERS):
        raise ValueError(
            f"A split must be by a pattern that tells at most 62 kinds of characters apart. Received: {pattern!r}."
        )
    pool = iter(_LETTERS)
    plain = [next(pool) for _ in found]
    marked = [next(pool) if space else letter for space, letter in zip(spaces, plain, strict=True)]

    def written(kind, text):
        if kind == "ahead":
            return f"[{''.join(letter for letter, space in zip(plain, spaces, strict=True) if space)}]+"
        if kind == "character":
            has = [key >> atoms.index(text) & 1 for key in found]
            both = {
                letter for pair, one in zip(zip(plain, marked, strict=True), has, strict=True) if one for letter in pair
            }
            return f"[{''.join(sorted(both)) or '_'}]"
        return "(?:" if kind == "open" else text

    table = np.array([ord(letter) for letter in plain], np.uint8)[numbers]
    before_words = np.arange(256)
    before_words[[ord(letter) for letter in plain]] = [ord(letter) for letter in marked]
    return "".join(written(*part) for part in parts), table, before_words.astype(np.uint8)


def _parts(pattern):
    """Returns the parts of a pattern as pairs of a kind and its text; characters in `(?i:...)` say so."""
    parts, place, ignoring = [], 0, [False]
    while place < len(pattern):
        match = _PARTS.match(pattern, place)
        kind, text = (match.lastgroup, match.group()) if match else (None, "")
        if kind is None or (kind == "times" and (not parts or parts[-1][0] in ("times", "ahead", "open", "or"))):
            raise ValueError(
                "A split must be by a pattern of characters, classes, groups, alternatives and repetitions that looks ahead "
                rf"only in '\s+(?!\S)'. Received: {pattern!r}, which goes on with {pattern[place : place + 20]!r}."
            )
        if kind == "open":
            ignoring.append(ignoring[-1] or text == "(?i:")
        elif kind == "close":
            ignoring.pop()
        parts.append((kind, f"(?i:{text})" if kind == "character" and ignoring[-1] else text))
        place = match.end()
    return parts


def splitter(pattern):
    """Returns a function that splits pieces of a text by a pattern, inside a graph.

    It takes the code points of all pieces, int32 (N,), and their lengths, int64 (P,), and returns the lengths of all words
    and the piece that each is of, both int64 (W,).
    """
    import tensorflow as tf
    import tensorflow_text as tf_text

    pattern, table, before_words = letters_of(pattern)
    table, before_words = tf.constant(table), tf.constant(before_words)

    def split(codes, lengths):
        letters = tf.gather(table, codes)
        marked = tf.gather(before_words, tf.cast(letters, tf.int32))
        pieces = tf.repeat(tf.range(tf.size(lengths)), lengths)
        is_space = marked != letters
        before_word = tf.concat([~is_space[1:] & (pieces[1:] == pieces[:-1]), [False]], 0)[: tf.size(codes)]
        letters = tf.cast(tf.where(is_space & before_word, marked, letters), tf.int32)
        words = tf_text.regex_split(
            tf.strings.unicode_encode(tf.RaggedTensor.from_row_lengths(letters, lengths), "UTF-8"), pattern, pattern
        )
        return tf.cast(tf.strings.length(words.flat_values), tf.int64), words.value_rowids()

    return split
