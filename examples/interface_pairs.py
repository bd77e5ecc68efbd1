"""Texts of an interface and their translations: what Home Assistant's components say to their users, in 64 languages.

They lie in its wheel on PyPI as `components/*/translations/{language}.json`. The package's own code is never imported.
"""

import json
import zlib
from collections import defaultdict
from pathlib import Path

import wheels
from cldr_pairs import Pair

PACKAGE, SOURCE = "homeassistant", "en"
INSTALL = "pip install --no-deps --ignore-requires-python --require-hashes -r requirements-interface.txt"
PARTS = 20  # of the components, by their names' sums
TEST, VALIDATION = (0, 1), (2,)


def files():
    """Returns a dict from (component, language) to the path of its texts in the installed wheel.

    Raises:
        FileNotFoundError: if the wheel is not installed, with the command that installs it.
    """
    found = {}
    for file in wheels.files(PACKAGE):
        if (
            file.suffix == ".json"
            and file.parts[:2] == (PACKAGE, "components")
            and file.parts[3:4] == ("translations",)
        ):
            found[file.parts[2], file.stem] = Path(file.locate())
    if not found:
        raise FileNotFoundError(
            f"The texts are those of the wheel {PACKAGE}, 68 MB, and no installed wheel has them. Install it: {INSTALL} "
            "(`make interface` does)."
        )
    return found


def load(target="es", count=None):
    """Returns a dict of lists of `cldr_pairs.Pair`, whose kind is the component: "train", "validation" and "test".

    Parts have components of their own. A pair is there once; what is held out has each source once, its first, and no source,
    whatever its case, that is trained on.

    Args:
        target: str, the code of the language to translate into.
        count: int, how many pairs to train on at most, or `None` for all.

    Raises:
        FileNotFoundError: as `files` does.
        ValueError: if the wheel has no such language.
    """
    found, pairs = files(), defaultdict(list)
    languages = sorted({language for _, language in found})
    if target not in languages or target == SOURCE:
        known = ", ".join(language for language in languages if language != SOURCE)
        raise ValueError(f"`target` must be one of the wheel's languages, {known}. Received: {target!r}.")
    for component, language in sorted(found):
        if language == target and (component, SOURCE) in found:
            part = zlib.crc32(component.encode()) % PARTS
            name = "test" if part in TEST else "validation" if part in VALIDATION else "train"
            pairs[name] += read(found[component, SOURCE], found[component, target], component)
    train = list({pair[:2]: pair for pair in pairs["train"]}.values())
    seen, parts = {pair.source.casefold() for pair in train}, {"train": train[:count]}
    for name in ("validation", "test"):
        new = {pair.source.casefold(): pair for pair in reversed(pairs[name]) if pair.source.casefold() not in seen}
        parts[name] = list(new.values())[::-1]
        seen |= new.keys()
    return parts


def read(source, target, component):
    """Returns the pairs of two files, list of `Pair`, less those that refer to texts elsewhere, or whose translation is empty."""
    source, target = (dict(_flat(json.loads(Path(path).read_text(encoding="utf-8")))) for path in (source, target))
    pairs = [
        Pair(" ".join(text.split()), " ".join(target[key].split()), component)
        for key, text in source.items()
        if key in target
    ]
    return [pair for pair in pairs if pair.source and pair.target and "[%key:" not in pair.source + pair.target]


def _flat(texts, prefix=()):
    for key, value in texts.items():
        if isinstance(value, dict):
            yield from _flat(value, (*prefix, key))
        elif isinstance(value, str):
            yield (*prefix, key), value
