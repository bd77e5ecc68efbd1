"""The callback that backs up each epoch, and goes on from the last one."""

import os
import re
import shutil
import tempfile
import warnings
from pathlib import Path

import keras
import numpy as np

from ..atomic_folders import partial, whole_folder
from . import processes
from .files import is_backup, read, write
from .fit_call import Epoch, FitCall, has_started, start_with
from .folder_lock import FolderLock
from .state import learning_rates, not_finite, optimizer_variables

_NAME = re.compile(r"epoch-([1-9]\d*)")


class Backup(keras.callbacks.Callback):
    """Backs up the state of a training after each epoch, and takes it up again when `fit` starts.

    What is written is that of `keras.callbacks.BackupAndRestore`: weights, the optimizer's state, and the epoch; and the state of
    seeds, which that leaves out. That callback overwrites its files one after the other: a kill between them leaves the weights
    of one epoch beside the number of another, and a kill inside one leaves no weights at all. Here each backup is a new folder
    beside the last one, named `epoch-N` only when all of it has reached the disk, and the last one is removed after that.

    A backup is always a state to go on from: a finished epoch's, with finite weights. An epoch that was cut off (by a callback
    such as `TerminateOnNaN`, or because the data ended early), and one that ends with NaN or infinity in a trained weight or in
    the optimizer's state, are not backed up: a warning says so, and the last backup stays. The order of the callbacks does not
    matter, with two exceptions: `SwapEMAWeights(swap_on_epoch=True)`, which leaves averages in the model, must come later, and
    `ReduceLROnPlateau`, which sets the learning rate of the next epoch, earlier.

    The order in which `fit` shuffles arrays is not part of the state: for the very steps of an undisturbed training take
    `shuffle=False`, or a dataset whose order depends on the epoch. (Nor is torch's own generator, from which
    `keras.layers.Dropout` draws there without a seed; nor what other callbacks count, as `EarlyStopping` does.)

    Of several processes that train together the first writes, from its own memory, and all read: the folder must be one that all
    see. A process that has reached the end of an epoch does not wait for the first one's backup. Weights of which each process
    holds a part alone, as `ModelParallel` over several hosts makes them, are written by all, each its parts, through Orbax
    (package `orbax-checkpoint`). From either kind a training goes on with another number of processes or devices.

    The folder stays after the training; a `fit` of no more epochs than it holds trains nothing, and warns. A backup goes before
    `initial_epoch`, which may not be later. A model that its first batch would build is built for
    the shapes of the data.

    Args:
        folder: str or path, of one training; made if it is not there.

    Raises:
        ValueError: for no path; when `fit` starts, before anything of the model is changed, for a place that no folder can be
            made or written in, or that another training writes into (of this `fit`, or of another process); for a backup that
            is damaged (named, with the file in it), or that of another model or optimizer (by class, by the variables that its
            arguments ask for, or by which weights are trained); for processes that see different backups; for an
            `initial_epoch` later than the newest backup; for a `SwapEMAWeights(swap_on_epoch=True)` that comes before, or a
            `ReduceLROnPlateau` after; at the end of an epoch, for a backup of it, or of a later one, that something else has
            written meanwhile.
        ImportError: at the end of an epoch, if weights are split over processes and `orbax-checkpoint` is not installed.

    Example:

    ```python
    model = keras_tx.applications.TextClassifier(100, sequence_length=8)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    ids, labels = np.ones((8, 8), "int32"), np.ones((8,), "int32")
    for epochs in (1, 3):  # the second trains two more
        model.fit(ids, labels, epochs=epochs, verbose=0, callbacks=[keras_tx.backup.Backup(folder)])
    ```
    """

    async_safe = True  # counting batches is no reason for Keras to wait for each

    def __init__(self, folder):
        super().__init__()
        if not folder or not isinstance(folder, (str, os.PathLike)):
            raise ValueError(f"`folder` must be the path of a folder. Received: folder={folder!r}.")
        self.folder = Path(folder)
        self._lock = None
        self._restored = 0  # the epochs that this `fit` goes on from
        self._epoch = Epoch()
        self._constants = set()  # weights that are not trained and were not finite before

    def on_train_begin(self, logs=None):
        self._restored, self._epoch = 0, Epoch((self.params or {}).get("steps"))
        fit = FitCall(self.model)
        self._check_callbacks(fit.callbacks)
        if processes.process()[0] == 0:
            _check_place(self.folder)
            self._lock = FolderLock(self.folder)
        try:
            self._take_up(fit)
        except BaseException:
            self._unlock()
            raise
        trained = {id(weight) for weight in self.model.trainable_weights}
        self._constants = {id(each) for each in not_finite(w for w in self.model.weights if id(w) not in trained)}

    def on_epoch_begin(self, epoch, logs=None):
        has_started(self.model)
        self._epoch.begin()
        if epoch < self._restored:
            raise ValueError(
                "A `fit` must go on from the newest backup; `callbacks` may hold no other that sets its first epoch. Received: "
                f"{self.folder}, which holds {self._restored} epochs, and a `fit` that starts after {epoch}."
            )

    def on_train_batch_begin(self, batch, logs=None):
        self._epoch.batch_begins(batch)

    def on_train_batch_end(self, batch, logs=None):
        self._epoch.batch_ends(batch)

    def on_epoch_end(self, epoch, logs=None):
        reason = self._epoch.cut_off(getattr(self.model, "stop_training", False)) or self._unfit()
        if reason is not None:
            if processes.process()[0] == 0:
                kept = self._found()
                last = f"the last backup, of epoch {_number(kept[-1])}, stays" if kept else "there is no earlier backup"
                warnings.warn(
                    f"Epoch {epoch + 1} is not backed up in {self.folder}, because {reason}; {last}. The next `fit` with this "
                    "folder goes on from the last backup.",
                    stacklevel=2,
                )
            return
        split = processes.is_split(self.model)
        path = self.folder / f"epoch-{epoch + 1}"
        if processes.process()[0] != 0:
            if split:
                processes.write_parts(partial(path), self.model)
            return
        earlier = self._found()
        if path.exists() or (earlier and _number(earlier[-1]) > epoch + 1):
            there = path if path.exists() else earlier[-1]
            raise ValueError(
                f"Each training must have a folder of its own. Received: {there}, which something else has written meanwhile."
            )
        with whole_folder(path) as beside:
            write(beside, self.model, epoch + 1, split)
        for each in earlier:
            if is_backup(each):  # else it is somebody else's
                shutil.rmtree(each)

    def on_train_end(self, logs=None):
        has_started(self.model)
        self._unlock()

    def _unlock(self):
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _check_callbacks(self, callbacks):
        """Raises `ValueError` for other callbacks that a backup cannot be written beside."""
        same = [
            each for each in callbacks if isinstance(each, Backup) and each.folder.resolve() == self.folder.resolve()
        ]
        if len(same) > 1:
            raise ValueError(
                "`callbacks` must hold one Backup for a folder. Received: "
                f"{len(same)} for {str(self.folder)!r}, as {[str(each.folder) for each in same]}."
            )
        place = callbacks.index(self) if self in callbacks else len(callbacks)
        if any(isinstance(each, keras.callbacks.ReduceLROnPlateau) for each in callbacks[place:]):
            raise ValueError(
                "Backup must come after ReduceLROnPlateau in `callbacks`, which at the end of an epoch sets the learning rate to "
                f"train on with. Received: {_classes(callbacks)}."
            )
        for each in callbacks[:place]:
            if isinstance(each, keras.callbacks.SwapEMAWeights) and each.swap_on_epoch:
                raise ValueError(
                    "Backup must come before SwapEMAWeights(swap_on_epoch=True) in `callbacks`, which at the end of an epoch "
                    f"puts averages in the place of the weights to train on with. Received: {_classes(callbacks)}."
                )

    def _take_up(self, fit):
        """Goes on from the newest backup, if there is one."""
        found = self._found()
        done = _number(found[-1]) if found else 0
        processes.check_agreement(self.folder, done)
        if not found:
            return
        if fit.initial_epoch > done:
            raise ValueError(
                "`initial_epoch` must not be later than the newest backup, which `fit` goes on from; leave it out, or take "
                f"another `folder`. Received: initial_epoch={fit.initial_epoch}, {found[-1]}."
            )
        try:
            fit.build_model()
            rates = learning_rates(self.model)
            read(found[-1], self.model, done)
        except Exception as error:  # of HDF5, of Orbax or of Keras, by what is wrong
            raise ValueError(
                "A backup must be whole, and of this model and optimizer; it stays as it is: make model and optimizer as they "
                "were, or start another training in another `folder`. Received: "
                f"{found[-1]}: {type(error).__name__}: {error}"
            ) from error
        self._restored = done
        start_with(done, self.model)
        set_rate = (keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau)
        told = any(
            isinstance(each, set_rate) for each in fit.callbacks
        )  # the rate is that of a callback, and not the caller's
        if not told and not np.allclose(rates, learning_rates(self.model), rtol=1e-6, atol=0.0):
            warnings.warn(
                f"The training goes on with the learning rate of {found[-1]}, {learning_rates(self.model)}, and not with that of "
                f"the optimizer, {rates}; to change it, set `optimizer.learning_rate` in a callback.",
                stacklevel=2,
            )
        asked = (self.params or {}).get("epochs")
        if asked is not None and asked <= done:
            warnings.warn(
                f"{self.folder} holds {done} epochs of training, and `fit` was asked for no more than {asked}: it trains "
                "nothing.",
                stacklevel=2,
            )

    def _unfit(self):
        """Returns in words what is not finite in the state, or `None`."""
        variables = [*self.model.weights, *optimizer_variables(self.model)]
        wrong = [each for each in not_finite(variables) if id(each) not in self._constants]
        return f"{wrong[0].path} holds NaN or infinity" if wrong else None

    def _found(self):
        """Returns the folders of backups, the newest last."""
        found = self.folder.iterdir() if self.folder.exists() else ()
        return sorted((path for path in found if _NAME.fullmatch(path.name) and path.is_dir()), key=_number)


def _number(path):
    return int(_NAME.fullmatch(path.name)[1])


def _classes(callbacks):
    return ", ".join(type(each).__name__ for each in callbacks)


def _check_place(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"`folder` must be a folder that can be made and written in. Received: folder={str(folder)!r}: {error}"
        ) from error
