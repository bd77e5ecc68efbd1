"""Which docstrings are trained on, and which are held out."""

import json

import docstring_pairs
import pytest
import summary_pairs

pytestmark = pytest.mark.once
REST = "\n\n" + " ".join(f"word{number}" for number in range(20))


def files():
    """Many files of two packages that are trained on and of two that are not, with lines that come again."""
    made = []
    for package in ("numpy", "scipy", "sklearn"):
        for number in range(200):
            name = f"{package}/part{number}.py"
            docstrings = [
                (f"{package}.f{number}(x)", f"Says what {package} {number} is.{REST} of {package} {number}"),
                (f"{package}.g{number}(x)", f"Gives {number} of them."),
                (f"{package}.h{number}(x)", f"Is the same everywhere.{REST}"),
                (f"{package}.k{number}(x)", f"Says in its first line of {number}\nwhat others say in two."),
            ]
            made.append((name, docstrings))
    return made


@pytest.mark.parametrize("validation", [False, True])
def test_held_out_files_and_packages_share_no_summary_with_the_rest(validation):
    parts = summary_pairs.split(files(), validation)
    held_out = [pair for pairs in parts.held_out.values() for pair in pairs]
    assert {pair.signature.split(".")[0] for pair in parts.held_out["packages"]} == {
        "scipy" if validation else "sklearn"
    }
    assert 2 < len(parts.held_out["files"]) < 60
    trained = parts.training + parts.short
    assert not {pair.summary for pair in held_out} & {pair.summary for pair in trained}
    assert not {pair.text for pair in held_out} & {pair.text for pair in trained}
    lines = [pair.summary for pair in held_out + trained]
    assert len(lines) == len(set(lines))
    packages = {"numpy"} if validation else {"numpy", "scipy"}
    assert {pair.signature.split(".")[0] for pair in trained} == packages
    assert all(pair.text == "" for pair in parts.short)
    assert all(docstring_pairs.is_long(pair) for pair in held_out + parts.training)


def test_what_settings_are_chosen_by_is_not_what_is_reported():
    tested, chosen = (summary_pairs.split(files(), validation).held_out for validation in (False, True))
    for kind in ("files", "packages"):
        assert not {pair.signature for pair in tested[kind]} & {pair.signature for pair in chosen[kind]}


def test_a_copy_of_a_held_out_function_is_not_trained_on_under_another_line():
    copied = files()
    copied[0][1].append(("numpy.copy(x)", f"Calls it otherwise.{REST} of sklearn 7"))
    parts = summary_pairs.split(copied)
    assert "numpy.copy(x)" not in {pair.signature for pair in parts.training}
    assert "sklearn.f7(x)" in {pair.signature for pair in parts.held_out["packages"]}


def test_docstrings_are_read_once_and_kept(tmp_path, monkeypatch):
    module = tmp_path / "thing.py"
    module.write_text(f'def f(x):\n    """Does a thing.{REST}\n    """\n')
    monkeypatch.setattr(docstring_pairs, "files", lambda seed: [("numpy/thing.py", module)])
    first = summary_pairs.load(tmp_path / "kept.json")
    assert [pair.signature for part in (first.training, *first.held_out.values()) for pair in part] == [
        "numpy.thing.f(x)"
    ]
    module.unlink()
    assert summary_pairs.load(tmp_path / "kept.json") == first
    assert json.loads((tmp_path / "kept.json").read_text())[0][0] == "numpy/thing.py"


def test_the_nearest_pair_is_of_another_file():
    pytest.importorskip("sklearn")
    pairs = [
        summary_pairs.Docstring("zoo.cat_runs(x)", "The lazy cat runs.", "Runs.", "zoo/cat.py"),
        summary_pairs.Docstring("zoo.cat_walks(x)", "The lazy cat walks.", "Walks.", "zoo/cat.py"),
        summary_pairs.Docstring("zoo.dog_runs(x)", "A quick dog runs.", "Runs fast.", "zoo/dog.py"),
        summary_pairs.Docstring("zoo.fish(x)", "It swims.", "Swims.", "zoo/fish.py"),
    ]
    asked = summary_pairs.Docstring("sea.cat_walks(y)", "The cat walks.", "?", "sea/cat.py")
    parts = summary_pairs.with_neighbors(summary_pairs.Parts(pairs[:3], pairs[3:], {"files": [asked]}))
    assert [pair.near for pair in parts.training[:1] + parts.held_out["files"]] == ["Runs fast.", "Walks."]
    assert parts.training[2].near == "Runs."
    alone = summary_pairs.with_neighbors(summary_pairs.Parts(pairs[:2], [], {}))
    assert [pair.near for pair in alone.training] == ["", ""]
