"""A law fitted to the losses of runs."""

import warnings

import numpy as np

from ... import arguments
from .forms import FORMS, MOST
from .law import ScalingLaw
from .points import check_points, count_distinct

LEAST = 1e-3  # an exponent below says that losses do not fall
DELTA = 1e-3  # Hoffmann et al.: beyond it, a residual of log L counts by its size, and not by its square


def fit_scaling_law(parameters, tokens, losses, form="hoffmann", bootstraps=200, seed=0):
    """Fits a law of scaling to the losses of runs.

    "hoffmann": L = E + A / N^alpha + B / D^beta. "kaplan": L = ((N_c / N)^(alpha_N / alpha_D) + D_c / D)^alpha_D, which has no
    floor. The sum over the points of the Huber loss (delta 0.001) of log L(N, D) - log L is brought to its least by L-BFGS with
    the analytic gradient, from a grid of starts. The intervals come from points that are drawn again with replacement, and
    fitted again.

    Whether N counts the embeddings changes the law of small models (Pearce and Song 2024): count all alike, and say how.

    Args:
        parameters: numbers (P,), N: the parameters of each run.
        tokens: numbers (P,), D: the tokens that each run was trained on.
        losses: numbers (P,), L: the loss of each run on text that it was not trained on, in nats a token or another unit.
        form: "hoffmann" or "kaplan".
        bootstraps: int from 0, how often points are drawn again; 0 gives no intervals.
        seed: int, of those draws.

    Returns:
        A `ScalingLaw`: `constants`, their `intervals`, `predict`, `optimal` and `plot`.

    Raises:
        ValueError: for other arguments; counts and losses that are not positive and finite; points that cannot pin the law, with
            what is missing: fewer than the constants and one, fewer than three sizes or numbers of tokens (two, of Kaplan's
            form), or all of one compute; losses that do not fall with parameters or tokens; losses below the fitted floor.
        ImportError: if scipy is missing, with the command that installs it.

    Warns (`UserWarning`) where the noise is above half of what parameters, or tokens, change, where no floor shows, and where an
    exponent's interval is wider than the exponent.

    Example:

    ```python
    sizes, budgets = np.meshgrid([1e6, 3e6, 1e7, 3e7], [1e7, 1e8, 1e9])
    losses = 1.8 + 480 / sizes**0.35 + 2100 / budgets**0.37
    law = keras_tx.analysis.fit_scaling_law(sizes.ravel(), budgets.ravel(), losses.ravel(), bootstraps=20)
    print(law)
    best = law.optimal(1e20)  # N, D, tokens a parameter and the loss of the best run of 1e20 FLOP
    law.plot(path="law.png")
    ```

    Reference:
        Hoffmann et al. 2022, "Training Compute-Optimal Large Language Models", section 3.3; Kaplan et al. 2020, "Scaling Laws
        for Neural Language Models", equation 1.5; Besiroglu et al. 2024, "Chinchilla Scaling: A replication attempt".
    """
    arguments.choice("form", form, FORMS)
    arguments.integer("bootstraps", bootstraps, 0)
    arguments.seed("seed", seed)
    _need_scipy()
    shape = FORMS[form]
    points = check_points(parameters, tokens, losses, shape)
    logs = np.log(points)
    middles = logs[:2].mean(axis=1)
    n, d, log_losses = logs - np.array([*middles, 0.0])[:, None]
    # A short search from each start, and a long one from the best three.
    rough = [
        _search(shape, start, n, d, log_losses, rounds=1, steps=40, tolerance=1e-2)
        for start in shape.starts(n, d, points[2])
    ]
    best = min((_search(shape, each.x, n, d, log_losses) for each in sorted(rough, key=_objective)[:3]), key=_objective)
    constants = shape.constants(best.x, *middles)
    _check_exponents(shape, constants)
    again = _draw_again(shape, best.x, n, d, log_losses, bootstraps, seed)
    residuals = log_losses - shape.log_loss(best.x, n, d)[0]
    law = ScalingLaw(
        form=form,
        constants=dict(zip(shape.names, map(float, constants), strict=True)),
        samples=np.array([shape.constants(each, *middles) for each in again]),
        points=tuple(points),
        noise=float(np.sqrt(np.sum(residuals**2) / (len(residuals) - len(shape.names)))),
        objective=float(best.fun) * DELTA**2,
    )
    _check_floor(law)
    _warn_of_noise(law)
    return law


def _need_scipy():
    try:
        import scipy.optimize  # noqa: F401
    except ImportError as error:
        raise ImportError("Fitting a law needs scipy: pip install 'keras-tx[analysis]'") from error


def _objective(found):
    return found.fun


def _search(form, start, n, d, log_losses, rounds=4, steps=400, tolerance=1e-9):
    """Returns what BFGS found from a start; its objective is in units of delta squared.

    Each round searches in coordinates in which the residuals change alike in all directions, which the last round's end gives.
    """
    from scipy.optimize import minimize

    def objective(step):
        found, slopes = form.log_loss(middle + scale @ step, n, d)
        residuals = (found - log_losses) / DELTA
        inside = np.clip(residuals, -1.0, 1.0)
        return np.sum(inside * (residuals - 0.5 * inside)), inside @ slopes @ scale / DELTA

    # The sum, and a small tolerance: a mean of such losses ends the search before its time.
    options = {"maxiter": steps, "gtol": tolerance}
    middle, last = start, np.inf
    for _ in range(rounds):
        found, slopes = form.log_loss(middle, n, d)
        weights = 1 / np.maximum(np.abs(found - log_losses) / DELTA, 1.0)
        values, vectors = np.linalg.eigh((slopes * weights[:, None]).T @ slopes / DELTA**2)
        scale = vectors / np.sqrt(values + 1e-6 * values.max())
        best = minimize(objective, np.zeros(len(start)), jac=True, method="BFGS", options=options)
        middle = best.x = middle + scale @ best.x
        if last - best.fun <= 1e-9 * best.fun:
            break
        last = best.fun
    return best


def _draw_again(form, best, n, d, log_losses, times, seed):
    """Returns the unknowns of points that are drawn with replacement, (times, unknowns)."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < times:
        drawn = rng.integers(len(n), size=len(n))
        if min(count_distinct(n[drawn]), count_distinct(d[drawn])) >= form.distinct:  # else it pins nothing
            found.append(
                _search(form, best, n[drawn], d[drawn], log_losses[drawn], rounds=2, steps=100, tolerance=1e-4).x
            )
    return np.array(found)


def _check_exponents(form, constants):
    """Raises `ValueError` where the search ended at an end of what an exponent may be."""
    for name, argument in form.exponents.items():
        value = constants[form.names.index(name)]
        if not LEAST < value < 0.99 * MOST:
            raise ValueError(
                f"`losses` must fall with `{argument}`, as a power, for {name} to be found; what is missing: a wider range of "
                f"`{argument}`, or less noise. Received: losses for which {name} goes to {value:.3g}."
            )


def _check_floor(law):
    """Raises `ValueError` for losses below the floor of the fitted law."""
    floor, losses = law.constants.get("E", 0.0), law.points[2]
    below = np.flatnonzero(losses <= floor)
    if len(below):
        raise ValueError(
            f"`losses` must lie above the floor of the law that is fitted to them, E={floor:.4g}; those below are of other "
            f"text, or noise. Received: {len(below)} below, the first losses[{below[0]}]={losses[below[0]]:g}."
        )


def _warn_of_noise(law):
    """Warns of points that pin the law badly, and says what is missing."""
    parameters, tokens, _ = law.points
    middle_n, middle_d = np.median(parameters), np.median(tokens)
    ends = np.array([1.0, 1.0])
    changes = {
        "parameters": law.predict([parameters.min(), parameters.max()], middle_d * ends),
        "tokens": law.predict(middle_n * ends, [tokens.min(), tokens.max()]),
    }
    for name, (first, last) in changes.items():
        if (change := np.log(first / last)) < 2 * law.noise:
            warnings.warn(
                f"The noise of the losses, {law.noise:.2%}, is above half of what `{name}` change in them, {change:.2%}; what "
                f"is missing: a wider range of `{name}`, more points, or a loss measured on more text.",
                stacklevel=3,
            )
    if law.constants.get("E", np.inf) < 0.01 * law.points[2].min():
        warnings.warn(
            "The points show no floor E of the losses; what is missing: larger `parameters` and `tokens`, where they level off.",
            stacklevel=3,
        )
    for name, argument in FORMS[law.form].exponents.items():
        if law.intervals and law.intervals[name][1] - law.intervals[name][0] > law.constants[name]:
            low, high = law.intervals[name]
            warnings.warn(
                f"The points do not pin {name}={law.constants[name]:.3g}, whose interval is {low:.3g} to {high:.3g}; what "
                f"is missing: a wider range of `{argument}`, or more points.",
                stacklevel=3,
            )
