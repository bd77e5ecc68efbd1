"""The study of pretraining: texts that give nothing away, objectives of equal cost, and the whole job on a few packages."""

import json
import sys

import keras
import numpy as np
import pretraining_baselines
import pretraining_documents
import pretraining_finetuning
import pretraining_objectives as objectives
import pretraining_texts
import pytest

pytestmark = pytest.mark.once  # the example is run on TensorFlow
PACKAGES = pretraining_texts.PACKAGES
SMALL = {
    **objectives.SETTINGS, "vocabulary": 200, "length": 16, "width": 16, "heads": 2, "intermediate": 16, "generator": 8,
    "blocks": 1, "batch": 8, "document_batch": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder of installed packages, each with a word of its own in every docstring."""
    root = tmp_path_factory.mktemp("python") / "site-packages"
    random = np.random.default_rng(0)
    syllables = ["ra", "to", "mi", "ke", "su", "no", "la", "vi"]
    words = ["".join(random.choice(syllables, 3)) for _ in range(60)]
    for place, package in enumerate(PACKAGES):
        (root / package).mkdir(parents=True)
        for file in range(40):
            parts = []
            for number in range(3):
                text = " ".join([f"own{'abcdefghijkl'[place]}", *random.choice(words, 10), f"of {package}.core"])
                parts.append(f'def f{number}():\n    """{text}"""\n')
            (root / package / f"module_{file}.py").write_text("\n\n".join(parts))
    return root


@pytest.fixture(scope="module")
def texts(packages, tmp_path_factory):
    return pretraining_texts.load(tmp_path_factory.mktemp("kept"), roots=[packages], progress=lambda line: None)


@pytest.fixture(scope="module")
def tokenizer(texts):
    return objectives.Tokenizer(texts.corpus, SMALL["vocabulary"], SMALL["length"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("See `numpy.sum` and np.sum.", "See `package.sum` and package.sum."),
        ("A TFBertModel of TensorFlow, as tf.keras has it", "A TFBertModel of package, as package.package has it"),
        ("scikit-learn, import_torch_module, PyTorch", "package-learn, package, package"),
        ("Nothing is hidden: transform, plot, snapshot", "Nothing is hidden: transform, plot, snapshot"),
    ],
)
def test_words_that_name_a_package_are_hidden(text, expected):
    assert pretraining_texts.hidden(text) == expected


def test_near_duplicates_are_left_out_whichever_file_they_are_in():
    text = "Returns the sum of the elements of an array over a given axis, in the precision of the array itself."
    other = "Draws samples from a normal distribution whose mean and deviation are given for each of the rows."
    found = {"numpy/a.py: 1": text, "jax/b.py: 1": text.replace("array over", "Array  over"), "numpy/c.py: 1": other}
    kept = pretraining_texts.without_copies(found)
    assert len(kept) == 2
    assert kept["numpy/c.py: 1"] == other


def test_no_text_of_a_file_is_in_two_parts_and_none_names_its_package(packages, texts):
    sizes = {name: len(getattr(texts, name)[0]) for name in ("training", "validation", "test")}
    assert sizes["training"] > 2 * sizes["test"] > 4 * sizes["validation"] > 0
    parts = [set(texts.corpus), set(texts.validation[0]), set(texts.test[0])]
    assert not any(one & other for one in parts for other in parts if one is not other)
    assert set(texts.training[0]) <= parts[0]
    assert not any(package in text for part in parts for text in part for package in PACKAGES)
    for text, label in zip(*texts.test, strict=True):
        assert text.startswith(f"own{'abcdefghijkl'[label]} ")


def test_labels_are_drawn_evenly_and_anew_for_each_seed(texts):
    labels = texts.training[1]
    places = [pretraining_texts.draw(labels, 100, seed) for seed in (0, 0, 1)]
    assert sorted(np.bincount(labels[places[0]])) == [8] * 8 + [9] * 4
    np.testing.assert_array_equal(places[0], places[1])
    assert len(set(places[0]) & set(places[2])) < 60


def test_too_few_docstrings_are_refused_by_the_names_of_packages():
    with pytest.raises(ValueError, match="too few of .*'numpy'"):
        pretraining_texts.split({"keras/a.py: 1": "Some text."})


@pytest.mark.parametrize("objective", objectives.OBJECTIVES)
def test_batches_hide_what_their_objective_says_and_are_known_by_their_number(objective, texts, tokenizer):
    ids, documents = tokenizer(texts.corpus[:200]), texts.documents[:200]
    one, other = (objectives.Batches(ids, documents, tokenizer, objective, SMALL, 40) for _ in range(2))
    for first, second in zip(keras.tree.flatten(one[3]), keras.tree.flatten(other[3]), strict=True):
        np.testing.assert_array_equal(first, second)
    hidden = total = 0
    for index in range(40):
        inputs, labels, weights = one[index]
        rows, chosen = inputs["token_ids"], weights["masked_lm"] > 0
        original = ids[one.batches[index]][:, : rows.shape[1]]
        np.testing.assert_array_equal(rows == 0, original == 0)
        restored = rows.copy()
        for row, places in enumerate(inputs["mask_positions"]):
            restored[row, places[chosen[row]]] = labels["masked_lm"][row][chosen[row]]
        np.testing.assert_array_equal(restored, original)
        hidden, total = hidden + chosen.sum(), total + (original > 4).sum()
        if objective == "replaced":
            assert (np.take_along_axis(rows, inputs["mask_positions"], 1)[chosen] == tokenizer.mask_id).all()
        if objective == "documents":
            found = labels["document"].reshape(-1, 2)
            np.testing.assert_array_equal(found[:, 0], found[:, 1])
            np.testing.assert_array_equal(labels["document"], documents[one.batches[index]])
            assert len(np.unique(one.batches[index])) == SMALL["document_batch"]
    assert 0.08 < hidden / total < 0.2


def test_objectives_take_as_many_operations_each(texts, tokenizer):
    corpus, flop, steps = (tokenizer(texts.corpus), texts.documents), 2e10, {}
    for objective in objectives.OBJECTIVES:
        model = objectives.make_pretrainer(objectives.make_encoder(len(tokenizer.vocabulary), SMALL), objective, SMALL)
        steps[objective] = objectives.steps_for(model, corpus, tokenizer, objective, SMALL, flop)
        batches = objectives.Batches(*corpus, tokenizer, objective, SMALL, 100)
        assert 0.9 < steps[objective] * objectives.flop_of_a_batch(model, batches) / flop < 1.1
    assert steps["words"] > 1.5 * steps["spans"]  # two predictions of each hidden token


def test_the_loss_of_documents_is_that_of_the_formula_and_leaves_out_texts_that_stand_alone():
    vectors, documents = np.random.default_rng(0).normal(size=(5, 4)), np.array([[0], [1], [0], [2], [0]])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = np.zeros(5)
    for row in (0, 2, 4):
        near = {other: np.exp(unit[row] @ unit[other] / 0.5) for other in range(5) if other != row}
        expected[row] = -np.log(sum(near[other] for other in (0, 2, 4) if other != row) / sum(near.values()))
    losses = pretraining_documents.SameDocument(temperature=0.5).call(documents, vectors)
    np.testing.assert_allclose(losses, expected, atol=1e-5)


@pytest.mark.slow
def test_the_whole_job_prints_a_table_and_leaves_encoders_and_a_picture(packages, texts, tmp_path, monkeypatch, capsys):
    import pretraining_study

    class Vectors:
        """In the place of MiniLM: how often each word of a package stands in a text."""

        def __call__(self, asked):
            return np.array([[text.count(f"own{letter}") for letter in "abcdefghijkl"] for text in asked], "float32")

    monkeypatch.setattr(pretraining_baselines, "MiniLM", Vectors)
    monkeypatch.setattr(pretraining_texts, "load", lambda folder, one_of: texts)
    monkeypatch.setattr(objectives, "SETTINGS", SMALL)
    monkeypatch.setattr(pretraining_finetuning, "EPOCHS", {60: 12})
    monkeypatch.setattr(pretraining_finetuning, "RATES", {"new": 1e-2, "pretrained": 1e-2})
    arguments = [
        "pretraining_study.py",
        *("--objectives", "documents", "--labels", "60", "--seeds", "2", "--tera", "0.0002", "--output"),
        str(tmp_path),
    ]
    monkeypatch.setattr(sys, "argv", arguments)
    pretraining_study.main()
    *printed, last = capsys.readouterr().out.splitlines()
    printed = "\n".join(printed)
    kinds = ["new", "documents", "tfidf", "minilm"]
    assert all(pretraining_study.NAMES[kind] in printed for kind in kinds)
    assert "s left" in printed
    line = json.loads(last)
    assert list(line["accuracy"]) == kinds
    assert all(len(values["60"]) == 2 for values in line["accuracy"].values())
    assert line["accuracy"]["minilm"]["60"] == [1.0, 1.0]
    assert min(line["accuracy"]["tfidf"]["60"]) > 0.8
    assert max(line["accuracy"]["documents"]["60"]) > 0.15  # by chance 0.083, within 0.017
    assert (tmp_path / "accuracies.png").read_bytes().startswith(b"\x89PNG")
    encoder = keras.models.load_model(tmp_path / "documents.keras")
    assert encoder.output["sequence_output"].shape == (None, None, SMALL["width"])


def test_a_training_is_the_same_whatever_was_trained_before(texts, tokenizer):
    ids, labels = tokenizer(texts.training[0][:50]), texts.training[1][:50]
    given = objectives.make_encoder(len(tokenizer.vocabulary), SMALL).get_weights()
    tune = pretraining_finetuning.Tuner(len(tokenizer.vocabulary), SMALL)
    runs = [
        tune(weights, ids, labels, seed, epochs=2).get_weights()
        for weights, seed in ((None, 0), (given, 0), (None, 1), (None, 0), (given, 0))
    ]
    for one, other in ((0, 3), (1, 4)):
        for first, second in zip(runs[one], runs[other], strict=True):
            np.testing.assert_allclose(first, second, atol=1e-6)
    assert all((first != runs[2][place]).any() for place, first in enumerate(runs[0]) if first.ndim > 1)
