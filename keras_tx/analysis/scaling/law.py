"""A law of scaling: what it predicts, and the best run that a budget pays for."""

import dataclasses
from typing import NamedTuple

import numpy as np

from ... import arguments
from ..plots.scaling import plot_scaling_law
from .forms import FORMS

LEVEL = 0.95  # of all intervals
COST = 6.0  # FLOP a parameter and token of a training step: two forwards, four backwards


class Optimum(NamedTuple):
    """The best run of a budget: N = G (C / c0)^a, D = (C / c0)^b / G.

    Attributes:
        compute: float, C: the budget in FLOP.
        parameters: float, N.
        tokens: float, D.
        tokens_per_parameter: float, D / N.
        loss: float, L(N, D).
        G: float.
        a: float, the exponent of N.
        b: float, that of D: 1 - a.
        intervals: dict from each of these names but `compute` to (low, high) of 95 % of the bootstraps; empty without them.
    """

    compute: float
    parameters: float
    tokens: float
    tokens_per_parameter: float
    loss: float
    G: float
    a: float
    b: float
    intervals: dict


@dataclasses.dataclass(frozen=True)
class ScalingLaw:
    """A law of the loss of N parameters trained on D tokens, fitted by `fit_scaling_law` or made from published constants.

    `print(law)` shows the constants and their intervals.

    Args:
        form: "hoffmann", L = E + A / N^alpha + B / D^beta, or "kaplan", L = ((N_c / N)^(alpha_N / alpha_D) + D_c / D)^alpha_D.
        constants: dict from the names of the form's constants to positive floats.
        samples: float array (bootstraps, constants), in the order of `constants`, or `None`.
        points: the arrays (parameters, tokens, losses) that the law was fitted to, or `None`.
        noise: float, the standard deviation of log L about the law, or `None`.
        objective: float, the sum of the Huber losses, or `None`.

    Raises:
        ValueError: for an unknown form, and for other constants than those of the form.

    Example:

    ```python
    constants = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}  # Hoffmann et al. 2022, equation 10
    law = keras_tx.analysis.ScalingLaw("hoffmann", constants)
    loss = law.predict(70e9, 1.4e12)
    ```
    """

    form: str
    constants: dict
    samples: np.ndarray | None = None
    points: tuple | None = None
    noise: float | None = None
    objective: float | None = None

    def __post_init__(self):
        arguments.choice("form", self.form, FORMS)
        names = FORMS[self.form].names
        if not isinstance(self.constants, dict) or {*self.constants} != {*names}:
            raise ValueError(
                f"`constants` must be a dict of {', '.join(names)}. Received: constants={self.constants!r}."
            )
        for name, value in self.constants.items():
            arguments.positive_float(f"constants[{name!r}]", value)

    @property
    def intervals(self):
        """A dict from each constant to (low, high) of 95 % of the bootstraps; empty where there are none."""
        if self.samples is None or not len(self.samples):
            return {}
        return dict(zip(self.constants, _interval(self.samples), strict=True))

    def predict(self, parameters, tokens):
        """Returns the loss of runs, float64, in the shape that the arguments broadcast to.

        Args:
            parameters: positive number or array, N, counted as in the fit.
            tokens: positive number or array, D.

        Raises:
            ValueError: for counts that are not positive and finite.
        """
        return FORMS[self.form].loss(self._ordered(), *_counts(parameters=parameters, tokens=tokens))

    def predict_interval(self, parameters, tokens):
        """Returns (low, high): 95 % of the bootstraps predict a loss between them. The noise of a run is not in it.

        Args:
            parameters: positive number or array, N.
            tokens: positive number or array, D.

        Raises:
            ValueError: for counts that are not positive and finite, and for a law without bootstraps.
        """
        if not self.intervals:
            raise ValueError(
                "An interval needs a law that was fitted with `bootstraps`. Received: a law that has none."
            )
        counts = np.broadcast_arrays(*_counts(parameters=parameters, tokens=tokens))
        return _interval(np.array([FORMS[self.form].loss(each, *counts) for each in self.samples]), by_column=False)

    def optimal(self, compute, c0=COST):
        """Returns the `Optimum`: the parameters and tokens that give the least loss for C = c0 N D, in closed form.

        Args:
            compute: positive float, C: the FLOP of the training.
            c0: positive float, FLOP a parameter and token.

        Raises:
            ValueError: for numbers that are not positive and finite.
        """
        pairs = arguments.positive_float("compute", compute), arguments.positive_float("c0", c0)
        found = self._best(self._ordered(), *pairs)
        intervals = {}
        if self.intervals:
            rows = np.array([self._best(each, *pairs) for each in self.samples])
            intervals = dict(zip(Optimum._fields[1:], _interval(rows), strict=False))
        return Optimum(pairs[0], *map(float, found), intervals)

    def plot(self, title=None, path=None, c0=COST):
        """Draws the losses along lines of equal compute with the best run of each, the frontier, and the residuals.

        Args:
            title: str over the picture, or `None`.
            path: file to write, PNG by its ending, or `None`.
            c0: positive float, FLOP a parameter and token.

        Returns:
            The `matplotlib.figure.Figure`.

        Raises:
            ValueError: for a law that was not fitted to points.
            ImportError: if matplotlib is missing, with the command that installs it.
        """
        if self.points is None:
            raise ValueError("A picture needs a law that was fitted to points. Received: a law that has none.")
        return plot_scaling_law(self, arguments.positive_float("c0", c0), title, path)

    def __str__(self):
        intervals = self.intervals
        rows = [f"{name:>7}  {value:<10.5g}" for name, value in self.constants.items()]
        if intervals:
            rows = [
                f"{row}  {low:.5g} to {high:.5g}" for row, (low, high) in zip(rows, intervals.values(), strict=True)
            ]
        if self.noise is not None:
            rows.append(f"  noise  {self.noise:.2%} of the loss, {len(self.points[0])} points")
        return "\n".join(map(str.rstrip, [f"scaling law, form {self.form}", *rows]))

    def _ordered(self):
        return [float(self.constants[name]) for name in FORMS[self.form].names]

    def _best(self, constants, compute, c0):
        """Returns the values of an `Optimum` for constants in the order of the form."""
        form = FORMS[self.form]
        scale, a, b = form.balance(constants)
        budget = np.log(compute / c0)
        logs = np.array([scale + a * budget, b * budget - scale, (b - a) * budget - 2 * scale, scale])
        with np.errstate(over="ignore"):  # of a bootstrap that pins nothing: infinity is its answer
            parameters, tokens, ratio, scale = np.exp(logs)
            return parameters, tokens, ratio, form.loss(constants, parameters, tokens), scale, a, b


def _interval(samples, by_column=True):
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return [(float(x), float(y)) for x, y in zip(low, high, strict=True)] if by_column else (low, high)


def _counts(**named):
    """Yields float64 arrays; raises `ValueError` unless all values are positive and finite."""
    for name, values in named.items():
        values = np.asarray(values)
        if values.dtype.kind not in "iuf" or not np.all(np.isfinite(values) & (values > 0)):
            raise ValueError(f"`{name}` must be positive, finite numbers. Received: {name}={values!r}.")
        yield values.astype("float64")
