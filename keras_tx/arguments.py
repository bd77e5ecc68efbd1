"""What an argument must be, said where it comes in: each check names the rule, the argument and what came."""

import numbers
import operator

import numpy as np


def is_integer(value):
    """Says whether a value is an integer, of Python, numpy or a backend, and no truth value."""
    if isinstance(value, bool | np.bool_):
        return False
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def is_number(value):
    """Says whether a value is a real number of Python or numpy, and no truth value."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def integer(name, value, least=None, most=None, optional=False, hint=""):
    """Returns the value as an int.

    Raises:
        ValueError: unless it is an integer from `least` to `most`, where these are given (or `None`, where optional).
    """
    if value is None and optional:
        return None
    if not is_integer(value) or (least is not None and value < least) or (most is not None and value > most):
        kind = (
            "a positive integer" if least == 1 else "an integer" if least is None else f"an integer of at least {least}"
        )
        kind = f"an integer from {least} to {most}" if most is not None else kind
        kind += " or None" if optional else ""
        raise ValueError(f"`{name}` must be {kind}{hint}. Received: {name}={value!r}.")
    return operator.index(value)


def positive_int(name, value, optional=False):
    """Returns a size as an int; raises `ValueError` unless it is an integer of at least 1 (or `None`, where optional)."""
    return integer(name, value, least=1, optional=optional)


def token_id(name, value, vocabulary_size):
    """Returns a token's id as an int; raises `ValueError` unless it lies in [0, vocabulary_size)."""
    if not is_integer(value) or not 0 <= value < vocabulary_size:
        raise ValueError(
            f"`{name}` must be a token id in [0, vocabulary_size). Received: {name}={value!r} with "
            f"vocabulary_size={vocabulary_size}."
        )
    return operator.index(value)


def extent(name, value, least=1):
    """Returns (rows, columns) of an integer or a pair of them; raises `ValueError` unless both are at least `least`."""
    pair = value if isinstance(value, (list, tuple)) and len(value) == 2 else (value, value)
    if any(not is_integer(size) or size < least for size in pair):
        kind = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise ValueError(f"`{name}` must be {kind}, or a pair (rows, columns) of them. Received: {name}={value!r}.")
    return tuple(operator.index(size) for size in pair)


def seed(name, value):
    """Returns the value; raises `ValueError` unless it is `None` or an integer that the seed's state holds on every backend."""
    if value is not None and (not is_integer(value) or not 0 <= value < 2**31):
        raise ValueError(f"`{name}` must be an integer in [0, 2**31) or None. Received: {name}={value!r}.")
    return value if value is None else operator.index(value)


def number(name, value, rule, fits, optional=False):
    """Returns the value as a float; raises `ValueError` with the rule unless it is a number that fits (or `None`)."""
    if value is None and optional:
        return None
    if not is_number(value) or not fits(value):
        raise ValueError(f"`{name}` must be {rule}. Received: {name}={value!r}.")
    return float(value)


def rate(name, value, default=None):
    """Returns a probability of dropping as a float, the default for `None`; raises `ValueError` unless it lies in [0, 1)."""
    if value is None and default is not None:
        return default
    return number(name, value, "a number in [0, 1)", lambda value: 0.0 <= value < 1.0)


def positive_float(name, value, optional=False):
    """Returns the value as a float; raises `ValueError` unless it is a positive finite number (or `None`, where optional)."""
    rule = "a positive number or None" if optional else "a positive number"
    return number(name, value, rule, lambda value: 0.0 < value < float("inf"), optional)


def flag(name, value, optional=False):
    """Returns the value; raises `ValueError` unless it is True or False (or `None`, where optional)."""
    if not isinstance(value, bool) and not (value is None and optional):
        rule = "True, False or None" if optional else "True or False"
        raise ValueError(f"`{name}` must be {rule}. Received: {name}={value!r}.")
    return value


def choice(name, value, choices):
    """Returns the value; raises `ValueError` unless it is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, choices))}. Received: {name}={value!r}.")
    return value


def finite_float(name, value, optional=False):
    """Returns the value as a float; raises `ValueError` unless it is a finite number (or `None`, where optional)."""
    rule = "a finite number or None" if optional else "a finite number"
    return number(name, value, rule, lambda value: abs(value) < float("inf"), optional)
