"""Packed rows: no token is lost or moved, little is padding, and no label crosses from one document to another."""

import itertools

import numpy as np
import pytest

from keras_tx import pretraining
from keras_tx.pretraining import next_tokens, pack

pytestmark = pytest.mark.once  # numpy, and tf.data

RANDOM = np.random.default_rng(5)
DOCUMENTS = [RANDOM.integers(1, 1000, size) for size in RANDOM.integers(0, 40, 300)]


def pieces(rows):
    """The documents that rows hold."""
    found = []
    for row in rows:
        ids, segments, positions = (row[name] for name in ("token_ids", "segment_ids", "positions"))
        last = segments.max()
        filled = int((segments > 0).sum())
        assert np.all(np.diff(segments[:filled]) >= 0)
        assert np.all(segments[filled:] == 0)
        assert np.all(ids[filled:] == positions[filled:])
        assert {each.dtype for each in row.values()} == {np.dtype("int32")}
        for segment in range(1, last + 1):
            own = segments == segment
            assert np.array_equal(positions[own], np.arange(own.sum()))
            found.append(tuple(ids[own]))
    return found


@pytest.mark.parametrize("open_rows", [1, 4, 1000])
@pytest.mark.parametrize("end_id", [None, 0])
def test_every_document_stands_in_a_row_once(open_rows, end_id):
    rows = list(pack(iter(DOCUMENTS), 80, end_id=end_id, open_rows=open_rows))
    ended = [tuple(each) + (() if end_id is None else (end_id,)) for each in DOCUMENTS if len(each)]
    assert sorted(pieces(rows)) == sorted(ended)
    again = list(pack([each.tolist() for each in DOCUMENTS], 80, end_id=end_id, open_rows=open_rows))
    assert all(np.array_equal(row[name], other[name]) for row, other in zip(rows, again, strict=True) for name in row)
    filled = np.mean([row["segment_ids"] > 0 for row in rows])
    assert filled > {1: 0.75, 4: 0.9, 1000: 0.96}[open_rows]


@pytest.mark.parametrize("overlap", [0, 1, 3])
def test_long_documents_are_cut_into_pieces_that_overlap(overlap):
    document = np.arange(1, 31)
    found = pieces(pack([document], 8, overlap=overlap))
    assert {len(each) for each in found[:-1]} == {8}
    for first, second in itertools.pairwise(sorted(found)):
        assert second[0] == first[-1] + 1 - overlap
    labels = np.concatenate(
        [next_tokens(row)[1][next_tokens(row)[2] > 0] for row in pack([document], 8, overlap=overlap)]
    )
    if overlap == 1:
        assert sorted(labels) == list(range(2, 31))
    assert list(pack([document[:8]], 8))[0]["segment_ids"].tolist() == [1] * 8


def test_documents_without_an_end_are_packed_as_they_come():
    seen = []

    def endless():
        for number in itertools.count():
            seen.append(number)
            yield [1 + number % 7] * (1 + number % 5)

    rows = list(itertools.islice(pack(endless(), 10, open_rows=4), 50))
    assert len(rows) == 50
    assert len(seen) < 50 * 10 / 3 + 4 * 10


def test_no_label_crosses_between_documents_on_numpy_and_in_tf_data():
    import tensorflow as tf

    rows = list(pack(DOCUMENTS, 41))
    names = ("token_ids", "segment_ids", "positions")
    dataset = tf.data.Dataset.from_generator(
        lambda: pack(DOCUMENTS, 41), output_signature={name: tf.TensorSpec((41,), tf.int32) for name in names}
    )
    whole = next_tokens({name: np.stack([row[name] for row in rows]) for name in names})
    ((inputs, labels, weights),) = dataset.map(next_tokens).batch(len(rows))
    for found, wanted in ((inputs, whole[0]), ({"": labels}, {"": whole[1]}), ({"": weights}, {"": whole[2]})):
        assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    pairs = set()
    for document in DOCUMENTS:
        pairs |= set(itertools.pairwise(document.tolist()))
    real = whole[2] > 0
    assert set(zip(whole[0]["token_ids"][real].tolist(), whole[1][real].tolist(), strict=True)) == pairs
    assert real.sum() == sum(max(len(each) - 1, 0) for each in DOCUMENTS)
    assert np.all(whole[1][~real] == 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 1}, "`length`.*Received: length=1"),
        ({"overlap": 5}, "`overlap`.*Received: overlap=5"),
        ({"open_rows": 0}, "`open_rows`"),
        ({"end_id": -1}, "`end_id`"),
        ({"padding_id": 0.5}, "`padding_id`"),
        ({"documents": "ab"}, "a text must be tokenized first. Received: document 0, 'a'"),
        ({"documents": [[1], [2.0]]}, "Received: document 1"),
        ({"documents": [[[1], [2]]]}, "Received: document 0"),
        ({"documents": [[1, -1]]}, "Received: document 0"),
        ({"documents": [[[1], [2, 3]]]}, "Received: document 0"),
    ],
)
def test_what_cannot_be_packed_is_refused_by_name(arguments, message):
    arguments = {"documents": [[1, 2]], "length": 5, **arguments}
    with pytest.raises(ValueError, match=message):
        list(pretraining.pack(**arguments))
