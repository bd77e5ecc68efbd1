"""Runs on TensorFlow with two logical processors, in a process of its own that `test_distribution.py` starts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_tx import decoding, losses
from keras_tx.applications import GPT

from .detectors import assert_alike, trained_detector

SIZE = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
IDS = np.random.default_rng(0).integers(1, 12, (8, 6)).astype("int32")


@pytest.fixture(scope="module")
def strategy():
    processors = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(processors[0], [tf.config.LogicalDeviceConfiguration()] * 2)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def gpt():
    keras.utils.set_random_seed(0)
    return GPT(12, 8, **SIZE)


def trained(model):
    """The losses of two epochs of batches of 4, the weights after them, and what the model then predicts."""
    loss = losses.TokenCrossentropy(label_smoothing=0.1)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, jit_compile=False)
    history = model.fit(IDS, np.roll(IDS, -1, 1), batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
    weights = [keras.ops.convert_to_numpy(weight) for weight in model.weights]
    return history, weights, model.predict(IDS, batch_size=4, verbose=0)


def test_two_replicas_train_as_one_device(strategy):
    alone = trained(gpt())
    with strategy.scope():
        model = gpt()
        mirrored = trained(model)
    assert strategy.num_replicas_in_sync == 2
    for weight in model.trainable_weights:
        copies = strategy.experimental_local_results(weight.value)
        assert [copy.device[-5:] for copy in copies] == ["CPU:0", "CPU:1"]
        np.testing.assert_array_equal(copies[0], copies[1])  # of one number each, whatever its replica saw
    np.testing.assert_allclose(mirrored[0], alone[0], rtol=1e-5)
    for ours, theirs in zip(mirrored[1], alone[1], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)
    np.testing.assert_allclose(mirrored[2], alone[2], atol=2e-5)


def test_a_set_loss_divides_by_the_objects_of_all_replicas(strategy):
    """Of the last batch, of 3 images, one replica sees two and the other one."""
    assert_alike(trained_detector(strategy.scope(), 7), trained_detector(count=7))


def test_a_mirrored_model_generates_the_same_ids(strategy):
    wanted = decoding.generate(gpt(), [[1, 2, 3], [4]], 4)
    with strategy.scope():
        model = gpt()
    assert decoding.generate(model, [[1, 2, 3], [4]], 4).tolist() == wanted.tolist()
