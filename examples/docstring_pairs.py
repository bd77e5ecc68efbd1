"""Pairs of a text and its summary, from the docstrings of installed packages: PEP 257 sums a docstring up in its first line.

The text is the name and the signature of a function or class, and the rest of its docstring. Pairs are split by file, and
each first line is kept once, so that no summary of the held-out pairs was seen in training.
"""

import ast
import importlib.util
import random
import re
import zlib
from pathlib import Path
from typing import NamedTuple

PACKAGES = (
    "absl", "google", "jax", "keras", "keras_hub", "matplotlib", "mpmath", "networkx", "numpy", "optree", "orbax", "scipy",
    "sklearn", "sympy", "tensorflow", "tensorflow_datasets", "torch", "transformers",
)  # fmt: skip
HELD_OUT = 25  # one file of so many
_NOT_READ = {"test", "tests", "testing", "_vendor", "include"}
_FEWEST, _MOST, _SHORTEST = 3, 20, 20  # words of a first line, and of the rest at least


class Pair(NamedTuple):
    """A docstring.

    Attributes:
        signature: str, the qualified name and the arguments of what it describes.
        text: str, the docstring without its first line.
        summary: str, its first line.
    """

    signature: str
    text: str
    summary: str


def load(packages=PACKAGES, seed=0):
    """Returns the pairs to train on and those that are held out, two lists of `Pair` in an order drawn by the seed.

    Args:
        packages: names of packages; those that are not installed are left out.
        seed: int.

    Raises:
        ImportError: if none of them is installed.
    """
    found = [(name, root) for name in packages for root in _roots(name)]
    if not found:
        raise ImportError(f"None of these packages is installed: {', '.join(packages)}. `make install` installs them.")
    files = {
        f"{name}/{path.relative_to(root).as_posix()}": path
        for name, root in found
        for path in root.rglob("*.py")
        if not _NOT_READ & set(path.relative_to(root).parts)
    }
    names = sorted(files)
    random.Random(seed).shuffle(names)
    training, held_out, seen = [], [], set()
    for name in names:
        part = held_out if zlib.crc32(name.encode()) % HELD_OUT == 0 else training
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for pair in pairs(files[name].read_text(encoding="utf-8", errors="ignore"), module):
            words = tuple(re.findall(r"\w+", pair.summary.lower()))
            if words not in seen:
                seen.add(words)
                part.append(pair)
    random.Random(seed).shuffle(training)
    random.Random(seed).shuffle(held_out)
    return training, held_out


def pairs(source, module):
    """Returns the pairs of a Python source, list of `Pair`; of one that is no Python, none."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):  # files that are templates, or deliberately wrong
        return []
    found, waiting = [], [(tree, module)]
    while waiting:
        node, name = waiting.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                waiting.append((child, f"{name}.{child.name}"))
                pair = _pair(child, f"{name}.{child.name}")
                found += [] if pair is None else [pair]
    return found


def _pair(node, name):
    summary, _, rest = (ast.get_docstring(node) or "").partition("\n\n")
    summary, rest = summary.strip(), rest.strip()
    right = "\n" not in summary and _FEWEST <= len(summary.split()) <= _MOST and len(rest.split()) >= _SHORTEST
    if not right:
        return None
    of_class = isinstance(node, ast.ClassDef)
    return Pair(name if of_class else f"{name}({ast.unparse(node.args)})", rest, summary)


def _roots(name):
    """Returns the folders of a package, without importing it."""
    spec = importlib.util.find_spec(name)
    return [Path(place) for place in (spec and spec.submodule_search_locations) or ()]
