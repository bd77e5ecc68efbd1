"""Documents: where they come from, and that nothing held out was seen."""

import builtins

import pytest
import python_text

pytestmark = pytest.mark.once  # texts alone


def test_no_paragraph_of_the_reference_stands_in_two_topics():
    topics = python_text.load_topics()
    owners = {}
    for name, text in topics.items():
        for part in text.split("\n\n"):
            assert owners.setdefault(part.strip(), name) == name
    assert len(topics) > 50
    assert sum(map(len, topics.values())) > 250_000


def test_a_python_without_its_documentation_is_told_what_to_do(monkeypatch):
    load = builtins.__import__

    def fail(name, *args, **kwargs):
        if name.startswith("pydoc_data"):
            raise ImportError(name)
        return load(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(ImportError, match="--dataset sources"):
        python_text.load_topics()


def test_sources_are_the_library_and_not_its_tests():
    sources = python_text.load_sources()
    assert "json/decoder.py" in sources
    folders = {part for path in sources for part in path.split("/")[:-1]}
    assert "unittest" in folders
    assert not folders & {"test", "tests", "idle_test", "site-packages"}
    assert sum(map(len, sources.values())) > 5_000_000


def test_a_split_keeps_documents_whole_and_takes_about_its_share():
    documents = {f"d{i}": "x" * (100 + i) for i in range(50)}
    train, held_out = python_text.split(documents, held_out=0.2)
    assert not set(train) & set(held_out)
    assert {**train, **held_out} == documents
    share = sum(map(len, held_out.values())) / sum(map(len, documents.values()))
    assert 0.15 < share <= 0.2
    assert python_text.split(documents, held_out=0.2) == (train, held_out)
    assert python_text.split(documents, held_out=0.2, seed=1) != (train, held_out)


@pytest.mark.parametrize(
    ("documents", "share"), [({"a": "x"}, 0.1), ({"a": "x", "b": "y"}, 0), ({"a": "", "b": ""}, 1)]
)
def test_a_split_that_leaves_nothing_is_refused(documents, share):
    with pytest.raises(ValueError, match="`documents` must be two at least, and `held_out` between 0 and 1. Received"):
        python_text.split(documents, share)


def test_tiny_shakespeare_comes_through_tensorflow_datasets(monkeypatch):
    datasets = pytest.importorskip("tensorflow_datasets")

    class Text:
        def numpy(self):
            return b"ROMEO: O"

    monkeypatch.setattr(datasets, "load", lambda name: {"train": [{"text": Text()}], "test": [{"text": Text()}]})
    assert python_text.load_tiny_shakespeare() == {"train": "ROMEO: O", "test": "ROMEO: O"}

    def offline(name):
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load", offline)
    with pytest.raises(OSError, match=r"needs a network once. Without one: --dataset topics. \(ConnectionError: no"):
        python_text.load_tiny_shakespeare()
