"""What the progress bar shows is what was counted over the time that the steps took."""

import types

import keras
import numpy as np
import pytest

from keras_tx import analysis, applications, callbacks


def trained(peak=None, steps_per_execution=1, **fit):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    model.compile("sgd", "mse", steps_per_execution=steps_per_execution)
    costs = analysis.count_costs(model, (8, 4), mode="train")
    x, y = np.zeros((32, 4), "float32"), np.zeros((32, 3), "float32")
    shown = callbacks.Throughput(costs, peak)
    return costs, model.fit(x, y, batch_size=8, verbose=0, callbacks=[shown], **fit).history


@pytest.fixture
def clock(monkeypatch):
    """What the callback asks for the time: `clock.now`, and not `time` itself, which others in this process ask too."""
    clock = types.SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(callbacks, "time", clock)
    return clock


def epochs(clock, batches, **params):
    """The costs of a batch, and what the logs of two epochs show of steps of half a second that are told of in this order."""
    inputs = keras.Input((4,))
    costs = analysis.count_costs(keras.Model(inputs, keras.layers.Dense(3)(inputs)), (8, 4), mode="train")
    shown, found = callbacks.Throughput(costs, 1000.0), []
    shown.set_params(params)
    shown.on_train_begin()
    for epoch in range(2):
        clock.now = start = 20.0 * epoch
        shown.on_epoch_begin(epoch)
        for batch in batches:
            clock.now = start + 0.5 * (min(batch, params.get("steps", np.inf) - 1) + 1)
            shown.on_train_batch_end(batch, {})
        logs = {}
        shown.on_epoch_end(epoch, logs)
        found.append(logs)
    return costs, found


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 0, 2, 3), (2, 3, 1, 0)])
def test_rates_are_those_of_the_steps_whatever_thread_tells_of_one_first(order, clock):
    costs, found = epochs(clock, order)
    for logs in found:
        assert logs["examples_per_second"] == 16.0
        assert np.isclose(logs["teraflops_per_second"], 2 * costs.flops / 1e12)
        assert np.isclose(logs["utilization"], 2 * costs.flops / 1000)


@pytest.mark.parametrize(("batches", "shown"), [((3, 7, 11), [True, True]), ((99,), [False, True])])
def test_a_last_execution_counts_the_steps_that_it_has(batches, shown, clock):
    """With `steps_per_execution` of 4, and of 100, in epochs of 10 steps; Keras tells of the last step that there might be."""
    _, found = epochs(clock, batches, steps=10)
    assert [logs.get("examples_per_second") for logs in found] == [16.0 if each else None for each in shown]


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras runs one step an execution on torch")
def test_keras_says_how_many_steps_an_epoch_has(monkeypatch):
    seen, told = [], callbacks.Throughput.on_train_batch_end
    monkeypatch.setattr(
        callbacks.Throughput,
        "on_train_batch_end",
        lambda self, batch, logs=None: (seen.append((batch, self.params["steps"])), told(self, batch, logs)),
    )
    _, history = trained(epochs=2, steps_per_execution=3)
    assert sorted(set(seen)) == [(2, 4), (5, 4)]
    assert np.min(history["examples_per_second"]) > 0


def test_rates_are_in_the_history_of_each_epoch():
    _, history = trained(peak=1000.0, epochs=2)
    rates = [history[key] for key in ("examples_per_second", "teraflops_per_second", "utilization")]
    assert np.shape(rates) == (3, 2)
    assert np.min(rates) > 0


def test_tokens_and_the_progress_bar(capsys):
    model = applications.GPT(20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=8, sequence_length=6)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    costs = analysis.count_costs(model, (4, 6), mode="train")
    ids = np.ones((16, 6), "int32")
    history = model.fit(ids, ids, batch_size=4, verbose=1, callbacks=[callbacks.Throughput(costs)]).history
    assert history["tokens_per_second"][0] > 0
    assert "utilization" not in history
    assert "tokens_per_second" in capsys.readouterr().out


@pytest.mark.once
def test_refusals():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    with pytest.raises(ValueError, match="mode='forward'"):
        callbacks.Throughput(analysis.count_costs(model, (8, 4)))
    with pytest.raises(ValueError, match="Received: int"):
        callbacks.Throughput(3)
    costs = analysis.count_costs(model, (8, 4), mode="train")
    for peak in (0, -1.0, "fast"):
        with pytest.raises(ValueError, match="`peak_flops` must"):
            callbacks.Throughput(costs, peak)
    with pytest.raises(ValueError, match="`dtype` must"):
        callbacks.measure_peak_flops("int32")


@pytest.mark.once
def test_costs_of_another_model_are_refused():
    inputs = keras.Input((4,))
    small, large = (keras.Model(inputs, keras.layers.Dense(size)(inputs), name=f"of_{size}") for size in (3, 5))
    large.compile("sgd", "mse")
    shown = callbacks.Throughput(analysis.count_costs(small, (8, 4), mode="train"))
    with pytest.raises(ValueError, match="`costs` must be .* costs of of_3 with 15 parameters, for of_5 with 25"):
        large.fit(np.zeros((16, 4)), np.zeros((16, 5)), batch_size=8, verbose=0, callbacks=[shown])


def test_a_peak_is_measured():
    assert 1e6 < callbacks.measure_peak_flops(size=64, rounds=2) < 1e15
