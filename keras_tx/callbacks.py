"""Callbacks for `model.fit`: how fast a model trains, in Keras' own progress bar."""

import threading
import time

import keras
import numpy as np

from . import arguments
from .analysis import Costs
from .analysis.costs.parameters import count_parameters

_PRODUCTS = 8  # one after the other, so that a call's own cost is small beside them


class Throughput(keras.callbacks.Callback):
    """Shows tokens or examples a second, floating-point operations a second and utilization in Keras' progress bar.

    They stand in the logs of each epoch, and so in the history, as "tokens_per_second" ("examples_per_second" for a model without
    tokens), "teraflops_per_second" and, with a peak, "utilization". The first step of `fit` is left out, as it is compiled then
    (with `steps_per_execution` the first execution); a first epoch of no more has none of them. A smaller last batch of an epoch
    counts as a whole one, and a last execution of fewer steps than the others too where Keras is not told how many there are.

    Args:
        costs: `keras_tx.analysis.Costs` of one batch of the model, counted with `mode="train"`. Keras does not tell how large a
            batch is, so that the rates are those of as many examples or tokens as were counted.
        peak_flops: float, operations a second that the device can do, as its maker states or `measure_peak_flops` finds them;
            `None` for no utilization.

    Raises:
        ValueError: for costs of another mode, a peak that is no positive number, and, when training begins, costs of a model with
            another number of parameters.

    Example:

    ```python
    inputs = keras.Input((16, 8))
    model = keras.Model(inputs, keras_tx.layers.TransformerEncoder(32, 2)(inputs))
    model.compile("adam", "mse")
    x = np.zeros((32, 16, 8), "float32")
    costs = keras_tx.analysis.count_costs(model, (4, 16, 8), mode="train")
    history = model.fit(x, x, batch_size=4, verbose=0, callbacks=[keras_tx.callbacks.Throughput(costs)])
    rate = history.history["examples_per_second"][0]
    ```

    Reference:
        Chowdhery et al. 2022, "PaLM", appendix B, for utilization, of which theirs leaves out what is computed a second time.
    """

    async_safe = True  # the host need not wait for the loss of each step

    def __init__(self, costs, peak_flops=None):
        super().__init__()
        if not isinstance(costs, Costs) or costs.mode != "train":
            found = f"mode={costs.mode!r}" if isinstance(costs, Costs) else type(costs).__name__
            raise ValueError(
                f"`costs` must be keras_tx.analysis.count_costs(model, inputs, mode='train') of one batch. Received: {found}."
            )
        self.costs = costs
        self.peak_flops = arguments.positive_float("peak_flops", peak_flops, optional=True)

    def on_train_begin(self, logs=None):
        self._lock = threading.Lock()  # not before, so that it can be copied
        self._first = self._last = self._rates_shown = None  # a batch, and when it ended
        counted, model = self.costs.parameters["total"], self.model
        found = counted if model is None or not model.built else count_parameters([model])
        if found != counted:
            raise ValueError(
                "`costs` must be counted for the model that is trained. Received: costs of "
                f"{self.costs.name} with {counted:,} parameters, for {model.name} with {found:,}."
            )

    def on_epoch_begin(self, epoch, logs=None):
        if self._first is not None:
            self._first = self._last = (-1, time.perf_counter())

    def on_train_batch_end(self, batch, logs=None):
        """Counts the batches; Keras may call it from several threads, in any order."""
        count = (self.params or {}).get("steps")
        if count is not None:  # of the last execution in an epoch Keras tells as if it had as many steps as the others
            batch = min(batch, count - 1)
        with self._lock:
            ended = batch, time.perf_counter()
            self._first, self._last = min(self._first or ended, ended), max(self._last or ended, ended)
            steps, seconds = (last - first for first, last in zip(self._first, self._last, strict=True))
            if logs is not None and steps and seconds > 0:
                self._rates_shown = self._rates(steps / seconds)
                logs.update(self._rates_shown)

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None and self._rates_shown is not None:
            logs.update(self._rates_shown)

    def _rates(self, steps_per_second):
        flops = steps_per_second * self.costs.flops
        counted, name = (self.costs.tokens, "tokens") if self.costs.tokens else (self.costs.examples, "examples")
        rates = {f"{name}_per_second": steps_per_second * counted, "teraflops_per_second": flops / 1e12}
        return rates if self.peak_flops is None else {**rates, "utilization": flops / self.peak_flops}


def measure_peak_flops(dtype=None, size=2048, rounds=5):
    """Returns the operations a second that a compiled product of two square matrices reaches: the best of some rounds.

    Args:
        dtype: str, of the matrices; `None` for Keras' compute dtype.
        size: int, of their sides.
        rounds: int, how often the product is timed.

    Raises:
        ValueError: for sizes and rounds that are no positive integers, and a dtype that is no float.
    """
    arguments.positive_int("size", size)
    arguments.positive_int("rounds", rounds)
    dtype = keras.backend.standardize_dtype(dtype or keras.config.dtype_policy().compute_dtype)
    if "float" not in dtype:
        raise ValueError(f"`dtype` must be one of floats. Received: dtype={dtype!r}.")
    matrix = np.random.default_rng(0).standard_normal((size, size)).astype("float32") / size**0.5
    inputs = keras.Input(shape=(size,), dtype=dtype)
    x, square = inputs, keras.ops.cast(matrix, dtype)
    for _ in range(_PRODUCTS):
        x = keras.ops.matmul(x, square)
    model = keras.Model(inputs, keras.ops.sum(x, axis=-1))
    model.compile()
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        model.predict_on_batch(matrix)
        seconds.append(time.perf_counter() - start)
    return 2 * _PRODUCTS * size**3 / min(seconds[1:])
