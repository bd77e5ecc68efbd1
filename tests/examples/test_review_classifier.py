"""The review classifier's whole job, on a few made-up reviews: train, save, export, draw, serve in another process."""

import sys

import keras
import movie_reviews
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the example exports a SavedModel")


def made_up_reviews():
    rng = np.random.default_rng(0)
    good, bad, other = (
        ["warm", "funny", "moving", "fresh"],
        ["dull", "long", "stale", "weak"],
        ["a", "the", "film", "plot", "cast", "and", "is"],
    )
    texts, labels, films = [], [], []
    for index in range(400):
        label = index % 2
        words = list(rng.choice(good if label else bad, 2)) + list(rng.choice(other, 6))
        texts.append(" ".join(rng.permutation(words)))
        labels.append(label)
        films.append(f"film {index % 20}")
    return np.array(texts, dtype=object), np.array(labels, "int32"), np.array(films, dtype=object)


@pytest.mark.slow
def test_the_whole_job_ends_with_accuracies_files_and_three_served_predictions(tmp_path, monkeypatch, capsys):
    import review_classifier

    monkeypatch.setattr(movie_reviews, "load_reviews", made_up_reviews)
    monkeypatch.setattr(sys, "argv", ["review_classifier.py", "--epochs", "2", "--output", str(tmp_path)])
    review_classifier.main()
    printed = capsys.readouterr().out
    for line in ("TextClassifier", "TF-IDF and logistic regression", "majority class", "Done in"):
        assert line in printed
    assert all(text in printed for text in review_classifier.RAW_TEXTS)
    assert (tmp_path / "attention.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "saved_model" / "saved_model.pb").exists()
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    assert reloaded.output_shape == (None, 2)
