"""Documents packed into rows, so that little of a batch is padding, and what a model is to predict of them."""

import numpy as np

from .. import arguments
from . import tensors


def pack(documents, length, end_id=None, overlap=1, open_rows=64, padding_id=0):
    """Packs documents into rows of one length by first fit: each goes into the first open row that has room for it.

    Nothing but the open rows is held, so the documents may be endless, and a row is given as soon as it is full. If a document
    fits into none of `open_rows` rows, the fullest of them is given, and another begun. The same documents give the same rows.

    A document longer than a row is cut into pieces of a row each, the last one shorter, which are documents of their own from
    then on. Each piece begins with the last `overlap` tokens of the one before, so that with 1 every token but a document's
    first is predicted once.

    Args:
        documents: iterable of documents, each a list or an array of token ids; empty ones are left out.
        length: int of at least 2, T.
        end_id: int, the token put after each document, or `None` where the documents end as they should.
        overlap: int, less than T.
        open_rows: int; more leave less padding, up to a point.
        padding_id: int, what stands in the rest of a row.

    Yields:
        Dicts of three int32 arrays (T,): `token_ids`; `segment_ids`, 1, 2, ... for the tokens of each document in the order in
        which they stand, and 0 for padding; `positions`, from 0 in each document, 0 for padding.

    Raises:
        ValueError: for arguments out of range; for a document that is a text or no sequence of integers in [0, 2**31), by its
            number.

    Example:

    ```python
    rows = list(keras_tx.pretraining.pack([[5, 6, 7], [8, 9], [3, 4, 5]], length=5))
    print(rows[0]["token_ids"], rows[0]["segment_ids"])  # [5 6 7 8 9] [1 1 1 2 2]
    ```

    In `tf.data`, with T = 5:

    ```python
    import tensorflow as tf

    names = ("token_ids", "segment_ids", "positions")
    dataset = tf.data.Dataset.from_generator(
        lambda: keras_tx.pretraining.pack([[5, 6, 7], [8, 9], [3, 4, 5]], length=5),
        output_signature={name: tf.TensorSpec((5,), tf.int32) for name in names},
    )
    batches = dataset.map(keras_tx.pretraining.next_tokens).batch(2)
    ```

    Reference:
        Krell et al. 2021, "Efficient Sequence Packing without Cross-contamination", section 3.
    """
    length = arguments.integer("length", length, least=2)
    overlap = arguments.integer("overlap", overlap, least=0, most=length - 1)
    open_rows = arguments.positive_int("open_rows", open_rows)
    padding_id = arguments.token_id("padding_id", padding_id, 2**31)
    end_id = None if end_id is None else arguments.token_id("end_id", end_id, 2**31)
    return _rows(documents, length, end_id, overlap, open_rows, padding_id)


def _rows(documents, length, end_id, overlap, open_rows, padding_id):
    rows, room = [], []  # of each open row its pieces, and how many tokens fit in
    for piece in _pieces(documents, length, end_id, overlap):
        place = next((place for place, left in enumerate(room) if left >= len(piece)), None)
        if place is None:
            if len(rows) == open_rows:
                fullest = room.index(min(room))
                room.pop(fullest)
                yield _filled(rows.pop(fullest), length, padding_id)
            place = len(rows)
            rows.append([])
            room.append(length)
        rows[place].append(piece)
        room[place] -= len(piece)
        if not room[place]:
            room.pop(place)
            yield _filled(rows.pop(place), length, padding_id)
    for row in rows:
        yield _filled(row, length, padding_id)


def _pieces(documents, length, end_id, overlap):
    for number, document in enumerate(documents):
        ids = check_document(document, number)
        if len(ids) and end_id is not None:
            ids = np.append(ids, np.int32(end_id))
        start = 0
        while start < len(ids):
            yield ids[start : start + length]
            if start + length >= len(ids):
                break
            start += length - overlap


def check_document(document, number, below=2**31):
    """Returns a document as an integer array; raises `ValueError`, with its number, for one that holds no token ids."""
    try:
        ids = np.asarray(document)
        good = ids.ndim == 1 and (not ids.size or ids.dtype.kind in "iu" and 0 <= ids.min() <= ids.max() < below)
    except ValueError:  # rows of unequal lengths
        good = False
    if not good:
        raise ValueError(
            f"`documents` must hold sequences of token ids in [0, {below}); a text must be tokenized first. Received: document "
            f"{number}, {document!r:.80}."
        )
    return ids


def _filled(pieces, length, padding_id):
    row = {name: np.zeros(length, "int32") for name in ("token_ids", "segment_ids", "positions")}
    start = 0
    for number, piece in enumerate(pieces, 1):
        place = slice(start, start + len(piece))
        row["token_ids"][place], row["segment_ids"][place] = piece, number
        row["positions"][place] = np.arange(len(piece))
        start += len(piece)
    row["token_ids"][start:] = padding_id
    return row


def next_tokens(rows) -> tuple:
    """Returns what `model.fit` takes to learn the next token of packed rows: inputs, labels and weights.

    The label of a token is the one that follows it in its document. A document's last token and padding have label 0 and weight
    0, so no label crosses from one document to another. For a mean over the labels that count, take the loss's
    `reduction="mean_with_sample_weight"`.

    Args:
        rows: dict with `token_ids` and `segment_ids`, integers (..., T), arrays or tensors of TensorFlow, as `pack` gives.

    Returns:
        A triple: a dict of `token_ids` and `segment_ids`; labels (..., T) like `token_ids`; weights (..., T), float32.

    Example:

    ```python
    (row,) = keras_tx.pretraining.pack([[5, 6, 7], [8, 9]], length=6)
    inputs, labels, weights = keras_tx.pretraining.next_tokens(row)
    print(labels, weights)  # [6 7 0 9 0 0] [1 1 0 1 0 0]
    ```
    """
    ids, segments = rows["token_ids"], rows["segment_ids"]
    if tensors.in_tensorflow(ids) or tensors.in_tensorflow(segments):
        import tensorflow as tf

        counted = tf.concat([(segments[..., 1:] == segments[..., :-1]), tf.zeros_like(segments[..., :1], tf.bool)], -1)
        counted = tf.logical_and(counted, segments != 0)
        following = tf.concat([ids[..., 1:], tf.zeros_like(ids[..., :1])], -1)
        labels = tf.where(counted, following, tf.zeros_like(ids))
        return {"token_ids": ids, "segment_ids": segments}, labels, tf.cast(counted, tf.float32)
    ids, segments = np.asarray(ids), np.asarray(segments)
    counted = np.zeros(segments.shape, bool)
    counted[..., :-1] = (segments[..., 1:] == segments[..., :-1]) & (segments[..., :-1] != 0)
    labels = np.where(counted, np.roll(ids, -1, axis=-1), 0).astype(ids.dtype)
    return {"token_ids": ids, "segment_ids": segments}, labels, counted.astype("float32")
