"""The text completion's whole job, on a little text: train, measure, save, serve, complete."""

import sys

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the example exports a SavedModel")
SMALL = {"num_layers": 1, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 64, "dropout": 0.0}


def sentences():
    rng = np.random.default_rng(0)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "one", "red", "fox", "run", "by"]
    return {f"text {i}": ". ".join(" ".join(rng.choice(words, 8)) for _ in range(30)) for i in range(12)}


@pytest.mark.slow
def test_the_whole_job_ends_with_bits_files_and_completions(tmp_path, monkeypatch, capsys):
    import gpt_text_completion as example

    monkeypatch.setitem(example.DATASETS, "topics", (sentences, ("the cat", "one red fox")))
    monkeypatch.setattr(example, "SIZE", SMALL)
    monkeypatch.setitem(example.SETTINGS, "bpe", {"vocabulary": 280, "length": 32, "batch": 4, "rate": 1e-2})
    monkeypatch.setattr(sys, "argv", ["gpt_text_completion.py", "--epochs", "2", "--output", str(tmp_path)])
    example.main()
    printed = capsys.readouterr().out
    figures = dict(
        line.strip().rsplit("  ", 1) for line in printed.splitlines() if line.startswith("  ") and line[-1].isdigit()
    )
    figures = {name.strip(): float(value) for name, value in figures.items()}
    # Random words are worth log2(12) bits each; what the model makes of them beats bytes all alike by far.
    assert 0.5 < figures["keras_tx.applications.GPT"] < 4
    assert {"gzip", "order-3 n-gram", "xz after the training text"} <= set(figures)
    assert printed.count("--- temperature") == 6
    assert printed.count("the cat") >= 3
    assert "tokens per second" in printed
    assert (tmp_path / "bits_per_byte.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "saved_model" / "saved_model.pb").exists()
    assert keras.models.load_model(tmp_path / "model.keras").output_shape[:2] == (None, None)
