"""Files that a kill at any moment leaves as they were or replaces in one step."""

import contextlib
import os
import secrets
import shutil
from pathlib import Path

_MANY_FILES = ".weights.json"


@contextlib.contextmanager
def whole_file(path):
    """Lets a file be written beside its place, and puts it there in one step when all of it has reached the disk.

    `model.save` writes over the file that was there: a kill leaves neither the old model nor the new one. Here the old file
    stands until the new one takes its name; an error inside leaves it as it was.

    Args:
        path: str or path, of a file that is there or of a new one; the folder above it is made. Of a link, the file that it
            leads to is replaced.

    Yields:
        The path to write to, in the same folder; its name ends as that of `path` does, because Keras tells formats by that
        (`.keras`, `.weights.h5`). What a kill leaves of it has `.partial.` in its name and may be deleted.

    Raises:
        ValueError: if `path` is no path, a folder, or the index of several files (`.weights.json`, for which there is
            `whole_folder`); if nothing was written.

    Example:

    ```python
    model = keras_tx.applications.TextClassifier(100, sequence_length=8)
    with keras_tx.backup.whole_file(f"{folder}/model.keras") as beside:
        model.save(beside)
    model = keras.saving.load_model(f"{folder}/model.keras")
    ```
    """
    if not path or not isinstance(path, (str, os.PathLike)):
        raise ValueError(f"`path` must be the path of a file. Received: path={path!r}.")
    place = Path(os.path.realpath(path))
    if place.is_dir():
        raise ValueError(f"`path` must be the path of a file. Received: path={str(path)!r}, which is a folder.")
    if place.name.endswith(_MANY_FILES):
        raise ValueError(
            f"`path` must be that of one file; write {_MANY_FILES} and the files beside it in a `whole_folder`. Received: "
            f"path={str(path)!r}."
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f"{secrets.token_hex(6)}.partial.{place.name}")
    try:
        yield beside
        if not beside.is_file():
            raise ValueError(
                f"A file must be written to the path that `whole_file` gives. Received: nothing at {beside}."
            )
        if place.exists():
            shutil.copymode(place, beside)
        to_disk(beside)
        os.replace(beside, place)
        to_disk(place.parent)
    finally:
        beside.unlink(missing_ok=True)


def to_disk(path):
    """Waits until a file, or the names in a folder, have reached the disk."""
    if path.is_dir() and os.name == "nt":  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
