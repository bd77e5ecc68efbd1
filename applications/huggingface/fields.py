"""Settings: how a config calls one, what values are right, and what it is called here.

A `Field` is one row of a model type's table. It is read from a config and written into one by what it says.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from ...checkpoints import read_json
from . import activations

NAME = "config.json"
REQUIRED = object()


class Kind(NamedTuple):
    """What values of a config are right, and what they are as arguments."""

    rule: str  # "a positive integer"
    fits: Callable | None  # value of a config -> bool; None: the key is written and not read
    read: Callable = lambda value: value  # value of a config -> argument
    write: Callable | None = lambda value: value  # argument -> value of a config; None: the key is read and not written
    null_is_absent: bool = False  # whether null stands for the default


def _is_positive_int(value):
    return type(value) is int and 1 <= value < 2**31


def _is_extent(value):
    return _is_positive_int(value) or (
        isinstance(value, list) and len(value) == 2 and all(map(_is_positive_int, value))
    )


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


POSITIVE_INT = Kind("a positive integer", _is_positive_int, null_is_absent=True)
POSITIVE_FLOAT = Kind("a positive number", lambda value: _is_number(value) and value > 0, float)
RATE = Kind("a number in [0, 1)", lambda value: _is_number(value) and 0 <= value < 1, float)
OPTIONAL_RATE = RATE._replace(null_is_absent=True)
FLAG = Kind("true or false", lambda value: isinstance(value, bool), null_is_absent=True)
EXTENT = Kind(
    "a positive integer, or a list of two",
    _is_extent,
    lambda value: tuple(value) if isinstance(value, list) else (value, value),
    lambda sizes: sizes[0] if sizes[0] == sizes[1] else list(sizes),
)
ACTIVATION = Kind(
    f"one of {', '.join(map(repr, activations.FUNCTIONS))}",
    lambda value: isinstance(value, str) and value in activations.FUNCTIONS,
    activations.FUNCTIONS.get,
    activations.name_of,
)


def only(expected) -> Kind:
    """The one value that is implemented."""
    return Kind(repr(expected), lambda value: type(value) is type(expected) and value == expected)


def positive_ints(longest) -> Kind:
    """A list of positive integers, a tuple here."""

    def fits(value):
        return isinstance(value, list) and 1 <= len(value) <= longest and all(map(_is_positive_int, value))

    return Kind(f"a list of 1 to {longest} positive integers", fits, tuple, list)


def below(argument) -> Callable:
    """A number from 0 to below an argument, as the ids of a vocabulary are."""

    def kind(found):
        end = found[argument]
        return Kind(f"an integer in [0, {end})", lambda value: type(value) is int and 0 <= value < end)

    return kind


def one_of(names) -> Kind:
    """A list of one of these names."""

    def fits(value):
        return isinstance(value, list) and len(value) == 1 and value[0] in list(names)

    return Kind(f"a list of one of {', '.join(map(repr, names))}", fits, null_is_absent=True)


class Field(NamedTuple):
    """One setting of a model type.

    Fields are read in their order, so what a `default`, a `kind` or a `when` looks at stands before it.
    """

    argument: str | None  # of the application; None for what a config must say and the application has no choice of
    config_key: str | tuple | None = None  # with dots inside objects; a tuple of keys that must all say the same
    kind: Any = None  # a `Kind`, or a function (arguments so far) -> `Kind`
    default: Any = REQUIRED  # what stands for a key that is not there; or a function (arguments so far) -> argument
    shown: Any = None  # where a built model shows it: see `structure.shown`
    blocks: str | None = None  # template of the tensor of which each block has one
    size: tuple | None = (
        None  # (template of a tensor, axis), where it shows; and a function (value, arguments, *fields of the template)
    )
    held: str | None = None  # a tensor by which it is told: whether that is there
    when: dict | None = None  # the arguments that another field must have for this one to count
    aliases: tuple = ()  # further keys under which configs have it; the first is the one that is written

    @property
    def keys(self):
        """The keys of a config that must be there, each with its aliases."""
        keys = self.config_key if isinstance(self.config_key, tuple) else (self.config_key,)
        return [(key, *self.aliases) for key in keys if key is not None]

    def counts(self, found):
        """Returns whether the field counts beside the arguments that were found."""
        return all(found.get(name) == value for name, value in (self.when or {}).items())

    def kind_for(self, found):
        """Returns the kind beside the arguments that were found."""
        return self.kind if self.kind is None or isinstance(self.kind, Kind) else self.kind(found)

    def read(self, config, shapes, found):
        """Returns the argument for a folder, or raises `ValueError`."""
        if self.held is not None:
            return self.held in shapes
        kind = self.kind_for(found)
        if not self.keys:
            return self.default
        if kind.fits is None:
            return found[self.argument]
        values = {keys[0]: config.take(keys, kind, self.default) for keys in self.keys}
        value, *others = values.values()
        if any(other != value for other in others):
            raise config.fault(f"{' and '.join(f'`{key}`' for key in values)} must be the same.", values)
        if value is config.ABSENT and callable(self.default):
            return self.default(found)
        return kind.read(self.default if value is config.ABSENT else value)

    def write(self, config, found):
        """Puts the argument into a config."""
        kind = self.kind_for(found)
        if kind is None or kind.write is None:
            return
        value = kind.write(self.default if self.argument is None else found[self.argument])
        for key, *_ in self.keys:
            *objects, last = key.split(".")
            place = config
            for name in objects:
                place = place.setdefault(name, {})
            place[last] = value


# How many classes a head has: `id2label` names them, or `num_labels` counts them; else they are two.
def classes(when, **options):
    """Returns the fields of the number of classes of a head."""
    names = Kind("an object", lambda value: isinstance(value, dict) and value, len, _names, null_is_absent=True)
    numbers = Kind("", None, write=lambda count: {name: int(number) for number, name in _names(count).items()})
    return (
        Field("num_classes", "num_labels", POSITIVE_INT._replace(write=None), 2, when=when, **options),
        Field("num_classes", "id2label", names, lambda found: found["num_classes"], when=when, **options),
        Field("num_classes", "label2id", numbers, when=when, **options),
    )


def _names(count):
    return {str(number): f"LABEL_{number}" for number in range(count)}


class Config:
    """The `config.json` of a folder, every value of it checked where it is taken out.

    Args:
        folder: str or path.

    Raises:
        ValueError: if the file is missing or is no JSON object.
    """

    ABSENT = object()

    def __init__(self, folder):
        self.folder = folder
        self._values = read_json(folder, NAME)

    def get(self, key):
        """Returns the value of a key, of which dots go into objects, or `ABSENT`."""
        value = self._values
        for name in key.split("."):
            if not isinstance(value, dict) or name not in value:
                return self.ABSENT
            value = value[name]
        return value

    def take(self, keys, kind, default=REQUIRED):
        """Returns the value of a kind that a key, or one of its aliases, has, or `ABSENT` where there is a default."""
        values = {key: self.get(key) for key in keys}
        values = {key: value for key, value in values.items() if value is not self.ABSENT}
        if not values and default is REQUIRED:
            raise ValueError(f"`{keys[0]}` must be in {NAME}. Received: none in {self.folder}.")
        if kind.null_is_absent and default is not REQUIRED:
            values = {key: value for key, value in values.items() if value is not None}
        for key, value in values.items():
            if not kind.fits(value):
                raise ValueError(
                    f"`{key}` must be {kind.rule}. Received: {shown({key: value})} in {NAME} of {self.folder}."
                )
        if any(value != next(iter(values.values())) for value in values.values()):
            raise self.fault(f"{' and '.join(f'`{key}`' for key in values)} must be the same.", values)
        return next(iter(values.values()), self.ABSENT)

    def fault(self, rule, values):
        """Returns the error for values, a dict by their keys, that contradict each other or the tensors."""
        return ValueError(f"{rule} Received: {shown(values)} in {NAME} of {self.folder}.")


def shown(values):
    """Returns values by their keys as an error may show them."""
    texts = {key: ascii(value) for key, value in values.items()}
    return ", ".join(f"{key}={text if len(text) <= 100 else text[:100] + '...'}" for key, text in texts.items())
