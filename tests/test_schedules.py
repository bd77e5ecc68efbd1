"""Learning rates by their formulas, in an optimizer and out of a saved one."""

import json
import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.schedules import InverseSquareRoot, LinearWarmUpDecay, Noam

STEPS = np.array([0, 1, 3, 8, 9, 10, 11, 40, 98, 99, 100, 5000])


def rates(schedule):
    return [float(ops.convert_to_numpy(schedule(ops.convert_to_tensor(int(step))))) for step in STEPS]


def linear(number, peak=2e-3, total=100, warm_up=10, end=5e-4):
    if number <= warm_up:
        return peak * number / warm_up
    return max(end, peak + (end - peak) * (number - warm_up) / (total - warm_up))


CASES = {
    "linear": (LinearWarmUpDecay(2e-3, 100, 10, end=5e-4), linear),
    "linear without warm-up": (LinearWarmUpDecay(2e-3, 100), lambda n: 2e-3 * max(0, 1 - n / 100)),
    "noam": (Noam(512, 10, factor=2.0), lambda n: 2 * 512**-0.5 * min(n**-0.5, n * 10**-1.5)),
    "inverse square root": (InverseSquareRoot(1e-3, 10), lambda n: 1e-3 * min(n / 10, math.sqrt(10 / n))),
}


@pytest.mark.parametrize("name", CASES)
def test_rates_follow_the_formula(name):
    schedule, formula = CASES[name]
    np.testing.assert_allclose(rates(schedule), [formula(step + 1) for step in STEPS], rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_a_schedule_comes_back_from_its_config_and_from_a_saved_optimizer(name):
    schedule, _ = CASES[name]
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert again.get_config() == schedule.get_config()
    optimizer = keras.optimizers.get(keras.optimizers.serialize(keras.optimizers.Adam(schedule)))
    assert rates(optimizer._learning_rate) == rates(schedule)


def test_numbers_of_numpy_are_taken_and_serialized():
    schedule = LinearWarmUpDecay(np.float32(1e-3), np.int64(10), np.int32(2), end=np.float64(1e-4))
    again = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(schedule))))
    assert rates(again) == rates(LinearWarmUpDecay(float(np.float32(1e-3)), 10, 2, end=1e-4))
    assert rates(Noam(np.int64(8), np.int16(10))) == rates(Noam(8, 10))


def test_a_compiled_fit_takes_the_rate_of_each_step():
    # Plain descent on a mean whose gradient is 1 moves the weight by the sum of the rates.
    schedule = LinearWarmUpDecay(0.1, 6, 2)
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")(inputs))
    model.compile(keras.optimizers.SGD(schedule), lambda target, output: ops.mean(output, axis=-1), jit_compile="auto")
    model.fit(np.ones((6, 1)), np.zeros((6, 1)), batch_size=1, verbose=0)
    moved = -float(ops.convert_to_numpy(model.weights[0])[0, 0])
    assert moved == pytest.approx(sum(0.1 * x for x in (0.5, 1, 0.75, 0.5, 0.25, 0)), rel=1e-5)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: LinearWarmUpDecay(0.0, 10), "`peak` must be a number above 0 that float32 holds. Received: peak=0.0"),
        (lambda: LinearWarmUpDecay("1", 10), "`peak` must be a number above 0 that float32 holds. Received: peak='1'"),
        (
            lambda: LinearWarmUpDecay(1.0, 10, 10),
            "`warm_up_steps` must be less than `total_steps`. Received: warm_up_st",
        ),
        (
            lambda: LinearWarmUpDecay(1.0, 10.5),
            "`total_steps` must be a positive integer. Received: total_steps=10",
        ),
        (lambda: LinearWarmUpDecay(1.0, 10, -1), "`warm_up_steps` must be an integer of at least 0"),
        (
            lambda: LinearWarmUpDecay(1.0, 10, end=2.0),
            "`end` must be a number from 0 to the peak, 1.0. Received: end=2.0",
        ),
        (lambda: Noam(0), "`hidden_dim` must be a positive integer. Received: hidden_dim=0"),
        (lambda: Noam(8, 0), "`warm_up_steps` must be a positive integer. Received: warm_up_steps=0"),
        (
            lambda: Noam(8, factor=math.inf),
            "`factor` must be a number above 0 that float32 holds. Received: factor=inf",
        ),
        (lambda: InverseSquareRoot(1e-39), "`peak` must be a number above 0 that float32 holds. Received: peak=1e-39"),
        (lambda: Noam(8, factor=1e39), "`factor` must be a number above 0 that float32 holds. Received: factor=1e.39"),
        (lambda: InverseSquareRoot(-1e-3), "`peak` must be a number above 0 that float32 holds. Received: peak=-0.001"),
    ],
)
def test_values_out_of_range_are_named(make, said):
    with pytest.raises(ValueError, match=said):
        make()
