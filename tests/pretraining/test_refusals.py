"""What the functions refuse, and by what name."""

import numpy as np
import pytest

from keras_tx.pretraining import mask_spans, mask_tokens, next_sentence_pairs

pytestmark = pytest.mark.once  # numpy and tf.data alone

V = 200
IDS = np.full((2, 24), 9)
TWO = [[[11, 12], [13, 14]], [[21, 22], [23, 24]]]


def mask(ids, seed=0, function=mask_tokens, **changes):
    arguments = {"vocabulary_size": V, "mask_id": 4, "num_predictions": 20, "special_ids": (0, 2, 3, 4)}
    return function(ids, seed, **{**arguments, **changes})


def spans(ids, **changes):
    return mask(ids, function=mask_spans, **changes)


def pairs_of(documents, seed=0, length=128, **changes):
    return next_sentence_pairs(documents, seed, length, 1, 2, **changes)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: mask(IDS, num_predictions=25),
            "no masking more positions than exist. Received: num_predictions=25, length 24",
        ),
        (lambda: mask(IDS, num_predictions=0), "`num_predictions` must be a positive integer"),
        (
            lambda: mask(IDS, mask_id=V),
            "`mask_id` must be a token id in .0, vocabulary_size.. Received: mask_id=200 with",
        ),
        (lambda: mask(IDS, mask_id=-1), "`mask_id` must be a token id"),
        (
            lambda: mask(IDS, mask_id=None),
            "`mask_id` must be the id of a mask token. Received: mask_id=None, a vocabulary w",
        ),
        (lambda: mask(IDS, vocabulary_size=0), "`vocabulary_size` must be a positive integer"),
        (lambda: mask(IDS, special_ids=(0, V)), "`special_ids` must be a token id in .* Received: special_ids=200"),
        (lambda: mask(IDS, special_ids=0), "`special_ids` must be a sequence of token ids. Received: special_ids=0"),
        (lambda: mask(IDS, special_ids=range(V)), "`special_ids` must leave an ordinary token .* all 200 ids"),
        (lambda: mask(IDS, rate=0.0), "`rate` must be a number above 0 and at most 1. Received: rate=0.0"),
        (lambda: mask(IDS, rate=1.5), "`rate` must be a number above 0 and at most 1. Received: rate=1.5"),
        (lambda: mask(IDS, mask_rate=-0.1), "`mask_rate` must be a number from 0 to 1. Received: mask_rate=-0.1"),
        (lambda: mask(IDS, random_rate="x"), "`random_rate` must be a number from 0 to 1. Received: random_rate='x'"),
        (lambda: mask(IDS, random_rate=0.3), "must add to at most 1. Received: mask_rate=0.8, random_rate=0.3"),
        (lambda: mask(IDS * 1.0), "`token_ids` must hold integer token ids. Received: token_ids of dtype float64"),
        (
            lambda: mask(IDS + V),
            "`token_ids` must hold token ids in .* Received: ids from 209 to 209 with vocabulary_si",
        ),
        (lambda: mask(IDS - 10), "`token_ids` must hold token ids in .* Received: ids from -1 to -1"),
        (lambda: mask(IDS[None]), r"`token_ids` must have 1 or 2 axes. Received: token_ids of shape \(1, 2, 24\)"),
        (lambda: mask([[1, 2], [3]]), "`token_ids` must be padded to one length. Received: rows of unequal length"),
        (lambda: mask(IDS, word_starts=np.ones(9, bool)), r"`word_starts` must be a bool table .* shape \(9,\) with"),
        (lambda: mask(IDS, word_starts=np.ones(V)), "`word_starts` must be a bool table .* dtype float64"),
        (lambda: mask(IDS, None), "`seed` must be an integer, or a tuple of integers. Received: seed=None"),
        (lambda: mask(IDS, (1, 0.5)), r"`seed` must be an integer, .* Received: seed=\(1, 0.5\)"),
        (lambda: mask(IDS, ()), r"`seed` must be an integer, .* Received: seed=\(\)"),
        (lambda: mask(IDS, -1), "`seed` must hold integers of at least 0. Received: -1"),
    ],
)
def test_bad_arguments_of_masked_tokens_are_named(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_bad_ids_and_seeds_in_tensors_are_named_when_traced_or_when_run():
    tf = pytest.importorskip("tensorflow")
    with pytest.raises(
        ValueError, match="`token_ids` must hold integer token ids. Received: token_ids of dtype float32"
    ):
        mask(tf.ones((2, 24)))
    with pytest.raises(ValueError, match="`token_ids` must be padded to one length. Received: token_ids as a Ragged"):
        mask(tf.ragged.constant([[9], [9, 9]]))
    with pytest.raises(ValueError, match="`seed` must be an integer"):
        mask(IDS, tf.constant(0.5))
    dataset = tf.data.Dataset.from_tensor_slices(IDS + V)
    with pytest.raises(ValueError, match="num_predictions=25, length 24"):
        dataset.map(lambda ids: mask(ids, num_predictions=25))
    with pytest.raises(tf.errors.InvalidArgumentError, match="Received: ids from 209 to 209"):
        next(iter(dataset.map(lambda ids: mask(ids))))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: spans(IDS, num_predictions=25),
            "no masking more positions than exist. Received: num_predictions=25, length 24",
        ),
        (lambda: spans(IDS, mask_id=None), "`mask_id` must be the id of a mask token"),
        (lambda: spans(IDS, padding_id=V), "`padding_id` must be a token id in .* Received: padding_id=200"),
        (lambda: spans(IDS, special_ids=3), "`special_ids` must be a sequence of token ids. Received: special_ids=3"),
        (lambda: spans(IDS, rate=0), "`rate` must be a number above 0 and at most 1. Received: rate=0"),
        (
            lambda: spans(IDS, span_rate=0.0),
            "`span_rate` must be a number above 0 and at most 1. Received: span_rate=0.0",
        ),
        (lambda: spans(IDS, max_span_length=0), "`max_span_length` must be a positive integer"),
        (
            lambda: spans(IDS, max_span_tokens=2.5),
            "`max_span_tokens` must be a positive integer. Received: max_span_t",
        ),
        (lambda: spans(IDS, word_starts=[True]), "`word_starts` must be a bool table"),
        (lambda: spans(IDS, mask_rate=0.95), "must add to at most 1. Received: mask_rate=0.95, random_rate=0.1"),
        (lambda: spans(IDS * 1.0), "`token_ids` must hold integer token ids"),
    ],
)
def test_bad_arguments_of_masked_spans_are_named(make, said):
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: pairs_of([]), "`documents` must hold at least two documents. Received: none"),
        (lambda: pairs_of([[], [[]]]), "`documents` must hold tokens. Received: 2 documents, all of which are empty"),
        (lambda: pairs_of(TWO[:1]), "there is no other to draw a false continuation from. Received: 1 documents, 1 of"),
        (
            lambda: pairs_of([TWO[0], [[9]]]),
            "no other to draw .* Received: 2 documents, 1 of which have two tokens to cut",
        ),
        (lambda: pairs_of("a text"), "a text must be tokenized first. Received: documents='a text'"),
        (lambda: pairs_of(["a text"]), r"a text must be tokenized first. Received: documents\[0\]='a text'"),
        (lambda: pairs_of([*TWO, ["a", "b"]]), r"a text must be tokenized first. Received: documents\[2\]\[0\]='a'"),
        (lambda: pairs_of([[["a"]]]), r"a text must be tokenized first. Received: documents\[0\]\[0\]=\['a'\]"),
        (lambda: pairs_of([[1, 2], [3]]), r"token ids, in lists of .* Received: documents\[0\]\[0\]=1"),
        (lambda: pairs_of([[[1, 2.5]]]), r"must hold integer token ids, .* Received: documents\[0\]\[0\]=\[1, 2.5\]"),
        (
            lambda: pairs_of([[[[1, 2], [3]]]]),
            r"must hold integer token ids, .* Received: documents\[0\]\[0\]=\[\[1, 2\]",
        ),
        (
            lambda: pairs_of([[[5, -1]], [[3]]]),
            r"`documents` must hold token ids in \[0, 2\*\*31\). Received: ids from -1 to 5",
        ),
        (
            lambda: pairs_of(TWO, length=4),
            "`sequence_length` must be an integer of at least 5. Received: sequence_length=4",
        ),
        (lambda: pairs_of(TWO, short_rate=2), "`short_rate` must be a number from 0 to 1. Received: short_rate=2"),
        (lambda: pairs_of([[[2**40, 1]], [[3]]]), "`documents` must hold token ids in .* to 1099511627776"),
        (lambda: pairs_of(TWO, padding_id=-1), r"`padding_id` must be a token id in \[0, "),
        (lambda: pairs_of(TWO, seed=0.5), "`seed` must be an integer"),
        (
            lambda: next_sentence_pairs(TWO, 0, 9, None, 3),
            "`cls_id` must be a token id in .*. Received: cls_id=None",
        ),
    ],
)
def test_bad_arguments_of_pairs_are_named(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_bad_documents_in_tensors_are_named():
    tf = pytest.importorskip("tensorflow")
    with pytest.raises(ValueError, match=r"`documents` must be a RaggedTensor .* of shape \(2, 2, 2\)"):
        pairs_of(tf.constant(TWO))
    with pytest.raises(ValueError, match="a text must be tokenized first. Received: a RaggedTensor of dtype string"):
        pairs_of(tf.ragged.constant([[["a"]]], ragged_rank=2))
    ragged = tf.ragged.constant(TWO[:1], ragged_rank=2)
    with pytest.raises(ValueError, match="there is no other to draw"):
        pairs_of(ragged)
    dataset = tf.data.Dataset.from_tensor_slices(ragged).batch(1).map(pairs_of)
    with pytest.raises(tf.errors.InvalidArgumentError, match="there is no other to draw"):
        next(iter(dataset))
