"""What pip installs, seen from outside the checkout."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {"keras_tx": "keras_tx", "applications": "keras_tx/applications"}

# Imported inside the functions that need them, so that `import keras_tx` costs no more than `import keras`.
OPTIONAL = {
    "gguf",
    "jax",
    "keras_hub",
    "keras_nlp",
    "matplotlib",
    "safetensors",
    "scipy",
    "sklearn",
    "tensorflow",
    "tensorflow_datasets",
    "tensorflow_text",
    "torch",
    "transformers",
}

IMPORT_ALL = """
import importlib, json, pkgutil
import keras_tx
from keras_tx.applications import *
names = [module.name for module in pkgutil.walk_packages(keras_tx.__path__, "keras_tx.")]
print(json.dumps({name: importlib.import_module(name).__file__ for name in ["keras_tx", *names]}))
"""

IMPORT_AFTER_KERAS = """
import json, sys
import keras
before = {name.partition(".")[0] for name in sys.modules}
import keras_tx
unseen = sorted(set(keras_tx.__all__) - set(dir(keras_tx)))
loaded = [name for name in dir(keras_tx) if f"keras_tx.{name}" in sys.modules]
known = set(keras.saving.get_custom_objects())
for name in keras_tx.__all__:
    getattr(keras_tx, name)
brought = [name.partition(".")[0] for name in sys.modules if name.partition(".")[0] not in before]
print(json.dumps([brought, unseen, loaded, sorted(set(keras.saving.get_custom_objects()) - known)]))
"""

pytestmark = pytest.mark.slow


def run(*command, cwd):
    """The standard output of a command; its errors become the failure."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def last_line(output):
    return json.loads(output.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel made from the sdist made from a copy of the tree, so that no earlier build is in it."""
    folder = tmp_path_factory.mktemp("packaging")
    tree = folder / "tree"
    for name in SOURCES:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    run(
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        folder / "dist",
        tree,
        cwd=folder,
    )
    assert len(list((folder / "dist").glob("keras_tx-*.tar.gz"))) == 1
    (built,) = (folder / "dist").glob("keras_tx-*.whl")
    return built


@pytest.fixture
def fresh_python(tmp_path):
    """The python of a new environment that sees what this one has, but not this one's checkout."""
    env = tmp_path / "env"
    venv.create(env, symlinks=os.name != "nt")
    places = {"base": str(env), "platbase": str(env)}
    site = Path(sysconfig.get_path("purelib", "venv", places))
    # An editable install hangs on a .pth file, and those of a folder named in a .pth file are not read.
    shared = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "dependencies.pth").write_text("\n".join(sorted(shared)) + "\n")
    return Path(sysconfig.get_path("scripts", "venv", places)) / Path(sys.executable).name


@pytest.mark.once
def test_wheel_holds_every_module_of_the_checkout_and_no_other(wheel):
    expected = {
        f"{target}/{path.relative_to(ROOT / source).as_posix()}"
        for source, target in SOURCES.items()
        for path in (ROOT / source).rglob("*.py")
    } | {"keras_tx/py.typed"}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert any(name.endswith("/LICENSE") for name in archive.namelist())
    assert held == expected, "each package folder must be listed under [tool.setuptools] packages"


@pytest.mark.once
def test_applications_are_imported_from_the_wheel(wheel, fresh_python, tmp_path):
    absent = subprocess.run([fresh_python, "-I", "-c", "import keras_tx"], cwd=tmp_path, capture_output=True)
    assert b"No module named 'keras_tx'" in absent.stderr  # so what follows cannot come from the checkout
    pip = (sys.executable, "-m", "pip", "--python", fresh_python)
    run(*pip, "install", "--no-deps", "--no-index", "--quiet", wheel, cwd=tmp_path)
    files = last_line(run(fresh_python, "-I", "-c", IMPORT_ALL, cwd=tmp_path))
    assert "keras_tx.applications" in files
    env = fresh_python.parents[1]
    assert [file for file in files.values() if not Path(file).is_relative_to(env)] == []


def test_import_brings_in_no_optional_package(tmp_path):
    brought, unseen, loaded, registered = last_line(run(sys.executable, "-I", "-c", IMPORT_AFTER_KERAS, cwd=tmp_path))
    assert "keras_tx" in brought
    assert OPTIONAL.isdisjoint(brought)
    # `dir` shows what an editor offers, and loads none of it.
    assert unseen == []
    assert {"decoding", "export", "applications"}.isdisjoint(loaded)
    # All that a model's file may hold is registered at once: its losses and its schedules as its layers.
    assert registered == [f"keras_tx>{name}" for name in ("Beam", "Greedy", "Lookup", "Sample")]


@pytest.mark.once
def test_tests_of_a_checkout_that_is_not_installed_name_the_command(fresh_python, tmp_path):
    refused = subprocess.run(
        [fresh_python, "-I", "-m", "pytest", "-p", "no:cacheprovider", ROOT / "tests"],
        cwd=tmp_path,
        text=True,
        capture_output=True,
    )
    assert refused.returncode == pytest.ExitCode.USAGE_ERROR
    assert "Install the checkout first: pip install -e ." in refused.stderr
