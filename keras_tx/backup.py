"""A training's state, backed up so that a kill at any moment leaves it whole."""

import contextlib
import json
import os
import re
import shutil
import tempfile
import warnings
from pathlib import Path

import keras
import numpy as np

from .whole_folders import check_files, check_folder, partial, whole_folder

__all__ = ["Backup", "check_folder", "whole_folder"]

_EPOCH = "training_metadata.json"  # by Keras, like the next
_WEIGHTS = "latest.weights.h5"
_PARTS = "parts"
_SEEDS = "seeds.npz"
_NAME = re.compile(r"epoch-([1-9]\d*)")


class Backup(keras.callbacks.Callback):
    """Backs up the state of a training after each epoch, and takes it up again when `fit` starts.

    What is written is that of `keras.callbacks.BackupAndRestore`: weights, the optimizer's state, and the epoch; and the state of
    seeds, which that leaves out. That callback overwrites its files one after the other: a kill between them leaves the weights
    of one epoch beside the number of another, and a kill inside one leaves no weights at all. Here each backup is a new folder
    beside the last one, named `epoch-N` only when all of it has reached the disk, and the last one is removed after that.

    The order in which `fit` shuffles arrays is not part of the state: for the very steps of an undisturbed training take
    `shuffle=False`, or a dataset whose order depends on the epoch. (Nor is torch's own generator, from which
    `keras.layers.Dropout` draws there without a seed.)

    Of several processes that train together the first writes, from its own memory, and all read: the folder must be one that all
    see. A process that has reached the end of an epoch does not wait for the first one's backup. Weights of which each process
    holds a part alone, as `ModelParallel` over several hosts makes them, are written by all, each its parts, through Orbax
    (package `orbax-checkpoint`). From either kind a training goes on with another number of processes or devices.

    The folder stays after the training; a `fit` of no more epochs than it holds trains nothing, and warns.

    Args:
        folder: str or path, of one training; made if it is not there.

    Raises:
        ValueError: for no path; when `fit` starts, for a place that no folder can be made or written in, for a backup that is
            damaged (named, with the file in it) or that of another model or optimizer, and for processes that see different
            backups; at the end of an epoch, for a backup of it that something else has written meanwhile.
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
        if not folder or not isinstance(folder, (str, os.PathLike)):
            raise ValueError(f"`folder` must be the path of a folder. Received: folder={folder!r}.")
        self.folder = Path(folder)

    def on_train_begin(self, logs=None):
        if _process()[0] == 0:
            _check_place(self.folder)
        found = self._found()
        _check_agreement(self.folder, _number(found[-1]) if found else None)
        if not found:
            return
        try:
            self._restore(found[-1])
        except Exception as error:  # of HDF5, of Orbax or of Keras, by what is wrong
            raise ValueError(
                "A backup must be whole, and of this model and optimizer; remove it to start anew. Received: "
                f"{found[-1]}: {type(error).__name__}: {error}"
            ) from error
        done, asked = _number(found[-1]), self.params.get("epochs")
        if asked is not None and asked <= done:
            warnings.warn(
                f"{self.folder} holds {done} epochs of training, and `fit` was asked for no more than {asked}: it trains "
                "nothing.",
                stacklevel=2,
            )

    def on_epoch_end(self, epoch, logs=None):
        split = not all(_is_here(weight) for weight in self.model.weights)
        path = self.folder / f"epoch-{epoch + 1}"
        if _process()[0] != 0:
            if split:
                _write_parts(partial(path), self.model)
            return
        earlier = self._found()
        if path.exists():
            raise ValueError(
                f"Each training must have a folder of its own. Received: {path}, which something else has written meanwhile."
            )
        with whole_folder(path) as beside:
            if split:
                (beside / _EPOCH).write_text(json.dumps({"epoch": epoch + 1}))
                _write_parts(beside, self.model)
            else:
                with _not_distributed():
                    self._keras(beside).on_epoch_end(epoch)
                np.savez(beside / _SEEDS, *[keras.ops.convert_to_numpy(each) for each in _seeds(self.model)])
        for each in earlier:
            if (each / _EPOCH).exists():  # else it is somebody else's
                shutil.rmtree(each)

    def _restore(self, path):
        check_files(path, *_process())
        split = (path / _PARTS).exists()
        for name in (_EPOCH, *([] if split else [_WEIGHTS])):
            if not (path / name).is_file():
                raise ValueError(f"{name} is missing")
        epoch = json.loads((path / _EPOCH).read_text())["epoch"]
        if epoch != _number(path):
            raise ValueError(f"{_EPOCH} says epoch {epoch}")
        if split:  # before Keras takes up the epoch, which a refusal must leave as it was
            _read_parts(path, self.model)
        with warnings.catch_warnings():  # with another optimizer Keras goes on, and only warns
            warnings.filterwarnings("error", "Skipping variable loading")
            self._keras(path).on_train_begin()
        if not split and (path / _SEEDS).exists():
            with np.load(path / _SEEDS) as saved:
                for variable, value in zip(_seeds(self.model), saved.values(), strict=True):
                    variable.assign(value)

    def _keras(self, folder):
        callback = keras.callbacks.BackupAndRestore(folder, delete_checkpoint=False)
        callback.set_model(self.model)
        return callback

    def _found(self):
        """Returns the folders of backups, the newest last."""
        found = self.folder.iterdir() if self.folder.exists() else ()
        return sorted((path for path in found if _NAME.fullmatch(path.name) and path.is_dir()), key=_number)


def _number(path):
    return int(_NAME.fullmatch(path.name)[1])


def _check_place(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"`folder` must be a folder that can be made and written in. Received: folder={str(folder)!r}: {error}"
        ) from error


def _check_agreement(folder, newest):
    """Raises `ValueError` on every process if they do not see the same backup."""
    if _process()[1] == 1:
        return
    from jax.experimental import multihost_utils

    seen = multihost_utils.process_allgather(np.array(newest or 0)).tolist()
    if len(set(seen)) > 1:
        raise ValueError(
            f"`folder` must be one that all processes see. Received: folder={str(folder)!r}, in which the newest backup is, by "
            f"process, that of epoch {seen} (0 is none)."
        )


def _seeds(model):
    """The state of seeds, which Keras saves for no layer of its own."""
    others = {id(each) for each in (*model.weights, *model.metrics_variables)}
    return [each for each in model.variables if id(each) not in others]


@contextlib.contextmanager
def _not_distributed():
    # Keras makes a variable when it saves an optimizer. Distributed, it would wait for the other processes to make theirs.
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


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
