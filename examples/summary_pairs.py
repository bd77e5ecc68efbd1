"""The pairs that the summarizer is trained on and measured by: docstrings without their first line, and that line.

Files and whole packages are held out. A docstring that says nothing more than its first line is no pair to be measured by; its
name and that line are one to train on.
"""

import json
import random
from pathlib import Path
from typing import NamedTuple

import docstring_pairs
import keras
import summary_neighbors

from keras_tx.backup import whole_file

PACKAGES = ("matplotlib", "networkx", "sklearn")  # held out whole
TO_CHOOSE = ("scipy",)  # held out whole beside them while settings are chosen


class Docstring(NamedTuple):
    """A pair as `docstring_pairs.Pair`, and what is known beside it.

    Attributes:
        signature: str.
        text: str.
        summary: str.
        file: str, as `docstring_pairs.files` names it.
        near: str, the summary of the nearest pair to train on in another file.
    """

    signature: str
    text: str
    summary: str
    file: str
    near: str = ""


class Parts(NamedTuple):
    """Lists of `Docstring`.

    Attributes:
        training: pairs to train on.
        short: more of them, of docstrings that have fewer words behind the first line, or none.
        held_out: dict from "files" and "packages" to the pairs that are reported on.
    """

    training: list
    short: list
    held_out: dict


def load(cache, validation=False, seed=0):
    """Returns the `Parts` of the installed packages' docstrings; no summary of the held-out pairs stands in the others.

    Args:
        cache: path of the file that keeps the docstrings, made if it is not there: to read them takes minutes.
        validation: bool, whether to hold out what settings are chosen by, in place of what is reported.
        seed: int, of the order.
    """
    cache = Path(cache)
    if not cache.is_file():
        found, files = [], docstring_pairs.files(seed=seed)
        bar = keras.utils.Progbar(len(files), interval=5, unit_name="file")
        for name, path in files:
            source = path.read_text("utf-8", "ignore")
            found.append((name, docstring_pairs.docstrings(source, docstring_pairs.module_of(name))))
            bar.add(1)
        with whole_file(cache) as beside:
            beside.write_text(json.dumps([each for each in found if each[1]]))
    return split(json.loads(cache.read_text()), validation, seed)


def split(files, validation=False, seed=0):
    """Returns the `Parts` of (name, list of (signature, docstring)) of files; see `load`."""
    parts, seen = Parts([], [], {"files": [], "packages": []}), set()
    for name, docstrings in files:
        place = _place(name, validation)
        for signature, text in docstrings:
            pair = docstring_pairs.pair_of(signature, text)
            if pair is not None and docstring_pairs.words(pair.summary) not in seen:
                seen.add(docstring_pairs.words(pair.summary))
                long = docstring_pairs.is_long(pair)
                if place == "training":
                    (parts.training if long else parts.short).append(Docstring(*pair, name))
                elif place and long:
                    parts.held_out[place].append(Docstring(*pair, name))
    known = {pair.text for part in parts.held_out.values() for pair in part}
    for part in (parts.training, parts.short):  # a copied function may have another first line
        part[:] = [pair for pair in part if pair.text not in known]
    for part in (parts.training, parts.short, *parts.held_out.values()):
        random.Random(seed).shuffle(part)
    return parts


def with_neighbors(parts):
    """Returns the parts, each pair with the summary of the nearest pair to train on in another file."""
    known = parts.training + parts.short
    find = summary_neighbors.Neighbors(known)

    def found(pairs):
        near = find.nearest(pairs)
        return [
            pair._replace(near="" if place is None else known[place].summary)
            for pair, place in zip(pairs, near, strict=True)
        ]

    held_out = {name: found(pairs) for name, pairs in parts.held_out.items()}
    return Parts(found(parts.training), found(parts.short), held_out)


def _place(name, validation):
    """Returns "training", "files" or "packages", or `None` for a file that is left out."""
    package = name.partition("/")[0]
    if package in PACKAGES:
        return None if validation else "packages"
    if validation and package in TO_CHOOSE:
        return "packages"
    if docstring_pairs.is_held_out(name):
        return None if validation else "files"
    if docstring_pairs.is_held_out(name, share=1) and validation:
        return "files"
    return "training"
