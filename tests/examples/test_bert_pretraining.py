"""The pretraining example: batches known by their numbers, a training that survives a kill, the whole job on a little text."""

import os
import signal
import subprocess
import sys
import time

import bert_batches
import bert_corpus
import bert_text
import keras
import numpy as np
import pytest

from . import small_pretraining

pytestmark = pytest.mark.once  # numpy, and the example as it is run

EPOCHS = 6

on_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the example is run on TensorFlow")


def batches(objective, seed=0):
    tokenizer = bert_text.make_tokenizer([*bert_text.SPECIAL.values(), *"abcdefg", "##h", "##i", "##j"])
    random = np.random.default_rng(0)
    documents = [[[*random.integers(5, 15, 6)] for _ in range(8)] for _ in range(30)]
    return bert_batches.PretrainingBatches(documents, tokenizer, 32, 8, objective, seed)


@pytest.mark.parametrize("objective", bert_batches.OBJECTIVES)
def test_a_batch_is_known_by_its_epoch_and_its_number(objective):
    one, other = batches(objective), batches(objective)
    one.start_epoch(3)
    for epoch in range(4):
        other.start_epoch(epoch)
        other[0]
    for ours, theirs in zip(keras.tree.flatten(one[1]), keras.tree.flatten(other[1]), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    before = one[1][0]["token_ids"]
    one.start_epoch(4)
    assert (one[1][0]["token_ids"] != before).any()


@pytest.mark.parametrize("objective", bert_batches.OBJECTIVES)
def test_a_batch_holds_what_the_model_takes(objective):
    inputs, labels, weights = batches(objective)[0]
    spans = {"span_left", "span_right", "span_offsets"} if objective == "span" else set()
    assert inputs.keys() == {"token_ids", "segment_ids", "mask_positions"} | spans
    assert labels.keys() == weights.keys() == {"masked_lm", "next_sentence"} | ({"span_boundary"} if spans else set())
    real = weights["masked_lm"] > 0
    masked = np.take_along_axis(inputs["token_ids"], inputs["mask_positions"], 1)[real]
    assert 0.5 < (masked == 4).mean() <= 1  # [MASK]
    assert labels["masked_lm"][real].min() >= 5


def test_unigram_counts_predict_what_they_count():
    """Ten tokens that are equally likely: a tenth is right, and the loss is log 10."""
    data = batches("token")
    loss, accuracy = bert_batches.unigram_baseline(data, data)
    assert abs(loss - np.log(10)) < 0.05
    assert abs(accuracy - 0.1) < 0.05


def test_sentences_end_where_they_end():
    expected = ["He came.", 'And "why?" she asked.', "(It rained.)", "The 3.5 km were long!", "No e.g. is cut"]
    assert bert_corpus.sentences("\n".join(expected)) == expected


def test_what_is_held_out_is_nowhere_in_the_training():
    training, held_out = bert_corpus.load_documents()
    seen = {sentence for document in training for sentence in document if len(sentence.split()) > 8}
    others = {sentence for document in held_out for sentence in document if len(sentence.split()) > 8}
    assert len(training) > 1400
    assert len(held_out) > 140
    assert len(seen & others) < 0.001 * len(others)


@on_tensorflow
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_training_goes_on_and_ends_as_if_nothing_had_happened(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    process = start(killed)
    wait_for_epochs(killed / "history.jsonl", 3, process)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    (history, weights), (expected, wanted) = (small_pretraining.train(folder, EPOCHS) for folder in (killed, whole))
    assert [row["epoch"] for row in history] == list(range(EPOCHS))
    for ours, theirs in zip(history, expected, strict=True):
        assert ours.keys() == theirs.keys()
        np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=1e-4)
    assert len(weights) == len(wanted) > 20
    for one, other in zip(weights, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def start(folder):
    command = [sys.executable, small_pretraining.__file__, str(folder), str(EPOCHS)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def wait_for_epochs(path, count, process):
    end = time.monotonic() + 200
    while not path.exists() or len(path.read_text().splitlines()) < count:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
