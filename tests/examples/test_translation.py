"""The translation example: its batches, its scores, its talks, and its whole job on a few pairs."""

import json
import sys
import types

import keras
import numpy as np
import pytest

from keras_tx.losses import TokenCrossentropy

pytest.importorskip("babel")
pytest.importorskip("keras_hub")
pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the example exports a SavedModel")
SMALL = {"num_layers": 1, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 64}


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


@pytest.mark.once
@pytest.mark.parametrize("seed", range(4))
def test_the_first_two_batches_show_which_sizes_vary(example, seed):
    # (texts, labels): source and target vary on their own.
    counts = {(3, 2): 10, (9, 2): 30, (9, 7): 10, (3, 7): 4}
    rows = [(texts, labels) for (texts, labels), count in counts.items() for _ in range(count)]
    sources, labels = [[5] * texts for texts, _ in rows], [[6] * (label - 1) + [example.END] for _, label in rows]
    batches = example.Batches(sources, labels, ((4, 3), (10, 3), (10, 8)), 40, seed)
    for _ in range(2):
        first, second = (batches[index] for index in range(2))
        assert (first[0]["source_ids"].shape[1], second[0]["source_ids"].shape[1]) == (4, 10)
        assert (first[1].shape[1], second[1].shape[1]) == (3, 8)
        found = [batches[index][1] for index in range(len(batches))]
        assert sum(map(len, found)) == 10 + 28 + 12  # four to a batch, ten where rows are short
        batches.on_epoch_end()
    source, target = (keras.Input((None,), dtype="int32", name=name) for name in ("source_ids", "target_ids"))
    table = keras.layers.Embedding(8, 8)
    logits = table(target) + keras.ops.mean(table(source), axis=1, keepdims=True)
    model = keras.Model({"source_ids": source, "target_ids": target}, logits)
    model.compile("sgd", TokenCrossentropy(padding_id=0))
    model.fit(batches, epochs=2, shuffle=False, verbose=0)  # which would refuse a shape that it was not shown


def test_the_talks_of_ted_come_as_pairs(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")
    import translation_pairs

    monkeypatch.setattr(translation_pairs.movie_reviews, "reach", lambda *_: None)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", lambda self: None)
    with tfds.testing.mock_data(num_examples=5):
        training, choosing, held_out = translation_pairs.load("ted", count=3)
    assert (len(training), choosing, {name: len(part) for name, part in held_out.items()}) == (3, None, {"test": 5})
    assert all(isinstance(pair.source, str) and isinstance(pair.target, str) for pair in training)
    with pytest.raises(ValueError, match="`validation` must be False for the talks of TED. Received: validation=True"):
        translation_pairs.load("ted", validation=True)


def served_here(command, **_):
    """What the process would print: the script has a test of its own, and the SavedModel of a translator too."""
    import tensorflow as tf

    _, script, folder, *texts = command
    assert script.exists()
    served = tf.saved_model.load(str(folder))
    answers = served.serve(tf.constant(texts)).numpy()
    lines = [json.dumps({"answer": answer.decode(errors="replace")}) for answer in answers]
    return types.SimpleNamespace(stdout="\n".join(lines))


COMPONENTS = [
    ("Battery level", "Nivel de batería"),
    ("Level of {name}", "Nivel de {name}"),
    ("Set {name}. Then wait.", "Establece {name}. Luego espera."),
    ("Door open", "Puerta abierta"),
]


def made(dataset):
    """A few pairs of each dataset, as `translation_pairs.load` gives them."""
    import cldr_pairs

    if dataset == "cldr":
        pairs = cldr_pairs.make_pairs("es", count=200, num_test=8, num_unseen=8)
        return pairs.pop("train"), None, pairs
    training = [
        cldr_pairs.Pair(f"{source} {number}", f"{target} {number}", "zha")
        for number in range(30)
        for source, target in COMPONENTS
    ]
    held_out = [
        cldr_pairs.Pair(f"{source} {number}", f"{target} {number}", "hue")
        for source, target in COMPONENTS
        for number in (40, 41)
    ]
    return training, held_out[:4], {"test": held_out}


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["cldr", "interface"])
def test_the_whole_job_ends_with_scores_a_picture_and_served_sentences(example, dataset, tmp_path, monkeypatch, capsys):
    pytest.importorskip("sacrebleu")
    pytest.importorskip("sklearn")
    pairs = made(dataset)
    monkeypatch.setattr(example.translation_pairs, "load", lambda *_: pairs)
    monkeypatch.setattr(example, "SIZE", SMALL)
    settings = {"vocabulary": 320, "pairs": 200, "lengths": (32,), "epochs": 1}
    monkeypatch.setitem(example.SETTINGS, dataset, example.SETTINGS[dataset] | settings)
    monkeypatch.setattr(example, "SAMPLERS", {"beam 4": example.SAMPLERS["beam 4"]})
    monkeypatch.setattr(example, "subprocess", types.SimpleNamespace(run=served_here))
    arguments = ["--dataset", dataset, "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["translation.py", *arguments])
    example.main()
    printed = capsys.readouterr().out
    parts = pairs[2]
    for row in ("copying the source", "nearest training pair (", "word for word (", "Translator, beam 4"):
        assert printed.count(f"\n  {row}") == len(parts)
    assert "test: 8 texts" in printed
    assert printed.count(" -> ") == 3
    assert "<|" not in printed  # no special token
    assert (tmp_path / "alignment.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "saved_model" / "saved_model.pb").exists()
    assert keras.models.load_model(tmp_path / "model.keras").output_shape[:2] == (None, None)
    result = json.loads(printed.splitlines()[-1])
    assert (result["dataset"], result["seeds"], len(result["seconds"])) == (dataset, 1, 1)
    assert result["scores"].keys() == parts.keys()
    assert ("kept" in result["scores"]["test"]["copying the source"]) == (dataset == "interface")


@pytest.mark.once
def test_a_table_has_means_over_seeds_and_what_lies_between(example, capsys):
    of_seeds = [
        {"copying": {"BLEU": 5.0, "exact": 0.0}, "Translator": {"BLEU": bleu, "exact": 0.5}}
        for bleu in (10.0, 40.0, 16.0)
    ]
    rows = example.report("test", [None] * 1200, of_seeds)
    assert rows["Translator"]["BLEU"] == {"mean": 22.0, "least": 10.0, "most": 40.0}
    printed = capsys.readouterr().out
    assert "test: 1,200 texts" in printed
    assert "BLEU 22.0 (10.0 to 40.0)  exact 0.500\n" in printed
    assert "BLEU 5.0  exact 0.000\n" in printed


@pytest.mark.once
@pytest.mark.parametrize("arguments", [["--seeds", "0"], ["--first-seed", "-1"], ["--dataset", "ted", "--validation"]])
def test_arguments_that_do_not_go_together_are_refused(example, arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["translation.py", *arguments])
    with pytest.raises(SystemExit):
        example.main()
    assert (
        "--seeds must be 1 at least, --first-seed 0 at least, and --validation is not for ted"
        in capsys.readouterr().err
    )
