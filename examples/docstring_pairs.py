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
    training, held_out, seen = [], [], set()
    for name, path in files(packages, seed):
        part = held_out if is_held_out(name) else training
        for pair in pairs(path.read_text(encoding="utf-8", errors="ignore"), module_of(name)):
            if words(pair.summary) not in seen:
                seen.add(words(pair.summary))
                part.append(pair)
    random.Random(seed).shuffle(training)
    random.Random(seed).shuffle(held_out)
    return training, held_out


def files(packages=PACKAGES, seed=0):
    """Returns (name, path) of the packages' files, in an order drawn by the seed; a name is "package/folder/file.py".

    Raises:
        ImportError: if none of the packages is installed.
    """
    found = [(name, root) for name in packages for root in _roots(name)]
    if not found:
        raise ImportError(f"None of these packages is installed: {', '.join(packages)}. `make install` installs them.")
    paths = {
        f"{name}/{path.relative_to(root).as_posix()}": path
        for name, root in found
        for path in root.rglob("*.py")
        if not _NOT_READ & set(path.relative_to(root).parts)
    }
    names = sorted(paths)
    random.Random(seed).shuffle(names)
    return [(name, paths[name]) for name in names]


def is_held_out(name, share=0):
    """Returns whether a file belongs to one of `HELD_OUT` shares: to the first, which is for tests, unless another is named."""
    return zlib.crc32(name.encode()) % HELD_OUT == share


def module_of(name):
    """Returns the module that a file is, its name as `files` gives it."""
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def words(line):
    """Returns the words of a line, by which it is told from others."""
    return tuple(re.findall(r"\w+", line.lower()))


def pairs(source, module):
    """Returns the pairs of a Python source, list of `Pair`; of one that is no Python, none."""
    found = (pair_of(*each) for each in docstrings(source, module))
    return [pair for pair in found if pair is not None and is_long(pair)]


def is_long(pair):
    """Returns whether the text of a pair has 20 words at least."""
    return len(pair.text.split()) >= _SHORTEST


def docstrings(source, module):
    """Returns (signature, docstring) of the functions and classes of a Python source; of one that is no Python, none."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):  # files that are templates, or deliberately wrong
        return []
    found, waiting = [], [(tree, module)]
    while waiting:
        node, name = waiting.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                own = f"{name}.{child.name}"
                waiting.append((child, own))
                text = ast.get_docstring(child)
                if text:
                    of_class = isinstance(child, ast.ClassDef)
                    found.append((own if of_class else f"{own}({ast.unparse(child.args)})", text))
    return found


def pair_of(signature, docstring):
    """Returns the `Pair` of a docstring whose first line stands alone and has 3 to 20 words, or `None`."""
    summary, _, rest = docstring.partition("\n\n")
    summary = summary.strip()
    right = "\n" not in summary and _FEWEST <= len(summary.split()) <= _MOST
    return Pair(signature, rest.strip(), summary) if right else None


def _roots(name):
    """Returns the folders of a package, without importing it."""
    spec = importlib.util.find_spec(name)
    return [Path(place) for place in (spec and spec.submodule_search_locations) or ()]
