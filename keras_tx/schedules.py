"""Learning rates that warm up before they fall; Keras has no such schedule but cosine decay."""

import math

import keras
from keras import ops

from . import arguments

_SMALLEST, _LARGEST = 1.1754944e-38, 3.4028234e38  # of float32's normal numbers


class _WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of the step's number, counted from 0; the arithmetic is float32, on any backend."""

    def __call__(self, step):
        return self._rate(ops.cast(step, "float32") + 1.0)

    def get_config(self):
        return {name: getattr(self, name) for name in self._arguments}


@keras.saving.register_keras_serializable(package="keras_tx")
class LinearWarmUpDecay(_WarmUp):
    """Rises linearly to the peak in the warm-up, then falls linearly to the end rate, and stays there.

    rate(n) = peak n / W for n <= W; then peak + (end - peak) (n - W) / (N - W), for the n-th step, counted from 1.

    Args:
        peak: float above 0.
        total_steps: int, N: the step at which the end rate is reached.
        warm_up_steps: int from 0 to N - 1, W.
        end: float of at least 0, at most the peak.
        name: str.

    Raises:
        ValueError: for values out of these ranges.

    Example:

    ```python
    rate = keras_tx.schedules.LinearWarmUpDecay(1e-4, total_steps=1000, warm_up_steps=100)
    optimizer = keras.optimizers.AdamW(rate)
    ```

    Reference:
        Devlin et al. 2019, "BERT", appendix A.2.
    """

    _arguments = ("peak", "total_steps", "warm_up_steps", "end", "name")

    def __init__(self, peak, total_steps, warm_up_steps=0, end=0.0, name="linear_warm_up_decay"):
        self.peak = _positive("peak", peak)
        self.total_steps = arguments.integer("total_steps", total_steps, 1)
        self.warm_up_steps = arguments.integer("warm_up_steps", warm_up_steps, 0)
        if self.warm_up_steps >= self.total_steps:
            raise ValueError(
                "`warm_up_steps` must be less than `total_steps`. Received: "
                f"warm_up_steps={warm_up_steps}, total_steps={total_steps}."
            )
        self.end = arguments.number(
            "end", end, f"a number from 0 to the peak, {peak}", lambda end: 0 <= end <= self.peak
        )
        self.name = name

    def _rate(self, number):
        rising = self.peak * number / max(self.warm_up_steps, 1)
        share = (number - self.warm_up_steps) / (self.total_steps - self.warm_up_steps)
        falling = self.peak + (self.end - self.peak) * ops.clip(share, 0.0, 1.0)
        return ops.where(number <= self.warm_up_steps, rising, falling)


@keras.saving.register_keras_serializable(package="keras_tx")
class Noam(_WarmUp):
    """Rises linearly in the warm-up, then falls with the root of the step, scaled by the model's width.

    rate(n) = factor D^(-1/2) min(n^(-1/2), n W^(-3/2)) for the n-th step, counted from 1. Its peak, at step W, is
    factor (D W)^(-1/2).

    Args:
        hidden_dim: int, D.
        warm_up_steps: int of at least 1, W.
        factor: float above 0.
        name: str.

    Raises:
        ValueError: for values out of these ranges.

    Example:

    ```python
    optimizer = keras.optimizers.Adam(keras_tx.schedules.Noam(512), beta_2=0.98, epsilon=1e-9)
    ```

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 5.3.
    """

    _arguments = ("hidden_dim", "warm_up_steps", "factor", "name")

    def __init__(self, hidden_dim, warm_up_steps=4000, factor=1.0, name="noam"):
        self.hidden_dim = arguments.integer("hidden_dim", hidden_dim, 1)
        self.warm_up_steps = arguments.integer("warm_up_steps", warm_up_steps, 1)
        self.factor, self.name = _positive("factor", factor), name

    def _rate(self, number):
        scale = self.factor / math.sqrt(self.hidden_dim)
        return scale * ops.minimum(ops.rsqrt(number), number * self.warm_up_steps**-1.5)


@keras.saving.register_keras_serializable(package="keras_tx")
class InverseSquareRoot(_WarmUp):
    """Rises linearly to the peak in the warm-up, then falls with the root of the step.

    rate(n) = peak min(n / W, (W / n)^(1/2)) for the n-th step, counted from 1.

    Args:
        peak: float above 0.
        warm_up_steps: int of at least 1, W.
        name: str.

    Raises:
        ValueError: for values out of these ranges.

    Example:

    ```python
    optimizer = keras.optimizers.Adam(keras_tx.schedules.InverseSquareRoot(5e-4, warm_up_steps=4000))
    ```

    Reference:
        Ott et al. 2018, "Scaling Neural Machine Translation", section 3.1; Raffel et al. 2020, "T5", section 3.1.2.
    """

    _arguments = ("peak", "warm_up_steps", "name")

    def __init__(self, peak, warm_up_steps=10_000, name="inverse_square_root"):
        self.peak = _positive("peak", peak)
        self.warm_up_steps = arguments.integer("warm_up_steps", warm_up_steps, 1)
        self.name = name

    def _rate(self, number):
        return self.peak * ops.minimum(number / self.warm_up_steps, math.sqrt(self.warm_up_steps) * ops.rsqrt(number))


def _positive(name, value):
    # Below the smallest normal float32 XLA takes a number for 0.
    rule = "a number above 0 that float32 holds"
    return arguments.number(name, value, rule, lambda value: _SMALLEST <= value <= _LARGEST)
