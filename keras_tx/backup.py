"""Saves of a training's state, and of anything else, that a kill at any moment leaves whole."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import warnings
from pathlib import Path

import keras

_SUMS = "SHA256SUMS"
_PARTS = "parts"
_WHOLE = re.compile(r"epoch-(\d+)")


class Backup(keras.callbacks.Callback):
    """Backs up the state of a training after each epoch, and takes it up again when `fit` starts.

    What is written is that of `keras.callbacks.BackupAndRestore`: weights, the optimizer's state, and the epoch. That callback
    overwrites its files one after the other: a kill between them leaves the weights of one epoch beside the number of another,
    and a kill inside one leaves no weights at all. Here each backup is a new folder beside the last one, named `epoch-N` only
    when all of it has reached the disk, and the last one is removed after that.

    Of several processes that train together the first writes, from its own memory, and all read: the folder must be one that all
    see. A process that has reached the end of an epoch does not wait for the first one's backup. Weights of which each process
    holds a part alone, as `ModelParallel` over several hosts makes them, are written by all, each its parts, through Orbax
    (package `orbax-checkpoint`). From either kind a training goes on with another number of processes or devices.

    The folder stays after the training; a `fit` of no more epochs than it holds trains nothing, and warns.

    Args:
        folder: str or path, of one training; made if it is not there.

    Raises:
        ValueError: when `fit` starts, for a folder that is a file, or whose backup is damaged, named with the file in it, or is
            that of another model or optimizer.
        ImportError: at the end of an epoch, if weights are split over processes and `orbax-checkpoint` is not installed.

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
                self._restore(whole[-1])
            except Exception as error:  # of HDF5, of Orbax or of Keras, by what is wrong
                raise ValueError(
                    "A backup must be whole, and of this model and optimizer; remove it to start anew. Received: "
                    f"{whole[-1]}: {type(error).__name__}: {error}"
                ) from error
            done, asked = _number(whole[-1]), self.params.get("epochs")
            if asked is not None and asked <= done:
                warnings.warn(
                    f"{self.folder} holds {done} epochs of training, and `fit` was asked for no more than {asked}: it trains "
                    "nothing.",
                    stacklevel=2,
                )

    def on_epoch_end(self, epoch, logs=None):
        split = not all(_is_here(weight) for weight in self.model.weights)
        first, path = _process()[0] == 0, self.folder / f"epoch-{epoch + 1}"
        if not first:
            if split:
                _write_parts(_partial(path), self.model)
            return
        earlier = self._whole()
        if path in earlier:  # that of a training that went on from elsewhere
            shutil.rmtree(path)
        with whole_folder(path) as beside:
            if split:
                (beside / "training_metadata.json").write_text(json.dumps({"epoch": epoch + 1}))  # as Keras reads it
                _write_parts(beside, self.model)
            else:
                # Keras makes a variable when it saves an optimizer; distributed, it would wait for the other processes' own.
                distribution = keras.distribution.distribution()
                keras.distribution.set_distribution(None)
                try:
                    self._keras(beside).on_epoch_end(epoch)
                finally:
                    keras.distribution.set_distribution(distribution)
        for each in earlier:
            if each != path:
                shutil.rmtree(each)

    def _restore(self, path):
        _check_files(path, *_process())
        if (path / _PARTS).exists():
            _read_parts(path, self.model)
        with warnings.catch_warnings():  # with another optimizer Keras goes on, and only warns
            warnings.filterwarnings("error", "Skipping variable loading")
            self._keras(path).on_train_begin()

    def _keras(self, folder):
        callback = keras.callbacks.BackupAndRestore(folder, delete_checkpoint=False)
        callback.set_model(self.model)
        return callback

    def _whole(self):
        """Returns the folders of whole backups, the newest last."""
        found = self.folder.iterdir() if self.folder.exists() else ()
        return sorted((path for path in found if _WHOLE.fullmatch(path.name)), key=_number)


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
    beside = _partial(path)
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    yield beside
    _write_sums(beside)
    for place in (*beside.rglob("*"), beside):
        _to_disk(place)
    beside.rename(path)
    _to_disk(path.parent)


def check_folder(path):
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
    _check_files(path)


def _number(path):
    return int(_WHOLE.fullmatch(path.name)[1])


def _partial(path):
    return path.with_name(f"{path.name}.partial")


def _write_sums(folder):
    files = sorted(place for place in folder.rglob("*") if place.is_file())
    lines = [f"{_sum(file)}  {file.relative_to(folder).as_posix()}\n" for file in files]
    (folder / _SUMS).write_text("".join(lines))


def _check_files(folder, part=0, parts=1):
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


def _state(model):
    model.optimizer.build(model.trainable_variables)
    metrics = {id(variable) for variable in model.metrics_variables}
    return [variable for variable in model.variables + model.optimizer.variables if id(variable) not in metrics]


def _write_parts(folder, model):
    with _orbax().StandardCheckpointer() as checkpointer:
        checkpointer.save((folder / _PARTS).absolute(), [variable.value for variable in _state(model)])


def _read_parts(folder, model):
    if keras.backend.backend() != "jax":
        raise ValueError(f"it was split over processes, which is read on JAX and not on {keras.backend.backend()}")
    import jax

    state = _state(model)
    places = [jax.ShapeDtypeStruct(each.shape, each.dtype, sharding=each.value.sharding) for each in state]
    place = (folder / _PARTS).absolute()
    with _orbax().StandardCheckpointer() as checkpointer:
        saved = [each.shape for each in jax.tree.leaves(checkpointer.metadata(place).item_metadata)]
        wanted = [tuple(each.shape) for each in state]
        if saved != wanted:
            raise ValueError(f"the shapes of its variables are {saved}, and those of this model and optimizer {wanted}")
        values = checkpointer.restore(place, places)
    for variable, value in zip(state, values, strict=True):
        variable.assign(value)


def _orbax():
    try:
        import orbax.checkpoint
    except ImportError as error:
        raise ImportError(
            "A backup of weights that are split over processes needs Orbax: pip install orbax-checkpoint."
        ) from error
    return orbax.checkpoint


def _process():
    """Returns the number of this process, and how many there are."""
    if keras.backend.backend() != "jax":
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


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
