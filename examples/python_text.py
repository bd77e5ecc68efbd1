"""Text that every Python carries: its language reference, and the sources of its standard library.

The reference is the prose in `pydoc_data.topics`, 0.46 MB in Python 3.11, where sections stand under several topics. Here
each paragraph is kept under the first topic that has it alone, so that no held-out paragraph was seen in training: 0.37 MB
are left.
"""

import random
import sysconfig
from pathlib import Path

_NOT_LIBRARY = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "lib2to3", "turtledemo"}


def load_topics():
    """Returns the topics of the language reference as a dict from name to text, no paragraph under two of them.

    Raises:
        ImportError: where this Python was built without its documentation, with what to do.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise ImportError(
            "This Python was installed without the module pydoc_data. Use --dataset sources, or a Python that has it."
        ) from error
    seen, kept = set(), {}
    for name, text in sorted(topics.items()):
        paragraphs = [part for part in text.strip().split("\n\n") if part.strip() and part.strip() not in seen]
        seen.update(part.strip() for part in paragraphs)
        if paragraphs:
            kept[name] = "\n\n".join(paragraphs) + "\n"
    return kept


def load_sources():
    """Returns the standard library's modules as a dict from path to source, about 13 MB, without its tests."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = (path for path in sorted(root.rglob("*.py")) if not _NOT_LIBRARY & set(path.relative_to(root).parts))
    return {str(path.relative_to(root)): path.read_text(encoding="utf-8", errors="ignore") for path in files}


def load_tiny_shakespeare():
    """Returns the data set `tiny_shakespeare` as a dict from the name of its part to text. Needs a network once.

    Raises:
        OSError: where it cannot be downloaded, with what to do.
    """
    import tensorflow_datasets

    try:
        parts = tensorflow_datasets.load("tiny_shakespeare")
    except Exception as error:  # each way to have no network is another exception
        raise OSError(
            "tiny_shakespeare could not be downloaded; it needs a network once. Without one: --dataset topics. "
            f"({type(error).__name__}: {error})"
        ) from error
    return {name: next(iter(part))["text"].numpy().decode() for name, part in parts.items()}


def split(documents, held_out=0.1, seed=0):
    """Splits documents into two dicts; the second holds whole documents, about that share of the characters.

    Raises:
        ValueError: unless there are two documents at least and the share lies between 0 and 1.
    """
    if len(documents) < 2 or not 0 < held_out < 1:
        raise ValueError(
            "`documents` must be two at least, and `held_out` between 0 and 1. Received: "
            f"{len(documents)} documents, held_out={held_out}."
        )
    names = sorted(documents)
    random.Random(seed).shuffle(names)
    wanted = held_out * sum(map(len, documents.values()))
    chosen, size = [names[0]], len(documents[names[0]])
    for name in names[1:-1]:
        # The reference has topics that are a tenth of it: they stay in training.
        if size + len(documents[name]) <= wanted:
            chosen.append(name)
            size += len(documents[name])
    chosen = set(chosen)
    return {n: documents[n] for n in names if n not in chosen}, {n: documents[n] for n in names if n in chosen}
