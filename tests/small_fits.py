"""Models of one layer, and fits of a few batches, for tests of what runs around a training."""

import os

import keras
import numpy as np

ROWS = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
BAD = ROWS.copy()
BAD[7] = np.nan  # in the second batch of three


def made(optimizer=None, units=1, before=()):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), *before, keras.layers.Dense(units)])
    model.compile(optimizer or keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    return model


def fit(model, epochs, *callbacks, data=ROWS, **arguments):
    arguments = {"batch_size": 4, "shuffle": False, "verbose": 0, **arguments}
    return model.fit(data, ROWS[:, :1], epochs=epochs, callbacks=[*callbacks], **arguments).epoch


def fitted(epochs, *callbacks, optimizer=None):
    """Weights and model after a fit that is compiled where an optimizer is given, and where not on JAX alone."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, name="dense"), keras.layers.Dense(1, name="dense_1")]
    )
    eager = optimizer is None and keras.backend.backend() != "jax"
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9), "mse", run_eagerly=eager)
    rows, arguments = ROWS[:8], {"batch_size": 4, "shuffle": False, "verbose": 0}
    model.fit(rows, rows[:, :1], epochs=epochs, callbacks=[*callbacks], **arguments)
    return [keras.ops.convert_to_numpy(weight) for weight in model.weights], model


def values(model):
    return [keras.ops.convert_to_numpy(each) for each in (*model.weights, *model.optimizer.variables)]


def held(folder):
    return sorted(os.listdir(folder))


class Do(keras.callbacks.Callback):
    """Does something at one moment of a fit."""

    def __init__(self, moment, action):
        super().__init__()

        def at(number=0, logs=None):
            action(self.model, number)

        setattr(self, moment, at)
