"""Docstrings that cannot rot: their sections stand in order, their names are those of the signature, their examples run."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re

import keras
import numpy as np
import pytest

import keras_tx
from keras_tx import layers

SECTIONS = ["Args", "Call arguments", "Attributes", "Returns", "Yields", "Raises", "Example", "Reference"]
# What only one backend can run.
NEEDS = {"keras_tx.export": "tensorflow", "keras_tx.distribution": "jax"}
# What wires layers or trains: its code is the same on each backend and takes long to compile. What it shows has tests of its own
# there.
COMPOSED = tuple(
    f"keras_tx.{part}." for part in ("applications", "decoding", "backup", "resizing", "analysis", "pretraining")
)


def public_objects():
    """Every public function and class of the package by its full name, found where it is defined."""
    found, modules = {}, {"keras_tx.applications"}
    for package in (keras_tx, keras_tx.applications):
        modules.update(info.name for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."))
    for module in map(importlib.import_module, sorted(modules)):
        for name, value in vars(module).items():
            here = getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
            if here and (inspect.isfunction(value) or inspect.isclass(value)):
                found[f"{module.__name__}.{name}"] = value
                if inspect.isclass(value):
                    found.update(public_methods(f"{module.__name__}.{name}", value))
    return found


def public_methods(name, value):
    for method, function in vars(value).items():
        function = getattr(function, "__func__", function)
        if inspect.isfunction(function) and function.__doc__ and not method.startswith("_"):
            yield f"{name}.{method}", function


def promised():
    """The functions and classes that a package lists in its `__all__`: those that users are to call."""
    for package in ("layers", "analysis", "applications", "decoding", "losses", "pretraining"):
        try:
            module = importlib.import_module(f"keras_tx.{package}")
        except ModuleNotFoundError:
            continue
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if inspect.isfunction(value) or inspect.isclass(value):
                yield f"{package}.{name}", value


OBJECTS = public_objects()


def documentation(value):
    return inspect.cleandoc(value.__doc__ or "")


def sections(value):
    """The sections of a docstring, in order, by name; what stands before them is under ``."""
    found, current = {"": []}, ""
    fenced = False
    for line in documentation(value).splitlines():
        fenced ^= line.startswith("```")
        header = re.fullmatch(r"([A-Z][a-z]+( [a-z]+)?):", line)
        if header and not fenced:
            current = header[1]
            found[current] = []
        else:
            found[current].append(line)
    return {name: "\n".join(lines).strip("\n") for name, lines in found.items()}


def names_in(section):
    """The names that a section describes, each at the start of a line that is indented once."""
    entries = re.findall(r"^    ([*\w, ]+):(?: |$)", section, flags=re.MULTILINE)
    return [name for entry in entries for name in entry.split(", ")]


def parameters(function):
    """The names of a signature in order, with the stars that mark a rest."""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    found = inspect.signature(function).parameters.values()
    return [stars.get(each.kind, "") + each.name for each in found if each.name not in ("self", "cls")]


def constructor(value):
    return value if inspect.isfunction(value) or dataclasses.is_dataclass(value) else value.__init__


def returns_something(function):
    waiting = ast.parse(inspect.getsource(function)).body[0].body
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Return) and node.value is not None:
            return True
        if not isinstance(node, (ast.FunctionDef, ast.Lambda)):
            waiting.extend(ast.iter_child_nodes(node))
    return False


def examples():
    for name, value in OBJECTS.items():
        for number, code in enumerate(re.findall(r"```python\n(.*?)```", documentation(value), flags=re.DOTALL)):
            marks = [pytest.mark.once] if name.startswith(COMPOSED) else []
            yield pytest.param(name, code, id=f"{name}-{number}", marks=marks)


@pytest.mark.once
def test_the_whole_package_is_looked_through():
    assert {
        "keras_tx.layers.dropout.Dropout",
        "keras_tx.ops.masks.combine",
        "keras_tx.graph.walk.walk",
    } <= OBJECTS.keys()
    assert "keras_tx.applications.text_classifier.TextClassifier" in OBJECTS


@pytest.mark.once
def test_every_public_name_says_what_it_is():
    assert not [name for name, value in OBJECTS.items() if not documentation(value)]


@pytest.mark.once
def test_sections_are_known_and_stand_in_order():
    for name, value in OBJECTS.items():
        found = [section for section in sections(value) if section]
        assert found == [section for section in SECTIONS if section in found], name


@pytest.mark.once
def test_the_arguments_described_are_those_of_the_signature():
    for name, value in OBJECTS.items():
        described = sections(value)
        if "Args" in described:
            assert names_in(described["Args"]) == parameters(constructor(value)), name
        if "Attributes" in described and hasattr(value, "_fields"):
            assert names_in(described["Attributes"]) == list(value._fields), name


@pytest.mark.once
def test_what_users_call_describes_its_arguments_and_what_it_returns():
    for name, value in promised():
        described = sections(value)
        if parameters(constructor(value)):
            assert "Args" in described or "Attributes" in described, name
        if inspect.isfunction(value) and returns_something(value):
            assert "Returns" in described or "Yields" in described, name


@pytest.mark.once
def test_a_layer_describes_its_call_in_its_class_and_nowhere_else():
    for layer in (getattr(layers, name) for name in layers.__all__):
        described = sections(layer)
        assert names_in(described["Call arguments"]) == parameters(layer.call), layer
        assert {"Args", "Returns", "Raises", "Example", "Reference"} <= described.keys() | no_raise(layer), layer
        own = vars(layer)
        documented = [name for name in ("__init__", "build", "call", "get_config") if name in own and own[name].__doc__]
        assert not documented, layer


def no_raise(layer):
    return set() if "raise" in inspect.getsource(layer) or "check" in inspect.getsource(layer) else {"Raises"}


@pytest.mark.parametrize(("name", "code"), [*examples()])
def test_the_example_runs(name, code, tmp_path, monkeypatch):
    needed = next((backend for place, backend in NEEDS.items() if name.startswith(place)), None)
    if needed not in (None, keras.backend.backend()):
        pytest.skip(f"needs {needed}")
    monkeypatch.chdir(tmp_path)
    names = {"keras": keras, "keras_tx": keras_tx, "np": np, "folder": str(tmp_path)}
    exec(compile(code, f"<example of {name}>", "exec"), names)
