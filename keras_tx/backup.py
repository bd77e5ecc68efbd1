"""Saves of a training's state, and of anything else, that a kill at any moment leaves whole."""

import contextlib
import os
import re
import shutil
from pathlib import Path

import keras

_WHOLE = re.compile(r"epoch-(\d+)")


class Backup(keras.callbacks.Callback):
    """Backs up the state of a training after each epoch, and takes it up again when `fit` starts.

    What is written is that of `keras.callbacks.BackupAndRestore`: weights, the optimizer's state, and the epoch. That callback
    overwrites its files one after the other: a kill between them leaves the weights of one epoch beside the number of another,
    and a kill inside one leaves no weights at all. Here each backup is a new folder beside the last one, named `epoch-N` only
    when all of it has reached the disk, and the last one is removed after that.

    Of several processes that train together the first writes, from its own memory, and all read: the folder must be one that all
    see, and each process must hold all of each weight, as with `keras.distribution.DataParallel`. (Weights that are split over
    processes are what `keras.callbacks.OrbaxCheckpoint` is for.) A process that has reached the end of an epoch does not wait
    for the first one's backup.

    The folder stays after the training, and a `fit` of no more epochs than it holds trains nothing.

    Args:
        folder: str or path, of one training; made if it is not there.

    Raises:
        ValueError: when `fit` starts, for a folder that is a file or holds a damaged backup; at the end of an epoch, for
            weights that are split over processes.

    Example:

    ```python
    model = keras_tx.applications.TextClassifier(100, sequence_length=8)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    ids, labels = np.ones((8, 8), "int32"), np.ones((8,), "int32")
    for epochs in (1, 3):  # the second trains two more
        model.fit(ids, labels, epochs=epochs, verbose=0, callbacks=[keras_tx.backup.Backup(folder)])
    ```
    """

    def __init__(self, folder):
        super().__init__()
        self.folder = Path(folder)

    def on_train_begin(self, logs=None):
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"`folder` must be a folder. Received: folder={str(self.folder)!r}, which is a file.")
        whole = self._whole()
        if whole:
            try:
                self._keras(whole[-1]).on_train_begin()
            except (OSError, KeyError) as error:
                raise ValueError(
                    f"A backup must be readable; without it the training starts at the one before, or anew. Received: "
                    f"{whole[-1]}: {type(error).__name__}: {error}"
                ) from error

    def on_epoch_end(self, epoch, logs=None):
        split = [weight.path for weight in self.model.weights if not _is_here(weight)]
        if split:
            raise ValueError(
                "Each process must hold all of each weight; take keras.callbacks.OrbaxCheckpoint for weights that are split over "
                f"processes. Received: {split[0]}, of which this process holds a part."
            )
        if _process() != 0:
            return
        earlier, path = self._whole(), self.folder / f"epoch-{epoch + 1}"
        if path in earlier:  # that of a training that went on from elsewhere
            shutil.rmtree(path)
        distribution = keras.distribution.distribution()
        # Keras makes a variable when it saves an optimizer. Distributed, it would wait for the other processes to make theirs.
        keras.distribution.set_distribution(None)
        try:
            with whole_folder(path) as beside:
                self._keras(beside).on_epoch_end(epoch)
        finally:
            keras.distribution.set_distribution(distribution)
        for each in earlier:
            if each != path:
                shutil.rmtree(each)

    def _keras(self, folder):
        callback = keras.callbacks.BackupAndRestore(folder, delete_checkpoint=False)
        callback.set_model(self.model)
        return callback

    def _whole(self):
        """Returns the folders of whole backups, the newest last."""
        found = self.folder.iterdir() if self.folder.exists() else ()
        numbers = {path: int(hit[1]) for path in found if (hit := _WHOLE.fullmatch(path.name))}
        return sorted(numbers, key=numbers.get)


@contextlib.contextmanager
def whole_folder(path):
    """Lets a folder be written beside its place, and gives it its name when all of it has reached the disk.

    `model.save_weights` writes over what was there, one file after the other: a kill leaves neither the old nor the new.

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
    model.load_weights(f"{folder}/step-100/model.weights.json")
    ```
    """
    path = Path(path)
    if path.exists():
        raise ValueError(f"`path` must be a place where nothing is yet. Received: path={str(path)!r}, which exists.")
    beside = path.with_name(f"{path.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    yield beside
    for place in (*beside.rglob("*"), beside):
        _to_disk(place)
    beside.rename(path)
    _to_disk(path.parent)


def _process():
    if keras.backend.backend() != "jax":
        return 0
    import jax

    return jax.process_index()


def _is_here(weight):
    value = weight.value
    return keras.backend.backend() != "jax" or value.is_fully_addressable or value.is_fully_replicated


def _to_disk(path):
    if path.is_dir() and os.name == "nt":  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
