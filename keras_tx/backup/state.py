"""What a backup holds: which state of which model and optimizer it is, and whether a training can go on from it."""

import itertools
import re

import keras
import numpy as np
from keras import ops


def describe(model):
    """Returns what must be the same for a model to take up another's state: dict from a part to a list of str.

    Names that Keras counts are left out, for a second model of the same program has others.
    """
    trained = {id(weight) for weight in model.trainable_weights}
    return {
        "weights": [
            f"{_name(each.name)} {each.dtype} {tuple(each.shape)} {'trained' if id(each) in trained else 'not trained'}"
            for each in model.weights
        ],
        "optimizers": [
            f"{type(each).__name__} gradient_accumulation_steps={getattr(each, 'gradient_accumulation_steps', None)}"
            for each in _optimizers(model.optimizer)
        ],
        "optimizer's variables": _describe_variables(model),
        "seeds": [str(tuple(each.shape)) for each in seeds(model)],
    }


def first_difference(there, here):
    """Returns in words where two descriptions differ first, or `None`."""
    for part, own in here.items():
        for place, (saved, mine) in enumerate(itertools.zip_longest(there.get(part, ()), own)):
            if saved != mine:
                return f"of its {part}, number {place} is {saved or 'missing'}, and {mine or 'missing'} here"
    return None


def learning_rates(model):
    """Returns the learning rates that are numbers and no schedules, of an optimizer and of those that it drives."""
    rates = [each.get_config().get("learning_rate") for each in _optimizers(model.optimizer)]
    return [rate for rate in rates if isinstance(rate, float)]


def _optimizers(optimizer):
    """Yields an optimizer and those that it drives."""
    if optimizer is None:
        return
    yield optimizer
    inner = getattr(optimizer, "inner_optimizer", None)  # of LossScaleOptimizer
    for each in [inner, *getattr(optimizer, "optimizers", ())]:
        yield from _optimizers(each)


def _describe_variables(model):
    if model.optimizer is None:
        return []
    paths = {weight.path.replace("/", "_") for weight in model.trainable_weights}
    described = []
    for each in model.optimizer.variables:
        cuts = [cut for cut, letter in enumerate(each.name) if letter == "_" and each.name[:cut] in paths]
        described.append(f"{_name(each.name[max(cuts, default=-1) + 1 :])} {tuple(each.shape)}")
    return described


def _name(name):
    return re.sub(r"_?\d+", "", name)


def build_optimizer(model):
    """Makes the optimizer's variables, which a state is read into."""
    if model.optimizer is not None and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def seeds(model):
    """Returns the state of seeds, which Keras saves for no layer of its own."""
    others = {id(each) for each in (*model.weights, *model.metrics_variables)}
    return [each for each in model.variables if id(each) not in others]


def state(model):
    """Returns all variables that a training goes on from."""
    build_optimizer(model)
    metrics = {id(variable) for variable in model.metrics_variables}
    return [each for each in (*model.variables, *optimizer_variables(model)) if id(each) not in metrics]


def optimizer_variables(model):
    """Returns the variables of the optimizer, none without one."""
    return [] if model.optimizer is None else model.optimizer.variables


def not_finite(variables):
    """Returns those of the variables that hold NaN or infinity."""
    floats = [each for each in variables if keras.backend.is_float_dtype(each.dtype)]
    if not floats:
        return []
    finite = [ops.all(ops.isfinite(ops.cast(each, "float32") if "float8" in each.dtype else each)) for each in floats]
    finite = [
        bool(np.asarray(ops.convert_to_numpy(each))) for each in finite
    ]  # all are asked for before one is awaited
    return [each for each, whole in zip(floats, finite, strict=True) if not whole]
