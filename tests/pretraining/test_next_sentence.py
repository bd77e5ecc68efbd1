"""Pairs of a text and what follows: true ones follow, false ones are of other documents, and nothing else tells them apart."""

import numpy as np
import pytest
from scipy import stats

from keras_tx.pretraining import next_sentence_pairs

pytestmark = pytest.mark.once  # numpy and tf.data alone

T, PAD, CLS, SEP = 128, 0, 1, 2
FIRST = 10


def corpus(count, seed=0):
    """Documents in which each token occurs once: token - FIRST is its place in the corpus."""
    rng = np.random.default_rng(seed)
    documents, token = [], FIRST
    for _ in range(count):
        sizes = rng.integers(3, 40, rng.integers(1, 60))
        ends = token + np.cumsum(sizes)
        documents.append([np.arange(end - size, end) for end, size in zip(ends, sizes, strict=True)])
        token = ends[-1]
    return documents


def pairs_of(documents, seed=0, length=T, **changes):
    return next_sentence_pairs(documents, seed, length, CLS, SEP, **changes)


def texts_of(pairs):
    """First and last token of A and of B (N, 4)."""
    ids, segments = pairs["token_ids"], pairs["segment_ids"]
    found = []
    for row, segment in zip(ids, segments, strict=True):
        first, second = row[(segment == 0) & (row >= FIRST)], row[(segment == 1) & (row >= FIRST)]
        found.append((first[0], first[-1], second[0], second[-1]))
    return np.array(found)


@pytest.fixture(scope="module")
def documents():
    return corpus(1500)


@pytest.fixture(scope="module")
def pairs(documents):
    return pairs_of(documents)


@pytest.fixture(scope="module")
def owner(documents):
    """The document of each token."""
    sizes = [sum(map(len, document)) for document in documents]
    return np.concatenate([np.full(FIRST, -1), np.repeat(np.arange(len(documents)), sizes)])


def test_rows_are_start_a_separator_b_separator_padding(pairs):
    assert {name: (value.shape[1:], str(value.dtype)) for name, value in pairs.items()} == {
        "token_ids": ((T,), "int32"),
        "segment_ids": ((T,), "int32"),
        "next_sentence_labels": ((), "int32"),
    }
    for ids, segments in zip(pairs["token_ids"], pairs["segment_ids"], strict=True):
        first, second = np.flatnonzero(ids == SEP)
        assert ids[0] == CLS
        assert 1 < first < second - 1
        # A stretch of the corpus each: tokens are numbered through.
        assert (np.diff(ids[1:first]) == 1).all()
        assert (np.diff(ids[first + 1 : second]) == 1).all()
        assert not ids[second + 1 :].any()
        assert segments.tolist() == [0] * (first + 1) + [1] * (second - first) + [0] * (T - 1 - second)


def test_half_of_the_continuations_are_true(pairs):
    labels = pairs["next_sentence_labels"]
    assert set(labels) == {0, 1}
    assert abs(labels.mean() - 0.5) < 3 * 0.5 / np.sqrt(len(labels))


def test_true_continuations_follow_and_false_ones_are_of_another_document(pairs, owner):
    a_first, a_last, b_first, b_last = texts_of(pairs).T
    false = pairs["next_sentence_labels"] == 1
    assert (owner[a_first] == owner[a_last]).all()
    assert (owner[b_first] == owner[b_last]).all()
    np.testing.assert_array_equal(owner[a_last] != owner[b_first], false)
    assert (a_last < b_first)[~false].all()
    full = pairs["token_ids"][:, -1] != PAD
    # Nothing was cut off from a pair that leaves room: B starts where A ends.
    assert (a_last + 1 == b_first)[~false & ~full].all()
    assert (~false & ~full).sum() > 500


def test_pairs_start_and_end_with_sentences_unless_they_are_cut_to_length(documents):
    pairs = pairs_of(documents, short_rate=0.0)
    # Chunks of one sentence, which are cut in the middle, are the last of a document.
    a_first, a_last, b_first, b_last = texts_of(pairs).T
    room = (pairs["token_ids"][:, -1] == PAD) & (pairs["next_sentence_labels"] == 0)
    starts = {sentence[0] for document in documents for sentence in document}
    ends = {sentence[-1] for document in documents for sentence in document}
    assert set(a_first[room]) <= starts
    assert set(b_last[room]) <= ends
    within = [first not in starts for first in b_first[room]]
    assert 0 < np.mean(within) < 0.3


def test_every_continuation_is_used_once(documents):
    # So long that nothing is cut off and a document is one chunk.
    texts = texts_of(pairs_of(documents, length=5000, short_rate=0.0))
    tokens = np.sort(np.concatenate([np.arange(a, b + 1) for a, b in texts.reshape(-1, 2)]))
    every = np.concatenate([np.concatenate(document) for document in documents])
    np.testing.assert_array_equal(tokens, every)


@pytest.mark.parametrize("what", ["length of B", "length of A", "padding", "place of B in its document"])
def test_lengths_and_places_do_not_tell_the_label(documents, pairs, owner, what):
    texts = texts_of(pairs)
    starts = np.searchsorted(owner, np.arange(len(documents)))
    values = {
        "length of A": texts[:, 1] - texts[:, 0],
        "length of B": texts[:, 3] - texts[:, 2],
        "padding": (pairs["token_ids"] == PAD).sum(axis=1),
        "place of B in its document": texts[:, 2] - starts[owner[texts[:, 2]]],
    }[what]
    labels = pairs["next_sentence_labels"]
    assert stats.ks_2samp(values[labels == 0], values[labels == 1]).pvalue > 0.01


def test_padding_tells_little_even_among_thirty_documents(documents):
    some = [pairs_of(documents[:30], seed) for seed in range(60)]
    padding = np.concatenate([(each["token_ids"] == PAD).sum(axis=1) for each in some])
    labels = np.concatenate([each["next_sentence_labels"] for each in some])
    # Of 0.1 if a false B ended where it was cut off, whatever the pair it came to.
    assert stats.ks_2samp(padding[labels == 0], padding[labels == 1]).statistic < 0.04


def test_the_longer_text_is_cut_and_from_both_sides():
    documents = [[np.arange(10, 14), np.arange(14, 54)], [np.arange(60, 64), np.arange(64, 104)]]
    fronts = []
    for seed in range(400):
        texts = texts_of(pairs_of(documents, seed, 23, short_rate=0.0))
        assert (texts[:, 1] - texts[:, 0] == 3).all()
        assert (texts[:, 3] - texts[:, 2] == 15).all()
        fronts.extend((texts[:, 2] - 14) % 50)
    # 24 tokens are lost, each from the front with chance 1/2.
    assert abs(np.mean(fronts) - 12) < 4 * np.sqrt(6 / len(fronts))


def test_texts_of_one_length_are_cut_alike():
    documents = [[np.arange(10, 40), np.arange(40, 70)], [np.arange(70, 100), np.arange(100, 130)]]
    texts = texts_of(pairs_of(documents, 0, 24, short_rate=0.0))
    # 21 tokens: A keeps 11 and B 10, the second being the first to lose one.
    assert (texts[:, 1] - texts[:, 0] == 10).all()
    assert (texts[:, 3] - texts[:, 2] == 9).all()


def test_a_document_of_one_sentence_is_cut_in_its_middle_and_of_one_token_left_out():
    documents = [[[11, 12, 13, 14]], [[21]], [[31, 32]], [[]], []]
    found = [pairs_of(documents, seed, 10) for seed in range(20)]
    true = {tuple(row) for each in found for row in each["token_ids"][each["next_sentence_labels"] == 0].tolist()}
    assert true == {(CLS, 11, 12, SEP, 13, 14, SEP, 0, 0, 0), (CLS, 31, SEP, 32, SEP, 0, 0, 0, 0, 0)}
    assert all(len(each["token_ids"]) == 2 for each in found)


def test_a_document_in_ten_is_shorter():
    sentence = [[9] * 5] * 23
    ids = pairs_of([sentence] * 4000, 0, 118, short_rate=0.1)["token_ids"]
    full = (ids[:, -1] != PAD).sum()
    # The target is one of 2 ... 115, of which 111 ... 115 need all the sentences.
    share = 0.9 + 0.1 * 5 / 114
    assert abs(full - 4000 * share) < 4 * np.sqrt(4000 * share * (1 - share))


@pytest.mark.parametrize("sizes", [(60, 1), (30, 2, 1), (5, 5), (1, 1)])
def test_a_document_with_most_of_the_pairs_draws_from_the_others(sizes):
    tokens = iter(range(FIRST, 100_000))
    documents = [[[next(tokens) for _ in range(5)] for _ in range(4 * size)] for size in sizes]
    owner = np.concatenate([np.full(FIRST, -1), np.repeat(np.arange(len(sizes)), [20 * size for size in sizes])])
    for seed in range(50):
        pairs = pairs_of(documents, seed, 23, short_rate=0.0)
        texts = texts_of(pairs)
        false = pairs["next_sentence_labels"] == 1
        np.testing.assert_array_equal(owner[texts[:, 0]] != owner[texts[:, 2]], false)


def test_the_seed_alone_decides(documents):
    first, again, other = (pairs_of(documents[:20], seed) for seed in ((1, 2), (1, 2), (1, 3)))
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
    assert (first["next_sentence_labels"][:20] != other["next_sentence_labels"][:20]).any()


def test_tf_data_gives_what_numpy_gives(documents):
    tf = pytest.importorskip("tensorflow")
    plain = [[sentence.tolist() for sentence in document] for document in documents[:40]]
    ragged = tf.ragged.constant(plain, ragged_rank=2, dtype=tf.int32)
    dataset = tf.data.Dataset.from_tensor_slices(ragged).batch(10).enumerate()
    dataset = dataset.map(lambda i, batch: pairs_of(batch, (7, i)), num_parallel_calls=4)
    assert dataset.element_spec["token_ids"].shape.as_list() == [None, T]
    for number, found in enumerate(dataset.as_numpy_iterator()):
        batch = slice(10 * number, 10 * number + 10)
        eager = pairs_of(ragged[batch], (7, number))
        for name, value in pairs_of(plain[batch], (7, number)).items():
            assert found[name].dtype == value.dtype
            np.testing.assert_array_equal(found[name], value)
            np.testing.assert_array_equal(eager[name].numpy(), value)


def test_the_shortest_rows_hold_a_token_of_each_text(documents):
    pairs = pairs_of(documents[:5], length=5)
    assert (pairs["token_ids"] != PAD).all()
    assert pairs["segment_ids"].tolist() == [[0, 0, 0, 1, 1]] * len(pairs["segment_ids"])
