"""Docstrings to tell the package of: names that give it away hidden, near-duplicates left out, split by file.

A text is the beginning of a docstring. The names of the packages, their usual abbreviations and every word that holds such a
name become one word. Of texts that share half of their runs of six words one is kept, so that nothing like a test text is
trained on, by no reader: the pretraining sees the training files alone, of all packages.
"""

import collections
import hashlib
import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import package_docstrings

from keras_tx.backup import whole_file

PACKAGES = (
    "jax", "keras", "matplotlib", "networkx", "nltk", "numpy", "scipy", "sklearn", "sympy", "tensorflow", "torch", "transformers",
)  # fmt: skip
CHARACTERS = 256  # of a text
RUN = 6  # words
TEST, VALIDATION, OF = 3, 1, 16  # of so many files
EACH = {"validation": 75, "test": 200}  # texts of a package at most
_INSIDE = re.compile(
    "tensorflow|torch|scikit|sklearn|sympy|scipy|numpy|matplotlib|networkx|keras|nltk|hugging_?face|jax"
)
_ALONE = {"hf", "jnp", "lax", "mpl", "np", "nx", "plt", "tf", "transformers", "xla"}


class Texts(NamedTuple):
    """What is trained and measured on.

    Attributes:
        corpus: list of str, the texts of the training files of all packages, for the pretraining.
        documents: int32 array, which file each text of the corpus is of; a number alone.
        training, validation, test: tuples of texts (list of str) and packages (int32 array, places in `PACKAGES`), of files
            of their own; the first in an order drawn once, the others with as many texts of each package.
    """

    corpus: list
    documents: np.ndarray
    training: tuple
    validation: tuple
    test: tuple


def load(folder, one_of=1, roots=None, progress=print):
    """Returns `Texts`, which are read once and kept in a folder.

    Args:
        folder: path.
        one_of: int, to read one file of so many.
        roots: list of folders to read, or `None` for those of installed packages.
        progress: function of a line.

    Raises:
        ValueError: where a package has too few docstrings.
    """
    kept = Path(folder) / f"texts_1_of_{one_of}.json"
    if not kept.is_file():
        cache = Path(folder) / f"docstrings_1_of_{one_of}.json"
        found = package_docstrings.load(cache, roots=roots, progress=progress, one_of=one_of)
        progress(f"{len(found):,} docstrings; those that are nearly alike are sought ...")
        texts = without_copies(found)
        progress(f"{len(texts):,} of them are kept")
        kept.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(kept) as beside:
            beside.write_text(json.dumps(texts))
    return split(json.loads(kept.read_text()))


def hidden(text, seen=None):
    """Returns a text in which every word that names a package is the word "package".

    Args:
        text: str.
        seen: dict that keeps what became of words, to be faster.
    """
    seen = {} if seen is None else seen

    def shown(match):
        word = match.group()
        if word not in seen:
            plain = word.lower()
            seen[word] = "package" if plain in _ALONE or _INSIDE.search(plain) else word
        return seen[word]

    return re.sub(r"\w+", shown, text)


def without_copies(found):
    """Returns the beginnings of docstrings by "file: number", names hidden, in an order drawn once, without near-duplicates."""
    names, kept, runs, seen = sorted(found), {}, set(), {}
    for place in np.random.default_rng(0).permutation(len(names)):
        text = hidden(found[names[place]][: 2 * CHARACTERS], seen)[:CHARACTERS]
        words = re.findall(r"\w+", text.lower())
        own = {hash(tuple(words[start : start + RUN])) for start in range(max(1, len(words) - RUN + 1))}
        if words and 2 * len(own & runs) <= len(own):
            runs |= own
            kept[names[place]] = text
    return kept


def part_of(file):
    """Returns whether a file is for "training", "validation" or "test"."""
    number = hashlib.sha256(file.encode()).digest()[0] % OF
    return "test" if number < TEST else "validation" if number < TEST + VALIDATION else "training"


def split(texts):
    """Returns `Texts` of what `without_copies` gives."""
    parts, counts, corpus, files = collections.defaultdict(lambda: ([], [])), collections.Counter(), [], []
    for name, text in texts.items():
        file = name.rpartition(": ")[0]
        package, part = file.partition("/")[0], part_of(file)
        if part == "training":
            corpus.append(text)
            files.append(file)
        counts[part, package] += 1
        if package in PACKAGES and counts[part, package] <= EACH.get(part, np.inf):
            parts[part][0].append(text)
            parts[part][1].append(PACKAGES.index(package))
    missing = [name for name in PACKAGES if not (counts["training", name] and counts["test", name])]
    if missing or not parts["validation"][0]:
        raise ValueError(f"Every package must have docstrings in files of both parts. Received: too few of {missing}.")
    documents = np.unique(files, return_inverse=True)[1].astype("int32")
    return Texts(
        corpus, documents, *((kept, np.array(labels, "int32")) for kept, labels in map(parts.get, ("training", *EACH)))
    )


def draw(labels, count, seed):
    """Returns places of `count` labels, as many of each package as there are, give or take one; fewer where one has too few."""
    random = np.random.default_rng((seed, count))
    packages = random.permutation(len(PACKAGES))
    shares = {label: count // len(PACKAGES) + (turn < count % len(PACKAGES)) for turn, label in enumerate(packages)}
    return np.sort(
        np.concatenate([random.permutation(np.flatnonzero(labels == label))[:share] for label, share in shares.items()])
    )
