"""What the progress bar shows is what was counted over the time that the steps took."""

import types

import keras
import numpy as np
import pytest

from keras_tx import analysis, applications, callbacks


def trained(peak=None, **fit):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    model.compile("sgd", "mse")
    costs = analysis.count_costs(model, (8, 4), mode="train")
    x, y = np.zeros((32, 4), "float32"), np.zeros((32, 3), "float32")
    shown = callbacks.Throughput(costs, peak)
    return costs, model.fit(x, y, batch_size=8, verbose=0, callbacks=[shown], **fit).history


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 0, 2, 3), (2, 3, 1, 0)])
def test_rates_are_those_of_the_steps_whatever_thread_tells_of_one_first(order, monkeypatch):
    clock = types.SimpleNamespace(
        perf_counter=lambda: now
    )  # not of `time` itself, which others in this process ask too
    monkeypatch.setattr(callbacks, "time", clock)
    inputs = keras.Input((4,))
    costs = analysis.count_costs(keras.Model(inputs, keras.layers.Dense(3)(inputs)), (8, 4), mode="train")
    shown = callbacks.Throughput(costs, 1000.0)
    now = 0.0
    shown.on_train_begin()
    for epoch, start in enumerate((0.0, 20.0)):
        now = start
        shown.on_epoch_begin(epoch)
        for batch in order:  # half a second a step; told of in this order
            now = start + 0.5 * (batch + 1)
            shown.on_train_batch_end(batch, {})
        logs = {}
        shown.on_epoch_end(epoch, logs)
        assert logs["examples_per_second"] == 16.0
        assert np.isclose(logs["teraflops_per_second"], 2 * costs.flops / 1e12)
        assert np.isclose(logs["utilization"], 2 * costs.flops / 1000)


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


def test_a_peak_is_measured():
    assert 1e6 < callbacks.measure_peak_flops(size=64, rounds=2) < 1e15
