"""Next-sentence prediction: pairs of a text and what follows it, or what follows another."""

import numpy as np

from .. import arguments
from . import pairing, rates_and_ids, tensors


def next_sentence_pairs(documents, seed, sequence_length, cls_id, sep_id, padding_id=0, short_rate=0.1) -> dict:
    """Cuts documents into pairs of a text A and its continuation B, and exchanges half of the B between documents.

    The sentences of a document are packed into chunks, each ended by the sentence that reaches the target length (or ends the
    document); the target is T - 3, and for a document in ten a random shorter one. A chunk is cut at a random sentence into A
    and B. One of a single sentence is cut in its middle; one of a single token is left out.

    Each pair then draws its label, with chance 1/2. The pairs of label 1 exchange their B among each other: each gets one of
    another document and, as near as there is, of the same length, which goes on to the sentence that reaches the target if the
    pair did before. So every B is used once, none is lost, and neither a B, nor its length, nor the amount of padding tells
    the label. That takes some hundred documents at once: of very few, the lengths do not match, and where more than half of the
    pairs of label 1 belong to one document, the rest of these borrow a B that is also used elsewhere.

    A pair that is too long loses tokens one at a time from the longer text, from its front or back at random.

    Args:
        documents: list of documents, each a list of sentences, each a list or an array of token ids; or a `tf.RaggedTensor`
            (documents, sentences, tokens), also inside tf.data.
        seed: int, integer scalar tensor, or a tuple of those. The same seed gives the same pairs on numpy and in tf.data.
        sequence_length: int of at least 5, T.
        cls_id: int, the first token of each row.
        sep_id: int, the token after A and after B.
        padding_id: int.
        short_rate: float, the share of documents that are packed to a shorter length.

    Returns:
        A dict of arrays, in the order of the documents; of tensors where `documents` or the seed is one.

        `token_ids`: int32 (N, T), start, A, separator, B, separator, padding.
        `segment_ids`: int32 (N, T), 1 for B and its separator, else 0.
        `next_sentence_labels`: int32 (N,), 0 where B follows A, 1 where it is of another document.

    Raises:
        ValueError: if there are no documents, if all are empty, or if only one gives pairs, there being no other to draw from;
            for an item that is a text or no integers; for a length too small for a token of each text. What only the values
            tell is raised inside tf.data as its `InvalidArgumentError`.

    Example:

    ```python
    documents = [[[11, 12], [13, 14, 15]], [[21, 22, 23], [24], [25, 26]]]
    pairs = keras_tx.pretraining.next_sentence_pairs(documents, seed=0, sequence_length=12, cls_id=2, sep_id=3)
    print(pairs["token_ids"], pairs["segment_ids"], pairs["next_sentence_labels"])
    ```

    Reference:
        Devlin et al. 2019, "BERT", section 3.1 and appendix A.2. In the code published with it the continuation of another
        document starts anywhere, and a chunk of one sentence always gets one.
    """
    length = arguments.integer("sequence_length", sequence_length, 5)
    # The rows are int32, whatever the vocabulary is.
    cls_id, sep_id, padding_id = (
        arguments.token_id(name, value, 2**31)
        for name, value in (("cls_id", cls_id), ("sep_id", sep_id), ("padding_id", padding_id))
    )
    short_rate = rates_and_ids.rate("short_rate", short_rate)

    def pairs(generator, tokens, sentence_splits, document_splits):
        _check_not_empty(tokens, document_splits)
        owners, targets, cuts = _chunks(generator, sentence_splits, document_splits, length - 3, short_rate)
        if len(np.unique(owners)) < 2:
            raise ValueError(
                "`documents` must give pairs from two documents or more: there is no other to draw a false continuation from. "
                f"Received: {len(document_splits) - 1} documents, {len(np.unique(owners))} of which have two tokens to cut."
            )
        labels = generator.integers(0, 2, len(owners))
        source = np.arange(len(owners))
        false = np.flatnonzero(labels)
        source[false] = pairing.exchange(generator, false, owners, cuts[:, 2] - cuts[:, 1])
        texts = np.concatenate([cuts[:, :2], cuts[source, 1:]], axis=1)
        # The end of a true pair that reached its target stays where it is.
        reach = sentence_splits[
            np.searchsorted(sentence_splits[:-1], texts[:, 2] + targets - texts[:, 1] + texts[:, 0])
        ]
        texts[:, 3] = np.clip(reach, texts[:, 3], sentence_splits[document_splits[owners[source] + 1]])
        ids, segments = _pack(tokens, _truncate(generator, texts, length - 3), length, cls_id, sep_id, padding_id)
        return {"token_ids": ids, "segment_ids": segments, "next_sentence_labels": labels.astype("int32")}

    outputs = dict.fromkeys(("token_ids", "segment_ids"), ("int32", (None, length)))
    outputs["next_sentence_labels"] = ("int32", (None,))
    return tensors.call(pairs, _flat(documents), seed, outputs)


def _chunks(generator, sentence_splits, document_splits, longest, short_rate):
    """Of each pair its document and the target if it was reached, else 0; where A starts, B starts and B ends (N, 3)."""
    owners, targets, cuts = [], [], []
    for document, (first, last) in enumerate(zip(document_splits[:-1], document_splits[1:], strict=True)):
        bounds = np.unique(sentence_splits[first : last + 1])  # Empty sentences fall out.
        target = generator.integers(2, longest + 1) if generator.random() < short_rate else longest
        start = 0
        while start < len(bounds) - 1:
            end = min(int(np.searchsorted(bounds, bounds[start] + target)), len(bounds) - 1)
            if end - start > 1:
                cut = bounds[generator.integers(start + 1, end)]
            else:
                cut = (bounds[start] + bounds[end]) // 2
            if cut > bounds[start]:
                owners.append(document)
                targets.append(target if bounds[end] - bounds[start] >= target else 0)
                cuts.append((bounds[start], cut, bounds[end]))
            start = end
    return np.array(owners, dtype=int), np.array(targets, dtype=int), np.array(cuts, dtype=int).reshape(-1, 3)


def _truncate(generator, texts, longest):
    """Start and end of A and of B (N, 4), shortened until both fit."""
    first, second = texts[:, 1] - texts[:, 0], texts[:, 3] - texts[:, 2]
    # Where taking one token at a time from the longer leads to; at equal lengths the second is the one to lose.
    kept = np.minimum(first, np.maximum((longest + 1) // 2, longest - second))
    lost = np.stack([first - kept, second - np.minimum(second, longest - kept)], axis=1)
    front = generator.binomial(lost, 0.5)
    shortened = texts.copy()
    shortened[:, ::2] += front
    shortened[:, 1::2] -= lost - front
    return shortened


def _pack(tokens, texts, length, cls_id, sep_id, padding_id):
    first, second = (texts[:, 1] - texts[:, 0])[:, None], (texts[:, 3] - texts[:, 2])[:, None]
    columns = np.arange(length)[None]
    in_first = (columns >= 1) & (columns <= first)
    in_second = (columns >= first + 2) & (columns <= first + second + 1)
    ends = (columns == first + 1) | (columns == first + second + 2)
    # Where in the tokens each column comes from; anywhere for a column that is no text.
    places = np.where(in_second, texts[:, 2:3] + columns - first - 2, texts[:, :1] + columns - 1)
    ids = np.where(in_first | in_second, tokens[np.clip(places, 0, len(tokens) - 1)], padding_id)
    ids = np.where(ends, sep_id, ids)
    ids[:, 0] = cls_id
    segments = in_second | (columns == first + second + 2)
    return ids.astype("int32"), segments.astype("int32")


def _flat(documents):
    """All tokens in a row, where in it each sentence ends, and where in the sentences each document does."""
    if not tensors.in_tensorflow(documents):
        return _flat_lists(documents)
    if getattr(documents, "ragged_rank", None) != 2 or documents.shape.rank != 3:
        raise ValueError(
            "`documents` must be a RaggedTensor (documents, sentences, tokens), ragged in sentences and in tokens. Received: "
            f"a {type(documents).__name__} of shape {documents.shape}."
        )
    if not documents.dtype.is_integer:
        raise ValueError(
            "`documents` must hold integer token ids; a text must be tokenized first. Received: a RaggedTensor of dtype "
            f"{documents.dtype.name}."
        )
    return [documents.flat_values, documents.values.row_splits, documents.row_splits]


def _flat_lists(documents):
    sentences, counts = [], [0]
    for number, document in enumerate(_items(documents, "documents")):
        for place, sentence in enumerate(_items(document, f"documents[{number}]")):
            sentences.append(_sentence(sentence, f"documents[{number}][{place}]"))
        counts.append(len(sentences))
    ends = np.cumsum([0, *map(len, sentences)])
    return [np.concatenate([np.zeros(0, dtype=int), *sentences]), ends, np.array(counts)]


def _items(value, name):
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__") or getattr(value, "ndim", 1) < 1:
        raise ValueError(
            "`documents` must be a list of documents, each a list of sentences, each a list of token ids; a text must be "
            f"tokenized first. Received: {name}={value!r:.80}."
        )
    return value


def _sentence(value, name):
    try:
        ids = np.asarray(_items(value, name))
        good = ids.ndim == 1 and (not ids.size or ids.dtype.kind in "iu")
    except ValueError:  # Lists of unequal length within: nested too deep. A text is no sentence either.
        good = False
    if not good:
        raise ValueError(
            "`documents` must hold integer token ids, in lists of documents of sentences; a text must be tokenized first. "
            f"Received: {name}={value!r:.80}."
        )
    return ids.astype(int)


def _check_not_empty(tokens, document_splits):
    if len(document_splits) < 2:
        raise ValueError("`documents` must hold at least two documents. Received: none.")
    if not len(tokens):
        raise ValueError(
            f"`documents` must hold tokens. Received: {len(document_splits) - 1} documents, all of which are empty."
        )
    if not 0 <= tokens.min() <= tokens.max() < 2**31:
        raise ValueError(
            f"`documents` must hold token ids in [0, 2**31). Received: ids from {tokens.min()} to {tokens.max()}."
        )
