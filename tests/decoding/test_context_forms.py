"""Rows of unequal length come in several forms, and inputs of fixed length are filled up where the model ignores padding."""

import keras
import numpy as np
import pytest

from keras_tx import layers
from keras_tx.decoding import Beam, Greedy, generate

SOURCES = [[3, 4, 5], [6], [7, 8, 9, 2, 1, 3]]


class Ragged:
    """As much of a ragged tensor as its rows need, for backends that have none."""

    def __init__(self, rows):
        self.rows = rows

    def to_list(self):
        return self.rows


def ragged(rows):
    if keras.backend.backend() != "tensorflow":
        return Ragged(rows)
    import tensorflow as tf

    return tf.ragged.constant(rows)


def model_of(length, mask_zero=True, reshaped=False, dtype="int32"):
    source, ids = keras.Input((length,), dtype=dtype, name="source"), keras.Input((None,), dtype="int32", name="ids")
    context = keras.layers.Embedding(11, 8, mask_zero=mask_zero)(source)
    context = layers.TransformerEncoder(16, 2)(context)
    if reshaped:
        context = keras.layers.Reshape((2, 4 * length))(context)
    embedding = layers.TokenAndPositionEmbedding(11, 12, 8)
    x = layers.TransformerDecoder(16, 2)(embedding(ids), context)
    return keras.Model([source, ids], layers.TiedLogits(embedding)(x))


@pytest.fixture(scope="module")
def fixed(shake):
    return shake(model_of(8))


def padded(rows, length=8):
    return np.array([[*row, *[0] * (length - len(row))] for row in rows])


def test_an_input_of_fixed_length_is_filled_up(fixed):
    expected = generate(fixed, [[1]] * 3, 4, context={"source": padded(SOURCES)})
    for rows in (SOURCES, ragged(SOURCES), padded(SOURCES, 6), [np.array(row, "int8") for row in SOURCES]):
        assert generate(fixed, [[1]] * 3, 4, context={"source": rows}).tolist() == expected.tolist()


def test_ragged_prompts_are_lists(fixed):
    prompts, context = [[1, 2], [3], [4, 5, 6]], {"source": padded(SOURCES)}
    expected = generate(fixed, prompts, 3, context=context)
    assert generate(fixed, ragged(prompts), 3, context=context).tolist() == expected.tolist()


@pytest.mark.once
@pytest.mark.parametrize("options", [{"mask_zero": False}, {"reshaped": True, "mask_zero": False}])
def test_an_input_of_fixed_length_is_not_filled_up_with_what_the_model_sees(options):
    model = model_of(8, **options)
    with pytest.raises(
        ValueError, match="must have rows of the length that its input has.* 6 tokens of 'source', which takes 8"
    ):
        generate(model, [[1]] * 3, 2, context={"source": padded(SOURCES, 6)})
    with pytest.raises(
        ValueError, match="must have rows of one length, or `pad_id` be padding .* 1 to 6 tokens of 'source'"
    ):
        generate(model, [[1]] * 3, 2, context={"source": SOURCES})


@pytest.mark.once
def test_a_mask_may_be_rows_of_unequal_length(shake):
    source, ids = keras.Input((None,), dtype="int32", name="source"), keras.Input((None,), dtype="int32", name="ids")
    real = keras.Input((None,), dtype="bool", name="real")
    embedding = layers.TokenAndPositionEmbedding(11, 12, 8)
    x = layers.TransformerDecoder(16, 2)(embedding(ids), keras.layers.Embedding(11, 8)(source), context_mask=real)
    model = shake(keras.Model([source, real, ids], layers.TiedLogits(embedding)(x)))
    masks = [[True] * len(row) for row in SOURCES]
    expected = generate(
        model, [[1]] * 3, 3, context={"source": padded(SOURCES, 6), "real": padded(masks, 6).astype(bool)}
    )
    assert generate(model, [[1]] * 3, 3, context={"source": SOURCES, "real": masks}).tolist() == expected.tolist()


@pytest.mark.once
def test_lists_of_numbers_of_unequal_length_are_refused_by_name():
    values, ids = keras.Input((None, 8), name="values"), keras.Input((None,), dtype="int32", name="ids")
    x = layers.TransformerDecoder(16, 2)(layers.TokenAndPositionEmbedding(11, 12, 8)(ids), values)
    model = keras.Model([values, ids], keras.layers.Dense(11)(x))
    rows = [np.ones((2, 8)).tolist(), np.ones((3, 8)).tolist()]
    with pytest.raises(
        ValueError, match="`context` must be an array; .* Received: lists of unequal lengths for 'values'"
    ):
        generate(model, [[1]] * 2, 2, context={"values": rows})


class Letters:
    """A tokenizer of letters, 'a' being 3, that ends each text with 2, as T5's does, and spells no special token."""

    stop_ids = (2,)

    def tokenize(self, text):
        return [*(ord(letter) - 94 for letter in text), 2]

    def detokenize(self, ids):
        return "".join(chr(94 + int(i)) for i in ids if i > 2)


class Bare(Letters):
    """One that adds nothing."""

    def tokenize(self, text):
        return super().tokenize(text)[:-1]


@pytest.mark.parametrize("sampler", [Greedy(), Beam(4, num_return=2)], ids=["greedy", "beam"])
def test_a_translator_answers_texts(fixed, sampler):
    letters, texts, start = Letters(), ["abc", "d", "efghb"], [[1]] * 3
    ids = generate(fixed, start, 5, sampler, 2, context={"source": [letters.tokenize(text) for text in texts]})
    spelled = [letters.detokenize(row) for row in ids.reshape(-1, 6).tolist()]
    assert any(spelled)
    if isinstance(sampler, Beam):
        spelled = [spelled[index : index + 2] for index in range(0, 6, 2)]
    for given in (texts, tuple(texts), np.array(texts), [texts[0], letters.tokenize("d"), texts[2]]):
        assert generate(fixed, start, 5, sampler, tokenizer=letters, context={"source": given}) == spelled
    assert generate(fixed, np.array(start), 5, sampler, tokenizer=letters, context={"source": texts}) == spelled
    assert generate(fixed, start, 0, sampler, tokenizer=letters, context={"source": texts})[0] in ("", ["", ""])


@pytest.mark.once
@pytest.mark.parametrize(
    ("prompts", "source", "tokenizer", "said"),
    [
        (
            [""],
            ["abc"],
            Letters(),
            r"`prompts` must hold .*prompts=\[\[start_id\]\] \* 1. Received: '' in row 0, .* ends with 2",
        ),
        (["a"], ["abc"], Letters(), "Received: 'a' in row 0, which the tokenizer ends with 2"),
        ([[]], ["abc"], Letters(), "`prompts` must be rows of at least one token id"),
        ([5], ["abc"], Letters(), "`prompts` must be strings, or rows of token ids"),
        ([[1]], ["abc"], None, "`context` must hold strings beside a `tokenizer` alone.*'source', and no tokenizer"),
        ([[1]], "abc", Letters(), "must have a row for each prompt. Received: one string, 'abc', for 'source'"),
        ([[1]], [["abc"]], Letters(), r"or strings beside a tokenizer. Received: \['abc'\] in row 0"),
        ([[1]], ["abc", "d"], Letters(), "must have a row for each prompt. Received: 2 rows"),
        ([[1]], [""], Bare(), "`context` must have texts of at least one token. Received: '' in row 0 of 'source'"),
        ([""], ["abc"], Bare(), "Received: '' in row 0, which has no token"),
        ([[1]], ["abc"], object(), "`tokenizer` must have a method `tokenize`"),
    ],
)
def test_texts_that_nothing_is_generated_from_are_refused(fixed, prompts, source, tokenizer, said):
    with pytest.raises(ValueError, match=said):
        generate(fixed, prompts, 2, tokenizer=tokenizer, context={"source": source})


@pytest.mark.once
def test_a_text_is_no_input_of_numbers():
    values, ids = keras.Input((None, 8), name="values"), keras.Input((None,), dtype="int32", name="ids")
    x = layers.TransformerDecoder(16, 2)(layers.TokenAndPositionEmbedding(11, 12, 8)(ids), values)
    model = keras.Model([values, ids], keras.layers.Dense(11)(x))
    with pytest.raises(ValueError, match="strings for 'values', which is no input of token ids"):
        generate(model, [[1]], 2, tokenizer=Letters(), context={"values": ["abc"]})
