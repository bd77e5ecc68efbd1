"""Reading a config.json: every value checked where it is taken out."""

from ...checkpoints import read_json

NAME = "config.json"
_REQUIRED = object()


class Config:
    """The `config.json` of a folder.

    Args:
        folder: str or path.

    Raises:
        ValueError: if the file is missing or is no JSON object.
    """

    def __init__(self, folder):
        self.folder = folder
        self._values = read_json(folder, NAME)

    def has(self, key):
        """Returns whether there is a value other than null."""
        return self._values.get(key) is not None

    def positive_int(self, key, default=_REQUIRED):
        """Returns an integer of at least 1 that a backend can hold; null stands for a default that is not required."""
        if default is not _REQUIRED and self._values.get(key) is None:
            return default
        return self._checked(key, default, _is_positive_int, "a positive integer")

    def extent(self, key, default=_REQUIRED):
        """Returns (rows, columns) of one positive integer or a list of two."""
        value = self._checked(key, default, _is_extent, "a positive integer, or a list of two")
        return tuple(value) if isinstance(value, list) else (value, value)

    def positive_ints(self, key, longest):
        """Returns a list of positive integers as a tuple."""

        def is_right(value):
            return isinstance(value, list) and 1 <= len(value) <= longest and all(map(_is_positive_int, value))

        return tuple(self._checked(key, _REQUIRED, is_right, f"a list of 1 to {longest} positive integers"))

    def positive_float(self, key, default=_REQUIRED):
        """Returns a positive, finite number as a float."""
        return float(self._checked(key, default, lambda value: _is_number(value) and value > 0, "a positive number"))

    def rate(self, key, default=_REQUIRED):
        """Returns a probability of dropping as a float."""
        return float(
            self._checked(key, default, lambda value: _is_number(value) and 0 <= value < 1, "a number in [0, 1)")
        )

    def flag(self, key, default=_REQUIRED):
        """Returns a bool; null stands for a default that is not required."""
        if default is not _REQUIRED and self._values.get(key) is None:
            return default
        return self._checked(key, default, lambda value: isinstance(value, bool), "true or false")

    def choice(self, key, choices, default=_REQUIRED):
        """Returns what a dict of choices has for a string."""
        names = ", ".join(repr(name) for name in choices)
        value = self._checked(
            key, default, lambda value: isinstance(value, str) and value in choices, f"one of {names}"
        )
        return choices[value]

    def only(self, key, choices):
        """Returns what a dict of choices has for the one string of a list."""
        names = ", ".join(repr(name) for name in choices)
        value = self._checked(
            key,
            _REQUIRED,
            lambda value: isinstance(value, list) and len(value) == 1 and value[0] in list(choices),
            f"a list of one of {names}",
        )
        return choices[value[0]]

    def row(self, key, num_rows, default=_REQUIRED):
        """Returns the number of a row of a table."""
        return self._checked(
            key, default, lambda value: type(value) is int and 0 <= value < num_rows, f"an integer in [0, {num_rows})"
        )

    def num_labels(self):
        """Returns how many classes there are: `id2label` names them, or `num_labels` counts them; else they are two."""
        if not self.has("id2label"):
            return self.positive_int("num_labels", default=2)
        return len(self._checked("id2label", _REQUIRED, lambda value: isinstance(value, dict) and value, "an object"))

    def must_be(self, key, expected, default):
        """Raises `ValueError` unless the value is the one that is implemented."""
        self._checked(key, default, lambda value: type(value) is type(expected) and value == expected, repr(expected))

    def fault(self, rule, **received):
        """Returns the error for values that contradict each other."""
        values = ", ".join(f"{key}={_short(value)}" for key, value in received.items())
        return ValueError(f"{rule} Received: {values} in {NAME} of {self.folder}.")

    def _checked(self, key, default, is_right, rule):
        value = self._values.get(key, default)
        if value is _REQUIRED:
            raise ValueError(f"`{key}` must be in {NAME}. Received: none in {self.folder}.")
        if not is_right(value):
            raise ValueError(f"`{key}` must be {rule}. Received: {key}={_short(value)} in {NAME} of {self.folder}.")
        return value


def _short(value):
    shown = ascii(value)
    return shown if len(shown) <= 100 else shown[:100] + "..."


def _is_positive_int(value):
    return type(value) is int and 1 <= value < 2**31


def _is_extent(value):
    return _is_positive_int(value) or (
        isinstance(value, list) and len(value) == 2 and all(map(_is_positive_int, value))
    )


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
