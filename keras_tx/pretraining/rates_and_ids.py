"""What several functions here take: ids of special tokens, and rates that may be 1."""

from .. import arguments


def token_ids(name, values, vocabulary_size):
    """Returns the ids of several tokens as a list of int; raises `ValueError` unless each is one."""
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        raise ValueError(f"`{name}` must be a sequence of token ids. Received: {name}={values!r}.")
    return [arguments.token_id(name, value, vocabulary_size) for value in values]


def rate(name, value, zero=True):
    """Returns a rate as a float; raises `ValueError` unless it lies in [0, 1], or in (0, 1] where zero is no use."""
    rule = "a number from 0 to 1" if zero else "a number above 0 and at most 1"
    return arguments.number(name, value, rule, lambda value: 0 <= value <= 1 and (value > 0 or zero))
