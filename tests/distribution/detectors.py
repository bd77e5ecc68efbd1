"""A small detector and what it learns: the same, whichever part of a batch and of its objects each device sees."""

import contextlib

import keras
import numpy as np

from keras_tx import losses

LABELS = [[0, 2], [1], [], [], [], [], [1], []]  # two devices see 3, 0, 0 and 1 objects
BOXES = [[[0.1 * place, 0.2, 0.9, 0.3 + 0.1 * place] for place, _ in enumerate(image)] for image in LABELS]
X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")


def trained_detector(scope=None, count=8):
    """The weights of a detector after two epochs of batches of 4, of so many weighted images, and what they were before."""
    with contextlib.nullcontext() if scope is None else scope:
        keras.utils.set_random_seed(0)
        inputs = keras.Input((4,))
        outputs = keras.layers.Dense(2 * 3 * 8, activation="sigmoid")(inputs)
        model = keras.Model(inputs, keras.layers.Reshape((2, 3, 8))(outputs))
        before = [keras.ops.convert_to_numpy(weight) for weight in model.weights]
        compiles = keras.backend.backend() == "jax"  # XLA reads no variable of another device of TensorFlow
        model.compile(keras.optimizers.SGD(0.1), losses.SetPredictionLoss(), jit_compile=compiles)
        targets, weights = losses.pack_targets(LABELS, BOXES, 3, 3), np.array([1, 1, 2, 1, 1, 3, 1, 1.0])
        data = {"x": X[:count], "y": targets[:count], "sample_weight": weights[:count]}
        model.fit(**data, batch_size=4, epochs=2, shuffle=False, verbose=0)
        return [keras.ops.convert_to_numpy(weight) for weight in model.weights], before


def assert_alike(found, alone):
    for ours, theirs, before in zip(found[0], *alone, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)
        assert np.abs(theirs - before).max() > 0.01
