"""What points must be for a law to be fitted to them."""

import numpy as np

ON_A_LINE = 0.02  # of log D about a line of log N: as good as one budget


def check_points(parameters, tokens, losses, form):
    """Returns three float64 arrays (points,) of runs that can pin the constants of a form.

    Raises:
        ValueError: for arrays that are no numbers or of other shapes, counts and losses that are not positive and finite, and
            points that leave constants open, with what is missing.
    """
    named = {"parameters": parameters, "tokens": tokens, "losses": losses}
    arrays = {name: _numbers(name, values) for name, values in named.items()}
    shapes = {name: values.shape for name, values in arrays.items()}
    if any(len(shape) != 1 or shape == (0,) for shape in shapes.values()) or len({*shapes.values()}) > 1:
        raise ValueError(
            f"`parameters`, `tokens` and `losses` must be three lists of one length, a number a run. Received: shapes {shapes}."
        )
    for name, values in arrays.items():
        wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if len(wrong):
            raise ValueError(
                f"`{name}` must be positive, finite numbers. Received: {len(wrong)} others, the first {name}[{wrong[0]}]="
                f"{values[wrong[0]]:g}."
            )
    _check_spread(*arrays.values(), form)
    return [*arrays.values()]


def count_distinct(logarithms):
    """Returns how many values there are that differ by more than a hundredth."""
    return 1 + int(np.sum(np.diff(np.sort(logarithms)) > 0.01)) if len(logarithms) else 0


def _numbers(name, values):
    found = np.asarray(values)
    if found.dtype.kind not in "iuf":
        raise ValueError(f"`{name}` must be numbers. Received: {name} of dtype {found.dtype}.")
    return found.astype("float64")


def _check_spread(parameters, tokens, losses, form):
    """Raises `ValueError` for points that leave constants of the law open."""
    sizes, budgets = count_distinct(np.log(parameters)), count_distinct(np.log(tokens))
    missing = []
    for count, name, what in ((sizes, "parameters", "sizes"), (budgets, "tokens", "numbers of tokens")):
        if count < form.distinct:
            missing.append(f"{form.distinct} different {what} in `{name}`, where there are {count}")
    constants = len(form.names)
    if len(losses) < constants + 1:
        missing.append(
            f"{constants + 1} points for the {constants} constants and a residual, where there are {len(losses)}"
        )
    if missing:
        raise ValueError(
            f"The points must pin the constants {', '.join(form.names)}; what is missing: {'; '.join(missing)}. Received: "
            f"parameters={_range(parameters)}, tokens={_range(tokens)}."
        )
    if _distance_from_a_line(np.log(parameters), np.log(tokens)) < ON_A_LINE:
        slope = np.polyfit(np.log(parameters), np.log(tokens), 1)[0]
        what = "one budget of compute" if slope < 0 else "one number of tokens a parameter"
        raise ValueError(
            f"The points must not lie on one line of log N and log D, where the two terms cannot be told apart; what is missing: "
            f"runs beside that line. Received: {what} or the like, parameters={_range(parameters)}, tokens={_range(tokens)}."
        )


def _distance_from_a_line(n, d):
    """The smaller standard deviation of points of logarithms, across the line that they lie nearest to."""
    return float(np.sqrt(max(np.linalg.eigvalsh(np.cov(n, d))[0], 0.0)))


def _range(values):
    return f"{values.min():g} to {values.max():g}"
