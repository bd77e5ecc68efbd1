"""Training in several processes, on JAX: who writes, and weights of which each process holds a part."""

import contextlib

import keras
import numpy as np

from .state import state

PARTS = "parts"


def process():
    """Returns the number of this process, and how many there are."""
    if keras.backend.backend() != "jax":
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def check_agreement(folder, newest):
    """Raises `ValueError` on every process if they do not see the same backup."""
    if process()[1] == 1:
        return
    from jax.experimental import multihost_utils

    seen = multihost_utils.process_allgather(np.array(newest or 0)).tolist()
    if len(set(seen)) > 1:
        raise ValueError(
            f"`folder` must be one that all processes see. Received: folder={str(folder)!r}, in which the newest backup is, by "
            f"process, that of epoch {seen} (0 is none)."
        )


@contextlib.contextmanager
def not_distributed():
    """Lets this process make a variable alone, as Keras does to save an optimizer; distributed, it would wait for the others."""
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def is_split(model):
    """Returns whether this process lacks a part of some weight."""
    return not all(_is_here(weight) for weight in model.weights)


def _is_here(weight):
    value = weight.value
    return keras.backend.backend() != "jax" or value.is_fully_addressable or value.is_fully_replicated


def write_parts(folder, model):
    """Writes what this process holds of a model's state; all processes must call it."""
    with _orbax().StandardCheckpointer() as checkpointer:
        checkpointer.save((folder / PARTS).absolute(), [variable.value for variable in state(model)])


def read_parts(folder, model):
    """Reads what this process holds of a model's state; raises `ValueError` where that is not what was written."""
    if keras.backend.backend() != "jax":
        raise ValueError(f"it was split over processes, which is read on JAX and not on {keras.backend.backend()}")
    import jax

    variables = state(model)
    places = [jax.ShapeDtypeStruct(each.shape, each.dtype, sharding=each.value.sharding) for each in variables]
    place = (folder / PARTS).absolute()
    with _orbax().StandardCheckpointer() as checkpointer:
        saved = [each.shape for each in jax.tree.leaves(checkpointer.metadata(place).item_metadata)]
        wanted = [tuple(each.shape) for each in variables]
        if saved != wanted:
            raise ValueError(f"the shapes of its variables are {saved}, and those of this model and optimizer {wanted}")
        values = checkpointer.restore(place, places)
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _orbax():
    try:
        import orbax.checkpoint
    except ImportError as error:
        raise ImportError(
            "A backup of weights that are split over processes needs Orbax: pip install orbax-checkpoint."
        ) from error
    return orbax.checkpoint
