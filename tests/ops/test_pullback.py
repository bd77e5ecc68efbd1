"""Gradients for several upstream gradients are those of the closed form, and zeros where nothing depends on an argument."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.ops.pullback import pullback


def test_gradients_are_those_of_the_closed_form_and_are_had_again_and_again():
    x, y, unused = (ops.convert_to_tensor(np.array(each, "float32")) for each in ([1.0, 2.0], [3.0, 4.0], [5.0]))
    outputs, pull = pullback(lambda x, y, unused: [x * y, ops.sum(x), ops.ones(())], x, y, unused)
    np.testing.assert_allclose(ops.convert_to_numpy(outputs[0]), [3.0, 8.0])
    for scale in (1.0, 2.0):
        upstream = [ops.convert_to_tensor(np.array(each, "float32")) for each in ([scale, 0.0], scale, 7.0)]
        found = [ops.convert_to_numpy(each) for each in pull(upstream)]
        np.testing.assert_allclose(found[0], [4.0 * scale, scale])
        np.testing.assert_allclose(found[1], [scale, 0.0])
        np.testing.assert_allclose(found[2], [0.0])


def test_outputs_that_depend_on_nothing_have_zeros():
    x = ops.ones((2,))
    _, pull = pullback(lambda x: [ops.zeros((3,))], x)
    np.testing.assert_array_equal(ops.convert_to_numpy(pull([ops.ones((3,))])[0]), [0.0, 0.0])


@pytest.mark.once
def test_a_backend_without_gradients_is_named(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")
    with pytest.raises(ValueError, match="Gradients need TensorFlow, JAX or torch. Received: the backend 'openvino'"):
        pullback(lambda x: [x], ops.ones((2,)))
