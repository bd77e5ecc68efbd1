"""A BERT with real weights: the sentence embeddings of `transformers`."""

from pathlib import Path

import keras
import minilm
import numpy as np
import pytest

from keras_tx.applications import load_huggingface, save_huggingface
from keras_tx.checkpoints import Checkpoint

from ...golden import make_minilm

ATOL = 2e-5  # of embeddings of length 1

with np.load(Path(__file__).parents[2] / "golden" / "minilm.npz") as file:
    GOLDEN = dict(file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return minilm.unpack(tmp_path_factory.mktemp("minilm"))


@pytest.fixture(scope="module")
def encoder(folder):
    return load_huggingface(folder)


def test_it_is_the_encoder_that_its_makers_describe(encoder):
    assert encoder.count_params() == 22_713_216
    assert [encoder.get_layer(f"encoder_{index}").num_heads for index in range(6)] == [12] * 6


def test_sentence_embeddings_are_those_of_transformers(encoder):
    embeddings = minilm.embed(encoder, GOLDEN["ids"])
    np.testing.assert_allclose(embeddings, GOLDEN["embeddings"], atol=ATOL)
    assert embeddings[0] @ embeddings[1] > 0.5 > embeddings[0] @ embeddings[4]


def test_real_weights_are_written_as_they_were(encoder, folder, tmp_path):
    save_huggingface(encoder, tmp_path)
    old, new = Checkpoint(folder), Checkpoint(tmp_path)
    assert set(old.shapes) - set(new.shapes) == {"embeddings.position_ids"}
    assert all(np.array_equal(old.read(name), new.read(name)) for name in new.shapes)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="transformers runs on torch")
def test_transformers_agrees_here_and_now(encoder, folder):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.BertTokenizer.from_pretrained(folder)
    rows = tokenizer(make_minilm.SENTENCES, padding=False, truncation=False)["input_ids"]
    ids = make_minilm.padded(rows)
    np.testing.assert_array_equal(ids, GOLDEN["ids"])
    reference = transformers.BertModel.from_pretrained(folder).eval()
    np.testing.assert_allclose(minilm.embed(encoder, ids), make_minilm.sentence_embeddings(reference, ids), atol=ATOL)
