"""Settings: how a config calls one, which values are right, and what it is called here."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ...checkpoints import read_json
from . import activations

NAME = "config.json"
REQUIRED = object()


class Kind(NamedTuple):
    """Which values of a config are right, and what they are as arguments."""

    rule: str  # "a positive integer"
    fits: Callable  # value of a config -> bool
    read: Callable = lambda value: value  # value of a config -> argument
    write: Callable | None = lambda value: value  # argument -> value of a config; None: it is read and not written
    null_is_absent: bool = False  # whether null stands for the default


def _is_size(value):
    return type(value) is int and 1 <= value < 2**31


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _are_sizes(value, shortest, longest):
    return isinstance(value, list) and shortest <= len(value) <= longest and all(map(_is_size, value))


SIZE = Kind("a positive integer", _is_size, null_is_absent=True)
POSITIVE = Kind("a positive number", lambda value: _is_number(value) and value > 0, float)
RATE = Kind("a number in [0, 1)", lambda value: _is_number(value) and 0 <= value < 1, float)
FLAG = Kind("true or false", lambda value: isinstance(value, bool), null_is_absent=True)
EXTENT = Kind(
    "a positive integer, or a list of two",
    lambda value: _is_size(value) or _are_sizes(value, 2, 2),
    lambda value: tuple(value) if isinstance(value, list) else (value, value),
    lambda sizes: sizes[0] if sizes[0] == sizes[1] else list(sizes),
)
_LABELS = Kind(
    "an object",
    lambda value: isinstance(value, dict) and len(value) > 0,
    len,
    lambda count: {str(number): f"LABEL_{number}" for number in range(count)},
    null_is_absent=True,
)


def only(expected) -> Kind:
    """The one value that is implemented."""

    def fits(value):
        return value == expected and isinstance(value, bool) == isinstance(expected, bool)

    return Kind(repr(expected), fits)


def sizes(longest) -> Kind:
    """A list of positive integers, a tuple here."""
    rule = f"a list of 1 to {longest} positive integers"
    return Kind(rule, lambda value: _are_sizes(value, 1, longest), tuple, list)


def below(argument) -> Callable:
    """A number from 0 to below an argument, as the ids of a vocabulary are."""

    def kind(found):
        end = found[argument]
        return Kind(f"an integer in [0, {end})", lambda value: type(value) is int and 0 <= value < end)

    return kind


def one_of(choices) -> Kind:
    """A key of a dict, and what that has for it; the first of several keys is written."""

    def write(value):
        return next((name for name, known in choices.items() if known is value), None)

    rule = f"one of {', '.join(map(repr, choices))}"
    return Kind(rule, lambda value: isinstance(value, str) and value in choices, choices.get, write)


def list_of_one(kind) -> Kind:
    """A list with one value of a kind; null stands for the default."""

    def fits(value):
        return isinstance(value, list) and len(value) == 1 and kind.fits(value[0])

    return Kind(f"a list of {kind.rule}", fits, lambda value: kind.read(value[0]), null_is_absent=True)


ACTIVATION = one_of(activations.FUNCTIONS)


class Field(NamedTuple):
    """One row of a model type's table: a setting.

    Fields are read in their order: what a `kind`, a `default` or a `when` looks at stands before it.
    """

    argument: str  # of the application
    config_key: str | tuple | None = (
        None  # "a.b" is b in the object a, "a|b" either of two, a tuple those that must agree
    )
    kind: Any = None  # a `Kind`, or a function (arguments so far) -> `Kind`
    default: Any = REQUIRED  # the value where the config has none; or a function (arguments so far) -> argument
    shown: Any = None  # where a built model shows it: see `shown.Layers`
    blocks: str | None = (
        None  # how the names of a block's tensors start, where it counts blocks: see `tensors.check_sizes`
    )
    axis: Any = None  # the axis of a tensor that is as long, likewise
    held: str | None = None  # a tensor that is there if the setting is True, in place of a key
    when: dict | None = None  # what other arguments must be for this setting to exist

    def exists(self, found):
        """Returns whether there is the setting beside the arguments that were found."""
        return all(found.get(name) == value for name, value in (self.when or {}).items())

    def kind_for(self, found):
        """Returns the kind beside the arguments that were found, or `None`."""
        return self.kind if self.kind is None or isinstance(self.kind, Kind) else self.kind(found)

    def names(self):
        """Returns the keys that must be there, each a list of its names, the first of which is written."""
        keys = self.config_key if isinstance(self.config_key, tuple) else (self.config_key,)
        return [key.split("|") for key in keys if key is not None]

    def read(self, config, tensors, found):
        """Returns the argument for a folder's config and tensors; raises `ValueError`."""
        if self.held is not None or self.config_key is None:
            return self.held in tensors if self.held is not None else self.default
        kind, values = self.kind_for(found), {}
        for names in self.names():
            there = config.values(names)
            if self.default is REQUIRED and not there:
                raise ValueError(f"`{names[0]}` must be in {NAME}. Received: none in {config.folder}.")
            values |= there
        if kind.null_is_absent and self.default is not REQUIRED:
            values = {name: value for name, value in values.items() if value is not None}
        for name, value in values.items():
            if not kind.fits(value):
                raise config.fault(f"`{name}` must be {kind.rule}.", {name: value})
        if not values and callable(self.default):
            return self.default(found)
        argument, *others = map(kind.read, values.values() or [self.default])
        if any(other != argument for other in others):  # two names of one value are the same
            raise config.fault(f"{' and '.join(f'`{name}`' for name in values)} must be the same.", values)
        return argument

    def write(self, config, found):
        """Puts the argument into a config, a dict."""
        kind = self.kind_for(found)
        for names in self.names() if kind is not None and kind.write is not None else ():
            *objects, last = names[0].split(".")
            place = config
            for name in objects:
                place = place.setdefault(name, {})
            place[last] = kind.write(found[self.argument])


def classes(when, **options) -> tuple:
    """Returns the fields of how many classes a head has: named by `id2label`, or counted by `num_labels`, or two."""
    counted = Field("num_classes", "num_labels", SIZE._replace(write=None), 2, when=when)
    return counted, Field("num_classes", "id2label", _LABELS, lambda found: found["num_classes"], when=when, **options)


class Config:
    """The `config.json` of a folder; `ValueError` if it is missing or no JSON object. Or other values, of another file."""

    def __init__(self, folder, values=None, name=NAME):
        self.folder, self.name = folder, name
        self._values = read_json(folder, NAME) if values is None else values

    def values(self, names):
        """Returns those of the names that there are, "a.b" for b in the object a, with their values."""
        found = {}
        for name in names:
            place, keys = self._values, name.split(".")
            while keys and isinstance(place, dict) and keys[0] in place:
                place = place[keys.pop(0)]
            found |= {} if keys else {name: place}
        return found

    def fault(self, rule, values, more=""):
        """Returns the error for values, by their names, that are not right."""
        texts = {name: ascii(value) for name, value in values.items()}
        received = ", ".join(f"{name}={text[:100] + '...' * (len(text) > 100)}" for name, text in texts.items())
        return ValueError(f"{rule} Received: {received} in {self.name} of {self.folder}{more}.")
