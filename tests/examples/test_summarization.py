"""The summarizer: which targets count, and its whole job on a little text."""

import sys

import keras
import numpy as np
import pytest

pytest.importorskip("keras_hub")
pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="its windows are a tf.data.Dataset")
SMALL = {"num_layers": 1, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 64, "dropout": 0.0}


def pairs(count, seed=0):
    rng = np.random.default_rng(seed)
    words = ["red", "blue", "green", "large", "small", "old", "new", "cat", "dog", "fox"]
    made = []
    for _ in range(count):
        first, second, *rest = rng.choice(words, 12)
        made.append((" ".join([first, second, *rest]), f"a {first} {second}"))
    return made


@pytest.fixture
def example(monkeypatch):
    import summarization

    monkeypatch.setattr(summarization, "SIZE", SMALL)
    monkeypatch.setattr(summarization, "LENGTH", 48)
    monkeypatch.setattr(summarization, "LONGEST_SUMMARY", 12)
    return summarization


def test_only_the_summary_and_its_end_count(example):
    import text_tokens

    made = [*pairs(3), ("word " * 100, "a very long one")]
    tokenizer = text_tokens.make_tokenizer("bpe", [text for pair in made for text in pair], 300)
    inputs, targets, weights = example.examples(tokenizer, made, delimiter=2)
    assert inputs.shape == targets.shape == weights.shape == (4, 48)
    np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])
    for row, target, weight, (_, summary) in zip(inputs, targets, weights, made, strict=True):
        counted = target[weight == 1]
        assert counted[-1] == 0
        assert example.text_of(counted[:-1], tokenizer) == summary
        assert row[weight == 1][0] == 2  # the first of them follows the delimiter
        assert (row == 2).sum() == 1


def test_the_copying_baseline_copies(example):
    assert example.first_words([("one two  three\nfour", "x")], 3) == ["one two three"]


def test_rouge_is_one_for_equal_texts_and_zero_for_foreign_ones(example):
    pytest.importorskip("rouge_score")
    made = [("", "the cat sat"), ("", "a dog ran off")]
    assert example.rouge(made, ["the cat sat", "a dog ran off"]) == {"ROUGE-1": 1.0, "ROUGE-L": 1.0}
    assert example.rouge(made, ["x", "y"]) == {"ROUGE-1": 0.0, "ROUGE-L": 0.0}
    half = example.rouge(made[:1], ["sat the"])
    assert half["ROUGE-1"] == pytest.approx(0.8)  # precision 1, recall 2/3
    assert half["ROUGE-L"] == pytest.approx(0.4)  # in order only one word: precision 1/2, recall 1/3


@pytest.mark.slow
def test_the_whole_job_ends_with_scores_beside_the_baseline(example, tmp_path, monkeypatch, capsys):
    pytest.importorskip("rouge_score")
    training = {"sections": pairs(10), "docstrings": pairs(56, seed=1)}
    held_out = {"sections": pairs(4, seed=2), "docstrings": pairs(20, seed=3)}  # batches of 16 and of 4
    texts = [" ".join(pair) for pair in training["docstrings"]]
    monkeypatch.setattr(example, "load", lambda: (training, held_out, texts))
    arguments = ["summarization.py", "--pretrain", "1", "--epochs", "1", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    example.main()
    printed = capsys.readouterr().out
    assert "F1 on 4 held-out sections" in printed
    assert "F1 on 20 held-out docstrings" in printed
    assert printed.count("ROUGE-L") == 4
    assert keras.models.load_model(tmp_path / "model.keras").output_shape[:2] == (None, None)
