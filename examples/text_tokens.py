"""Texts as tokens for language models: learned byte pairs or plain bytes, and windows of them to train on."""

import json

import numpy as np

END = "<|endoftext|>"
SPECIAL = [END, "<|title|>", "<|summary|>"]  # ids 0, 1 and 2 of byte pairs


def make_tokenizer(kind, texts, vocabulary_size, split_digits=False, special=()):
    """Returns a keras-hub tokenizer whose id 0 stands for the end of a text.

    Args:
        kind: "bpe" for byte pairs learned from the texts, or "bytes".
        texts: list of str.
        vocabulary_size: int, for byte pairs, whose first ids are those of `SPECIAL`.
        special: list of str, more tokens that are never split, whose ids follow those of `SPECIAL`.
        split_digits: bool, whether each digit of byte pairs is a token of its own, so that no number is a word.
    """
    import keras_hub

    if kind == "bytes":
        return keras_hub.tokenizers.ByteTokenizer(lowercase=False, dtype="int32")  # no text holds the byte 0
    import tokenizers

    learner = tokenizers.Tokenizer(tokenizers.models.BPE())
    splitters = [tokenizers.pre_tokenizers.Digits(individual_digits=True)] if split_digits else []
    splitters.append(tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False))
    learner.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(splitters)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[*SPECIAL, *special],
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    merges = [" ".join(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    return keras_hub.tokenizers.BytePairTokenizer(
        vocabulary=learner.get_vocab(), merges=merges, unsplittable_tokens=[*SPECIAL, *special], dtype="int32"
    )


def encode(tokenizer, texts):
    """Returns the tokens of each text as a list of lists."""
    rows = []
    for start in range(0, len(texts), 64):
        tokens = tokenizer.tokenize(list(texts[start : start + 64]))
        rows += tokens.to_list() if hasattr(tokens, "to_list") else [list(row) for row in tokens]
    return rows


def in_a_row(rows):
    """Returns lists of tokens as one int32 array, each ended by id 0."""
    return np.concatenate([np.array([*row, 0], "int32") for row in rows])


def training_windows(tokens, length, batch, seed=0):
    """Returns an endless tf.data.Dataset of (inputs, targets), each int32 (batch, length), from random places."""
    import tensorflow as tf

    tokens = tf.constant(tokens)

    def window(start):
        piece = tokens[start : start + length + 1]
        return tf.ensure_shape(piece[:-1], (length,)), tf.ensure_shape(piece[1:], (length,))

    last = len(tokens) - length - 1
    starts = tf.data.Dataset.random(seed=seed).map(lambda number: tf.cast(number % last, tf.int32))
    return starts.map(window).batch(batch, drop_remainder=True).prefetch(4)


def repeating_windows(tokens, length, batch, delimiters, seed=0):
    """Returns an endless tf.data.Dataset of (inputs, targets, weights), each (batch, length), for a model that is to quote.

    A row is a piece of text from a random place, a delimiter, the first tokens of the piece, the end, and zeros of
    weight 0.

    Args:
        tokens: int32 array (N,).
        length: int.
        batch: int.
        delimiters: list of int, one of which is drawn for each row.
        seed: int.
    """
    import tensorflow as tf

    tokens, delimiters = tf.constant(tokens), tf.constant(delimiters, tf.int32)
    most = length // 10

    def row(numbers):
        quoted = 2 + tf.cast(numbers[0] % (most - 1), tf.int32)
        size = length // 4 + tf.cast(numbers[1] % (length - length // 4 - most), tf.int32)
        start = tf.cast(numbers[2] % (len(tokens) - length), tf.int32)
        delimiter = delimiters[tf.cast(numbers[3] % len(delimiters), tf.int32)]
        piece = tokens[start : start + size]
        whole = tf.concat([piece, [delimiter], piece[:quoted], [0]], axis=0)
        padded = tf.ensure_shape(tf.pad(whole, [[0, length + 1 - tf.shape(whole)[0]]]), (length + 1,))
        weights = tf.cast(tf.range(length) < tf.shape(whole)[0] - 1, tf.float32)
        return padded[:-1], padded[1:], weights

    numbers = tf.data.Dataset.random(seed=seed).batch(4, drop_remainder=True)
    return numbers.map(row).batch(batch, drop_remainder=True).prefetch(4)


def validation_windows(tokens, length, batch):
    """Returns a tf.data.Dataset of (inputs, targets) that covers the tokens once, but for the rest of a window."""
    import tensorflow as tf

    count = (len(tokens) - 1) // length
    inputs, targets = (tokens[first : first + count * length].reshape(count, length) for first in (0, 1))
    return tf.data.Dataset.from_tensor_slices((inputs, targets)).batch(batch)


def bits_per_byte(model, tokens, num_bytes, length, batch=16):
    """Returns the bits that a model needs for a row of tokens, per byte of their text.

    Windows overlap by half, so that every token but the first ones is predicted from `length / 2` tokens at least. The
    first is predicted from the end of a text.

    Args:
        model: from int32 ids (B, T) to logits (B, T, V).
        tokens: int32 array (N,).
        num_bytes: int, of the text that the tokens spell.
        length: int, even, of a window.
        batch: int, of windows.
    """
    from scipy.special import log_softmax

    row = np.concatenate([[0], tokens]).astype("int32")
    half = length // 2
    starts = np.arange(0, max(len(tokens) - half, 1), half)
    nats = 0.0
    for first in range(0, len(starts), batch):
        group = starts[first : first + batch]
        padded = np.zeros((batch, length + 1), "int32")
        for place, start in zip(padded, group, strict=False):
            piece = row[start : start + length + 1]
            place[: len(piece)] = piece
        scores = log_softmax(np.asarray(model.predict_on_batch(padded[:, :-1]), "float32"), axis=-1)
        chosen = np.take_along_axis(scores, padded[:, 1:, None], axis=-1)[..., 0]
        for start, values in zip(group, chosen, strict=False):
            nats -= values[0 if start == 0 else half : len(row) - 1 - start].sum()
    return nats / np.log(2) / num_bytes
