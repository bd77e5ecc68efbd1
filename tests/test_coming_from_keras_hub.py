"""The table for users of keras-hub names what keras-hub and Keras have, all of it, and what this package has."""

import inspect
import re
from pathlib import Path

import keras
import pytest

from keras_tx import decoding, layers

pytestmark = [
    pytest.mark.once,  # signatures alone
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="keras-hub's preprocessing needs TensorFlow"),
]

PAGE = Path(__file__).parents[1] / "docs" / "coming_from_keras_hub.md"
TEXT = PAGE.read_text()
SECTIONS = re.findall(r"^### `([\w.]+)` -> `(\w+)`\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)
# What belongs to a model of keras-hub's own.
OTHERS = re.compile(r".*Converter|SAM.*|AnchorGenerator|BoxMatcher|NonMaxSuppression")


def rows(text):
    """The cells of each row that begins with a name."""
    for line in text.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def section(title):
    return re.search(rf"^## {title}\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL).group(1)


def named(cell):
    return re.fullmatch(r"`([\w.]+)`", cell).group(1)


def arguments(layer):
    """The arguments of the constructor and of the call."""
    found = {}
    for function in (layer.__init__, layer.call):
        found |= inspect.signature(function).parameters
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {name for name, each in found.items() if each.kind not in kinds} - {"self"}


def theirs(name):
    hub = pytest.importorskip("keras_hub")
    return keras.layers.MultiHeadAttention if name.startswith("keras.") else getattr(hub.layers, name)


@pytest.mark.parametrize(("other", "own", "text"), SECTIONS, ids=[f"{other}" for other, *_ in SECTIONS])
def test_every_argument_has_a_row_and_every_row_an_argument(other, own, text):
    listed = list(rows(text))
    # Some versions name their constructor's base arguments as well.
    assert {named(cells[0]) for cells in listed} == arguments(theirs(other)) - {"name", "dtype"}
    for there, here, how in listed:
        if here == "-":
            assert how, f"{there} of {other}: say what to do instead"
            continue
        layer, _, argument = named(here).rpartition(".")
        assert argument in arguments(getattr(layers, layer or own)), f"{there} of {other}"


def test_every_layer_has_a_row():
    hub = pytest.importorskip("keras_hub")
    listed = {named(cells[0]): cells for cells in rows(section("Layers"))}
    assert listed.keys() == {name for name in dir(hub.layers) if name[0].isupper() and not OTHERS.fullmatch(name)}
    for there, here, how in listed.values():
        assert here == "-" and how or hasattr(layers, named(here)), there
    told = {other: own for other, own, _ in SECTIONS if "." not in other}
    assert all(named(listed[other][1]) == own for other, own in told.items())


def test_every_sampler_has_a_row():
    hub = pytest.importorskip("keras_hub")
    listed = {named(cells[0]): cells for cells in rows(section("Samplers"))}
    assert listed.keys() == {name for name in dir(hub.samplers) if name[0].isupper()}
    for there, here, how in listed.values():
        assert here == "-" and how or named(here) in decoding.__all__, there


def test_the_names_in_prose_are_names():
    for name in re.findall(r"`(?:keras_tx\.layers\.)?(\w+)\(", TEXT):
        assert hasattr(layers, name) or hasattr(decoding, name) or name in ("AdamW", "attention"), name
    for path in re.findall(r"`keras_tx\.(\w+)\.(\w+)", TEXT):
        assert hasattr(__import__(f"keras_tx.{path[0]}", fromlist=["x"]), path[1]), path
    for name in re.findall(r"`keras\.layers\.(\w+)", TEXT):
        assert hasattr(keras.layers, name), name
