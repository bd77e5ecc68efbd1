"""Tokens and windows of text, and bits per byte against their definition."""

import keras
import numpy as np
import pytest
import text_tokens

pytest.importorskip("keras_hub")
TEXTS = ["The cat sat on the mat", "the cats — naïve ones — sat\n\n    on mats", "cat"] * 5


@pytest.mark.parametrize("kind", ["bpe", "bytes"])
def test_tokens_spell_their_texts_and_the_first_ids_stand_apart(kind):
    tokenizer = text_tokens.make_tokenizer(kind, TEXTS, 300)
    rows = text_tokens.encode(tokenizer, TEXTS)
    for text, row in zip(TEXTS[:3], rows, strict=False):
        spelled = tokenizer.detokenize(np.array(row, "int32"))
        spelled = spelled.numpy().decode() if hasattr(spelled, "numpy") else spelled
        assert spelled == text
        assert 0 not in row
    joined = text_tokens.in_a_row(rows)
    assert joined.dtype == "int32"
    assert (joined == 0).sum() == len(TEXTS)
    if kind == "bpe":
        assert [tokenizer.id_to_token(i) for i in (0, 1, 2)] == text_tokens.SPECIAL
        assert len(rows[0]) < len(TEXTS[0]) / 2  # the merges are at work
        assert tokenizer.vocabulary_size() <= 300


def test_training_windows_are_pieces_shifted_by_one():
    tokens = np.arange(1000, dtype="int32")
    inputs, targets = next(iter(text_tokens.training_windows(tokens, 8, 4)))
    assert inputs.shape == targets.shape == (4, 8)
    np.testing.assert_array_equal(targets, np.array(inputs) + 1)
    np.testing.assert_array_equal(np.diff(inputs), 1)
    assert len({int(row[0]) for row in inputs}) == 4


def test_repeating_windows_quote_how_they_began():
    tokens = np.arange(10, 1010, dtype="int32")
    inputs, targets, weights = (np.array(x) for x in next(iter(text_tokens.repeating_windows(tokens, 40, 64, [1, 2]))))
    assert inputs.shape == targets.shape == weights.shape == (64, 40)
    np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])
    assert set(inputs[inputs < 10]) == {0, 1, 2}
    for row, target, weight in zip(inputs, targets, weights, strict=True):
        (place,) = np.flatnonzero((row == 1) | (row == 2))
        end = int(weight.sum()) - 1
        assert target[end] == 0
        assert (target[:end] != 0).all()
        np.testing.assert_array_equal(target[place:end], row[: end - place])
        assert end - place >= 2


def test_validation_windows_cover_the_tokens_once():
    tokens = np.arange(26, dtype="int32")
    inputs, targets = zip(*text_tokens.validation_windows(tokens, 8, 2), strict=True)
    np.testing.assert_array_equal(np.concatenate(inputs).ravel(), np.arange(24))
    np.testing.assert_array_equal(np.concatenate(targets).ravel(), np.arange(1, 25))


@pytest.mark.parametrize("count", [1, 5, 7, 8, 9, 40, 61])
def test_bits_per_byte_count_every_token_once(count):
    # What this model predicts depends on the last token alone, so windows make no difference.
    ids = keras.Input((None,), dtype="int32")
    table = keras.layers.Embedding(6, 6, embeddings_initializer=keras.initializers.RandomNormal(stddev=2, seed=1))
    model = keras.Model(ids, table(ids))
    tokens = np.random.default_rng(0).integers(0, 6, count)
    logits = keras.ops.convert_to_numpy(table.embeddings).astype("float64")
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -sum(log_p[before, after] for before, after in zip([0, *tokens[:-1]], tokens, strict=True)) / np.log(2)
    assert text_tokens.bits_per_byte(model, tokens, 3, length=8, batch=2) == pytest.approx(expected / 3, rel=1e-5)
