"""Normalizers that look at one character at a time, inside a graph: what they make of each is asked once, and kept in a table."""

import numpy as np

from . import code_points


def mapper(made):
    """Returns a function that puts other characters into strings (P,), inside a graph.

    Args:
        made: dict of int to str, what becomes of the characters that change; see `code_points.mapped`.
    """
    import tensorflow as tf

    if not made:
        return lambda texts: texts
    numbers = {text: index + 1 for index, text in enumerate(dict.fromkeys(made.values()))}
    sequences = [[], *([ord(character) for character in text] for text in numbers)]
    rows = np.zeros(code_points.COUNT, np.int32)
    rows[list(made)] = [numbers[text] for text in made.values()]
    lengths = np.array([len(each) for each in sequences], np.int32)
    ends = np.cumsum(lengths, dtype=np.int32)
    values = tf.constant([code for each in sequences for code in each] or [0], tf.int32)
    rows, lengths, starts = tf.constant(rows), tf.constant(lengths), tf.constant(ends - lengths)

    def normalize(texts):
        characters = tf.strings.unicode_decode(texts, "UTF-8")
        codes = characters.flat_values
        row = tf.gather(rows, codes)
        counts = tf.where(row > 0, tf.gather(lengths, row), 1)
        places = tf.repeat(tf.range(tf.size(codes)), counts)
        offset = tf.ragged.range(counts).flat_values
        changed = tf.gather(row, places) > 0
        taken = tf.gather(values, tf.where(changed, tf.gather(starts, tf.gather(row, places)) + offset, 0))
        new = tf.where(changed, taken, tf.gather(codes, places))
        ends = tf.concat([[0], tf.cumsum(tf.cast(counts, tf.int64))], 0)
        return tf.strings.unicode_encode(
            tf.RaggedTensor.from_row_splits(new, tf.gather(ends, characters.row_splits)), "UTF-8"
        )

    return normalize
