"""The files of one backup: written from a model, and read into one that they fit."""

import json
import warnings

import keras
import numpy as np

from ..atomic_folders import check_files
from . import processes
from .state import build_optimizer, describe, first_difference, seeds

_EPOCH = "training_metadata.json"  # as Keras names it, like the next
_WEIGHTS = "latest.weights.h5"
_SEEDS = "seeds.npz"
_DESCRIPTION = "description.json"


def is_backup(folder):
    """Returns whether a folder was written as a backup."""
    return (folder / _EPOCH).exists()


def write(folder, model, epoch, split):
    """Writes a model's state after so many epochs; weights that are split over processes are written by all of these."""
    (folder / _EPOCH).write_text(json.dumps({"epoch": epoch, "batch": 0}))
    (folder / _DESCRIPTION).write_text(json.dumps(describe(model), indent=1))
    if split:
        processes.write_parts(folder, model)
        return
    with processes.not_distributed():
        model.save_weights(folder / _WEIGHTS)
    np.savez(folder / _SEEDS, *[keras.ops.convert_to_numpy(each) for each in seeds(model)])


def read(folder, model, epoch):
    """Takes up a backup of so many epochs; raises an error, before a weight has changed, if it is damaged or does not fit."""
    check_files(folder, *processes.process())
    split = (folder / processes.PARTS).exists()
    for name in (_EPOCH, *([] if split else [_WEIGHTS])):
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing")
    said = json.loads((folder / _EPOCH).read_text())["epoch"]
    if said != epoch:
        raise ValueError(f"{_EPOCH} says epoch {said}")
    build_optimizer(model)
    if (folder / _DESCRIPTION).is_file():
        difference = first_difference(json.loads((folder / _DESCRIPTION).read_text()), describe(model))
        if difference:
            raise ValueError(difference)
    if split:
        processes.read_parts(folder, model)
        return
    states, variables = _read_seeds(folder / _SEEDS), seeds(model)
    if states is not None and [each.shape for each in states] != [tuple(each.shape) for each in variables]:
        raise ValueError(f"{_SEEDS} holds the state of {len(states)} seeds, and this model has {len(variables)}")
    with warnings.catch_warnings():  # with another optimizer Keras goes on, and only warns
        warnings.filterwarnings("error", "Skipping variable loading")
        model.load_weights(folder / _WEIGHTS)
    for variable, value in zip(variables, states or (), strict=states is not None):
        variable.assign(value)


def _read_seeds(file):
    if not file.is_file():
        return None
    with np.load(file) as saved:
        return list(saved.values())
