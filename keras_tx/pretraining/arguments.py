"""Arguments checked where they come in: counts, ids and rates."""

import numbers


def integer(name, value, least):
    """Returns an argument as an int; raises `ValueError` unless it is an integer of at least the given one."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"`{name}` must be an integer of at least {least}. Received: {name}={value!r}.")
    return int(value)


def token_id(name, value, vocabulary_size):
    """Returns a token's id as an int; raises `ValueError` unless it lies in [0, vocabulary_size)."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not 0 <= value < vocabulary_size:
        raise ValueError(
            f"`{name}` must hold token ids in [0, vocabulary_size). Received: {name}={value!r} with "
            f"vocabulary_size={vocabulary_size}."
        )
    return int(value)


def token_ids(name, values, vocabulary_size):
    """Returns the ids of several tokens as a list of int; raises `ValueError` unless each is one."""
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        raise ValueError(f"`{name}` must be a sequence of token ids. Received: {name}={values!r}.")
    return [token_id(name, value, vocabulary_size) for value in values]


def rate(name, value, zero=True):
    """Returns a rate as a float; raises `ValueError` unless it lies in [0, 1], or in (0, 1] where zero is no use."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not 0 <= value <= 1 or (value == 0 and not zero):
        raise ValueError(
            f"`{name}` must {'lie between 0 and 1' if zero else 'be above 0 and at most 1'}. Received: {name}={value!r}."
        )
    return float(value)
