"""BERT's tokenizer: the ids of `transformers` on hard texts, eagerly, in tf.data and in a SavedModel."""

from pathlib import Path

import bert_text
import keras
import minilm
import numpy as np
import pytest

import keras_tx
from keras_tx import export

from ..golden import make_minilm

pytestmark = pytest.mark.once  # TensorFlow's tokenizer, whatever the backend of the model

pytest.importorskip("keras_hub")

SMALL = [*bert_text.SPECIAL.values(), "a", "b", "##b", "c", "İ", "é"]

with np.load(Path(__file__).parents[1] / "golden" / "minilm.npz") as file:
    GOLDEN = dict(file)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(minilm, "FILES", ("tokenizer.json",))
        return minilm.vocabulary(minilm.unpack(tmp_path_factory.mktemp("minilm")))


@pytest.fixture(scope="module")
def tokenizer(vocabulary):
    return bert_text.make_tokenizer(vocabulary)


def test_ids_are_those_of_transformers(tokenizer):
    ids = np.asarray(tokenizer(make_minilm.HARD))
    assert ids.dtype == "int32"
    for text, row, expected in zip(make_minilm.HARD, ids, GOLDEN["hard"], strict=True):
        assert row.tolist() == expected.tolist(), ascii(text)


def test_the_differences_that_are_named_are_there(tokenizer):
    words = ["ж" * 50, "ж" * 51, "[SEP]"]
    pieces = tokenizer.tokenize(words).to_list()
    assert len(pieces[0]) > 1  # 100 bytes
    assert pieces[1] == [tokenizer.unknown_id]  # 102 bytes; `transformers` takes up to 100 characters
    assert tokenizer.end_id not in pieces[2]


def test_the_tokenizer_knows_its_special_tokens(tokenizer, vocabulary):
    assert tokenizer.vocabulary == vocabulary
    assert tokenizer.vocabulary_size() == 30522
    special = [getattr(tokenizer, name) for name in ("pad_id", "unknown_id", "start_id", "end_id", "mask_id")]
    assert special == [0, 100, 101, 102, 103]


def test_texts_are_packed_to_a_length_and_cut():
    tokenizer = bert_text.make_tokenizer(SMALL, sequence_length=6)
    pad, start, end = tokenizer.pad_id, tokenizer.start_id, tokenizer.end_id
    a, b, bb, c = (SMALL.index(token) for token in ("a", "b", "##b", "c"))
    expected = [[start, a, bb, c, end, pad], [start, end, pad, pad, pad, pad], [start, a, b, a, b, end]]
    assert np.asarray(tokenizer(["AB ć", "", "a b a b a b"])).tolist() == expected
    assert np.asarray(tokenizer([])).shape == (0, 6)
    cased = bert_text.make_tokenizer(SMALL, lowercase=False)
    assert cased.tokenize(["İ é A"]).to_list() == [[SMALL.index("İ"), SMALL.index("é"), cased.unknown_id]]


def test_it_runs_inside_tf_data():
    import tensorflow as tf

    tokenizer = bert_text.make_tokenizer(SMALL, sequence_length=6)
    texts = tf.data.Dataset.from_tensor_slices(["a b", "c", "b"]).batch(2).map(tokenizer)
    assert [batch.shape for batch in texts] == [(2, 6), (1, 6)]
    assert texts.element_spec.dtype == tf.int32


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's")
@pytest.mark.parametrize("sequence_length", [None, 6])
def test_it_is_exported_with_a_model(sequence_length, tmp_path):
    import tensorflow as tf

    tokenizer = bert_text.make_tokenizer(SMALL, sequence_length)
    sizes = {"num_layers": 1, "num_heads": 1, "hidden_dim": 4, "intermediate_dim": 4}
    encoder = keras_tx.applications.BERT(tokenizer.vocabulary_size(), 8, **sizes)
    model = keras_tx.applications.bert_classifier(encoder, 2)
    path = export.export_saved_model(model, str(tmp_path / "model"), tokenizer=tokenizer)
    texts = ["a bb", "c", ""]
    served = tf.saved_model.load(path)
    np.testing.assert_allclose(served.serve(tf.constant(texts)).numpy(), model(tokenizer(texts)).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("vocabulary", "length", "message"),
    [
        (SMALL[1:], None, r"`vocabulary` must hold .*Received: one without \['\[PAD\]'\]"),
        ([*SMALL, "a"], None, "`vocabulary` must hold each token once"),
        (SMALL, 1, "`sequence_length` must be an integer of 2 or more"),
        (SMALL, 8.0, "`sequence_length` must be an integer of 2 or more"),
    ],
)
def test_wrong_arguments_are_named(vocabulary, length, message):
    with pytest.raises(ValueError, match=message):
        bert_text.make_tokenizer(vocabulary, length)
