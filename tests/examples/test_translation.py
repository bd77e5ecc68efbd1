"""The translation example: its batches, its scores, its talks, and its whole job on a few pairs."""

import json
import sys
import types

import keras
import numpy as np
import pytest

pytest.importorskip("babel")
pytest.importorskip("keras_hub")
pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the example exports a SavedModel")
SMALL = {"num_layers": 1, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 64, "dropout": 0.0}


@pytest.fixture
def example():
    import translation

    return translation


def test_batches_hold_rows_of_about_one_length_shifted_right(example):
    sources = [[5] * length for length in (2, 3, 9, 9, 3, 30)]
    labels = [[6] * length + [example.END] for length in (2, 1, 8, 9, 3, 30)]
    batches = example.Batches(sources, labels, (4, 10), tokens=20)
    seen = 0
    for inputs, target in (batches[index] for index in range(len(batches))):
        assert inputs["source_ids"].shape == inputs["target_ids"].shape == target.shape
        assert target.shape[1] in (4, 10)
        np.testing.assert_array_equal(inputs["target_ids"][:, 1:], target[:, :-1])
        assert (inputs["target_ids"][:, 0] == example.START).all()
        assert ((target == example.END).sum(axis=1) == 1).all()
        seen += len(target)
    assert seen == 5  # the row of 30 is too long


def test_scores_are_those_of_sacrebleu_and_exact_matches(example):
    pytest.importorskip("sacrebleu")
    from cldr_pairs import Pair

    pairs = [Pair("a", "uno dos tres cuatro cinco", "x"), Pair("b", "seis siete ocho nueve diez", "x")]
    assert example.score([pair.target for pair in pairs], pairs, "es") == pytest.approx((100.0, 1.0))
    bleu, exact = example.score([pairs[0].target, "once"], pairs, "es")
    assert 0 < bleu < 100
    assert exact == 0.5


def test_the_talks_of_ted_come_as_pairs(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")
    import translation_pairs

    monkeypatch.setattr(translation_pairs.movie_reviews, "reach", lambda *_: None)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", lambda self: None)
    with tfds.testing.mock_data(num_examples=5):
        pairs = translation_pairs.load("ted", count=3)
    assert [len(part) for part in pairs.values()] == [3, 5]
    assert list(pairs) == ["train", "test"]
    assert all(isinstance(pair.source, str) and isinstance(pair.target, str) for pair in pairs["train"])


def served_here(command, **_):
    """What the process would print: the script has a test of its own, and the SavedModel of a translator too."""
    import tensorflow as tf

    _, script, folder, *texts = command
    assert script.exists()
    served = tf.saved_model.load(str(folder))
    answers = served.serve(tf.constant(texts)).numpy()
    lines = [json.dumps({"answer": answer.decode(errors="replace")}) for answer in answers]
    return types.SimpleNamespace(stdout="\n".join(lines))


@pytest.mark.slow
def test_the_whole_job_ends_with_scores_a_picture_and_served_sentences(example, tmp_path, monkeypatch, capsys):
    pytest.importorskip("sacrebleu")
    import cldr_pairs

    pairs = cldr_pairs.make_pairs("es", count=200, num_test=8, num_unseen=8)
    monkeypatch.setattr(example.translation_pairs, "load", lambda *_: pairs)
    monkeypatch.setattr(example, "SIZE", SMALL)
    monkeypatch.setitem(example.SETTINGS, "cldr", {"vocabulary": 320, "pairs": 200, "lengths": (32,), "epochs": 1})
    monkeypatch.setattr(example, "SAMPLERS", {"beam 4": example.SAMPLERS["beam 4"]})
    monkeypatch.setattr(example, "subprocess", types.SimpleNamespace(run=served_here))
    monkeypatch.setattr(sys, "argv", ["translation.py", "--output", str(tmp_path)])
    example.main()
    printed = capsys.readouterr().out
    assert printed.count("word for word") == printed.count("Translator, beam 4") == 2
    assert "test: 8 sentences" in printed
    assert "unseen values: 8 sentences" in printed
    assert printed.count(" -> ") == 3
    assert (tmp_path / "alignment.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "saved_model" / "saved_model.pb").exists()
    assert keras.models.load_model(tmp_path / "model.keras").output_shape[:2] == (None, None)
