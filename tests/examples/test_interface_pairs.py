"""Texts of Home Assistant, from a wheel made up here: read, parted by component, and missed with the command that helps."""

import importlib.metadata
import json
import zlib
from pathlib import Path

import interface_pairs
import pytest
from cldr_pairs import Pair

pytestmark = pytest.mark.once


def of_part(*parts):
    """A name of a component that falls into one of the parts."""
    return next(
        name for name in map("c{}".format, range(1000)) if zlib.crc32(name.encode()) % interface_pairs.PARTS in parts
    )


NAMES = {
    "train": of_part(5),
    "validation": of_part(*interface_pairs.VALIDATION),
    "test": of_part(*interface_pairs.TEST),
}
TEXTS = {
    "train": [
        ("Power level", "Nivel de potencia"),
        ("Power level", "Nivel"),
        ("Power level", "Nivel de potencia"),
        ("Off", "No"),
    ],
    "validation": [("POWER level", "x"), ("Door", "Puerta")],
    "test": [
        ("door", "x"),
        ("Open", "Abierto"),
        ("Open", "Abierta"),
        ("off", "Apagado"),
        ("Set {name}\n\nnow", "Pon {name} ya"),
    ],
}


def write(root, component, language, texts):
    folder = root / "homeassistant" / "components" / component / "translations"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{language}.json").write_text(json.dumps(texts), encoding="utf-8")
    return f"homeassistant/components/{component}/translations/{language}.json"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A folder with what an installed wheel has there, on the path of modules."""
    files = []
    for name, component in NAMES.items():
        for side, language in enumerate(("en", "es")):
            texts = {f"key {number}": pair[side] for number, pair in enumerate(TEXTS[name])}
            files.append(write(tmp_path, component, language, {"config": {"step": texts}, "title": 3}))
    files += [write(tmp_path, "no_spanish", "en", {"title": "Alone"}), "homeassistant/components/zha/manifest.json"]
    about = tmp_path / "homeassistant-2026.11.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.4\nName: homeassistant\nVersion: 2026.11.0\n")
    (about / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_parts_have_components_of_their_own_and_no_source_that_is_trained_on(wheel):
    parts = interface_pairs.load("es")
    assert {name: [pair[:2] for pair in part] for name, part in parts.items()} == {
        "train": [("Power level", "Nivel de potencia"), ("Power level", "Nivel"), ("Off", "No")],
        "validation": [("Door", "Puerta")],
        "test": [("Open", "Abierto"), ("Set {name} now", "Pon {name} ya")],
    }
    assert {name: {pair.kind for pair in part} for name, part in parts.items()} == {
        name: {component} for name, component in NAMES.items()
    }
    assert len(interface_pairs.load("es", count=2)["train"]) == 2


def test_what_refers_elsewhere_is_empty_or_is_not_translated_is_left_out(tmp_path):
    source = {"a": {"b": "One", "c": "[%key:common::two%]", "d": "Three"}, "e": "Four", "f": ["Five"], "g": " "}
    target = {"a": {"b": "Uno", "c": "Dos", "d": ""}, "f": ["Cinco"], "g": "Seis"}
    paths = [tmp_path / "en.json", tmp_path / "es.json"]
    for path, texts in zip(paths, (source, target), strict=True):
        path.write_text(json.dumps(texts))
    assert interface_pairs.read(*paths, "zha") == [Pair("One", "Uno", "zha")]


@pytest.mark.parametrize("target", ["xx", "en"])
def test_a_language_that_is_none_of_the_wheel_is_named(wheel, target):
    with pytest.raises(ValueError, match=f"`target` must be one of the wheel's languages, es. Received: '{target}'"):
        interface_pairs.load(target)


def test_a_wheel_that_is_missing_or_holds_no_texts_is_answered_with_the_command(tmp_path, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    for found in (missing, lambda name: None, lambda name: []):
        monkeypatch.setattr(importlib.metadata, "files", found)
        with pytest.raises(
            FileNotFoundError, match="--require-hashes -r requirements-interface.txt .`make interface` does"
        ):
            interface_pairs.load()


def test_the_command_names_a_file_that_pins_the_package():
    root = Path(__file__).parents[2]
    lines = (root / interface_pairs.INSTALL.split()[-1]).read_text().splitlines()
    (pinned,) = [line for line in lines if not line.startswith("#")]
    assert pinned.startswith(f"{interface_pairs.PACKAGE}==2026.11.0 --hash=sha256:")
