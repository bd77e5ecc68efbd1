"""Docstrings as a corpus: what is read, kept and tokenized, and the whole job on a little of it, packed and padded."""

import sys

import keras
import numpy as np
import package_docstrings
import pytest
import text_tokens

SMALL = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32, "dropout": 0.0}


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder of installed packages, with modules that are no Python and tests that do not count."""
    root = tmp_path_factory.mktemp("python") / "site-packages"
    for folder in ("package", "package/tests"):
        (root / folder).mkdir(parents=True)
    words = ["array", "of", "the", "values", "returns", "model", "layer", "size", "café", "12"]
    random = np.random.default_rng(0)
    for number in range(30):
        lines = [" ".join(random.choice(words, 12)) for _ in range(1 + number % 7)]
        text = (
            f'"""Module {number} {lines[0]}"""\n\n\ndef f():\n    """Does {number}.\n\n    '
            + "\n    ".join(lines)
            + '"""\n'
        )
        (root / "package" / f"module_{number}.py").write_text(text, encoding="utf-8")
    (root / "package" / "copy.py").write_text((root / "package" / "module_0.py").read_text(), encoding="utf-8")
    (root / "package" / "template.py").write_text(
        '"""A template that is no Python at all, but long enough."""\ndef {{ name }}'
    )
    (root / "package" / "tests" / "test_a.py").write_text('"""A test that nobody needs to read in order to learn."""')
    return root


@pytest.mark.once
def test_each_docstring_is_read_once_and_kept(packages, tmp_path):
    lines = []
    found = package_docstrings.load(tmp_path / "kept.json", roots=[packages], progress=lines.append)
    assert len(found) == 60
    assert len(set(found.values())) == 60
    assert any("café" in text for text in found.values())
    assert not any("template" in text or "nobody" in text for text in found.values())
    assert "files read" in lines[0]
    assert package_docstrings.load(tmp_path / "kept.json", roots=[]) == found  # nothing is read again
    part = package_docstrings.load(tmp_path / "kept.json", megabytes=0.003)
    assert 3000 <= sum(map(len, part.values())) < 4000
    with pytest.raises(ValueError, match="must hold packages with docstrings"):
        package_docstrings.load(tmp_path / "none.json", roots=[tmp_path / "empty"])


@pytest.mark.once
def test_fast_tokens_are_those_of_the_tokenizer_that_is_served(packages, tmp_path):
    texts = list(package_docstrings.load(tmp_path / "kept.json", roots=[packages]).values())
    tokenizer = text_tokens.make_tokenizer("bpe", texts, 300)
    assert list(package_docstrings.encode(tokenizer, texts)) == text_tokens.encode(tokenizer, texts)


@pytest.mark.once
def test_padded_rows_hold_a_document_or_a_piece_of_one(packages, tmp_path):
    texts = list(package_docstrings.load(tmp_path / "kept.json", roots=[packages]).values())
    tokenizer = text_tokens.make_tokenizer("bpe", texts, 300)
    shards = package_docstrings.shards(tokenizer, texts, tmp_path / "shards")
    documents = [[0, *ids] for ids in package_docstrings.encode(tokenizer, texts)]
    assert [each.tolist() for each in package_docstrings.shards(None, None, tmp_path / "shards")] == documents
    ids, labels, weights = package_docstrings.PaddedBatches(shards, 64, 4, steps=2, end_id=0)[0]
    assert ids.shape == labels.shape == (4, 64)
    for held in (False, True):
        inputs, labels, weights = package_docstrings.held_out_rows(documents, 64, packed=held)
        # Each token of a text is a label once, and its end is one.
        assert weights.sum() == sum(map(len, documents))
        assert (len(weights) >= len(documents)) == (not held)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the example exports a SavedModel")
def test_the_whole_job(packages, tmp_path, monkeypatch, capsys):
    import gpt_text_completion as example

    monkeypatch.setattr(package_docstrings, "folders", lambda: [packages])
    monkeypatch.setattr(example, "SIZE", SMALL)
    monkeypatch.setattr(example, "TEMPERATURES", (0.5,))
    monkeypatch.setitem(example.SETTINGS, "bpe", {"vocabulary": 280, "length": 64, "batch": 4, "rate": 1e-2})
    arguments = ["--dataset", "docstrings", "--quick", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["gpt_text_completion.py", *arguments])
    example.main()
    printed = capsys.readouterr().out
    assert "documents" in printed
    bits = float(printed.partition("keras_tx.applications.GPT")[2].split()[0])
    assert 0.5 < bits < 8
    assert keras.models.load_model(tmp_path / "model.keras").output_shape[:2] == (None, None)
    assert (tmp_path / "backup-pack" / "epoch-1").is_dir()
