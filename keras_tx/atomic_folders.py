"""Folders that a kill at any moment leaves whole or leaves out, and whose files can be checked."""

import contextlib
import hashlib
import shutil
from pathlib import Path

from .whole_files import to_disk

_SUMS = "SHA256SUMS"


@contextlib.contextmanager
def whole_folder(path):
    """Lets a folder be written beside its place, and gives it its name when all of it has reached the disk.

    `model.save_weights` writes over what was there, one file after the other: a kill leaves neither the old nor the new.
    The sums of all files are written beside them, into a file `SHA256SUMS`, for `check_folder` or `sha256sum --check`.

    Args:
        path: str or path, where nothing is yet; the folder above it is made.

    Yields:
        The path to write into, of a folder that is empty. What an error or a kill leaves of it, the next call removes.

    Raises:
        ValueError: if there is something at `path`.

    Example:

    ```python
    model = keras_tx.applications.TextClassifier(100, sequence_length=8)
    with keras_tx.backup.whole_folder(f"{folder}/step-100") as beside:
        model.save_weights(beside / "model.weights.json", max_shard_size=5)  # in files of 5 GB at most
    keras_tx.backup.check_folder(f"{folder}/step-100")
    model.load_weights(f"{folder}/step-100/model.weights.json")
    ```
    """
    path = Path(path)
    if path.exists():
        raise ValueError(f"`path` must be a place where nothing is yet. Received: path={str(path)!r}, which exists.")
    beside = partial(path)
    beside.unlink() if beside.is_file() else shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    yield beside
    _write_sums(beside)
    for place in (*beside.rglob("*"), beside):
        to_disk(place)
    beside.rename(path)
    to_disk(path.parent)


def check_folder(path) -> None:
    """Checks that each file is there as `whole_folder` left it, before its weights are loaded.

    The format of Keras' weights has no sums: a flipped bit is loaded as another number. All files are read once.

    Args:
        path: str or path, of a folder that `whole_folder` wrote.

    Raises:
        ValueError: for a folder without sums; for a file that is missing, cut off or altered, by its name.

    Example:

    ```python
    with keras_tx.backup.whole_folder(f"{folder}/notes") as beside:
        (beside / "notes.txt").write_text("all is well")
    keras_tx.backup.check_folder(f"{folder}/notes")
    ```
    """
    if not (Path(path) / _SUMS).is_file():
        raise ValueError(
            f"`path` must be a folder that `whole_folder` wrote. Received: path={str(path)!r}, without {_SUMS}."
        )
    check_files(path)


def partial(path):
    """Where a folder is written before it gets its name."""
    return path.with_name(f"{path.name}.partial")


def _write_sums(folder):
    files = sorted(place for place in folder.rglob("*") if place.is_file())
    lines = [f"{_sum(file)}  {file.relative_to(folder).as_posix()}\n" for file in files]
    (folder / _SUMS).write_text("".join(lines))


def check_files(folder, part=0, parts=1):
    """Raises `ValueError` for a file that is not as its sum says; of several processes each reads some of the files."""
    sums = Path(folder) / _SUMS
    for line in sums.read_text().splitlines()[part::parts] if sums.is_file() else ():
        wanted, _, name = line.partition("  ")
        file = Path(folder) / name
        wrong = "is missing" if not file.is_file() else "was cut off or altered" if _sum(file) != wanted else None
        if wrong:
            raise ValueError(
                f"Each file must be as it was saved. Received: path={str(folder)!r}, in which {name} {wrong}."
            )


def _sum(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
