"""A model type as a table, and the one engine that reads folders and writes models by it."""

import string
from collections.abc import Callable
from typing import NamedTuple

import keras

from ... import graph
from . import structure, tensors
from .fields import ACTIVATION, one_of
from .shown import Difference, Layers


class Architecture(NamedTuple):
    """What a config may name as its architecture."""

    options: dict = {}  # arguments of the application
    head: str | None = (
        None  # a tensor of its head; None for a model without one, whose tensors have no prefix when it is written
    )
    rules: tuple = ()  # of the tensors that never have the prefix


class Check(NamedTuple):
    """What several settings must be to each other."""

    rule: str  # with the arguments' names in braces: "{num_heads} must divide {hidden_dim}."
    fits: Callable  # arguments -> bool


class Recipe(NamedTuple):
    """The table of a model type."""

    name: str  # in messages, and who wires it: "GPT-2", "`GPT` does"
    wiring: str
    build: Callable  # arguments -> model
    marks: dict  # what tells a model of this type from those of the other types: see `Layers.have`
    fields: tuple  # of `Field`, in the order in which they are read
    rules: tuple  # of `Rule`, with the prefix or without it
    architectures: dict = {}  # name: `Architecture`; the first that fits is written
    prefix: str = ""
    fixed: dict = {}  # arguments that the layout demands
    checks: tuple = ()  # of `Check`
    ignored: tuple = ()  # templates of tensors that need not be read
    tied: dict = {}  # tensor: the tensor that it must be equal to, where it is there
    root: str | None = None  # the name of a model inside the model whose layers count as its own
    axes: Callable | None = None  # arguments -> sizes of the axes that rules need
    refuse: Callable = lambda layers: None  # raises `Difference` for what the arguments do not tell
    constants: Callable = lambda layers, arguments: {}  # what a config holds beside the fields
    files: Callable = lambda layers, arguments: {}  # name: bytes, of the other files of a folder

    def arguments(self, config, checkpoint) -> dict:
        """Returns the arguments of the application for a folder, whose sizes are those of its tensors; raises `ValueError`."""
        found = {**self.fixed, **self._architecture(config, checkpoint).options}
        given = set(found)
        for field in self.fields:
            if field.argument not in given and field.counts(found):
                value = field.read(config, checkpoint.shapes, found)
                if field.argument is not None:
                    found[field.argument] = value
        for rule, fits in self.checks:
            if not fits(found):
                keys = {name: self._key(name) for _, name, *_ in string.Formatter().parse(rule) if name}
                values = {key: config.get(key) for key in keys.values()}
                values = {
                    key: found[name] if values[key] is config.ABSENT else values[key] for name, key in keys.items()
                }
                raise config.fault(rule.format(**{name: f"`{key}`" for name, key in keys.items()}), values)
        tensors.check_sizes(self.fields, found, config, checkpoint.shapes)
        tensors.check_tied(self.tied, checkpoint)
        return found

    def rules_for(self, arguments, prefix=""):
        """Returns the rules for a model of these arguments, with the prefix for names of tensors."""
        found = [rule.prefixed(prefix) for rule in self.rules] + [
            *next((each.rules for each in self.architectures.values() if _fits(each, arguments)), ())
        ]
        return [rule.sized(**self.axes(arguments)) for rule in found] if self.axes else found

    def matches(self, model) -> bool:
        """Returns whether a model is to be judged as one of this type."""
        return Layers(model).have(self.marks)

    def to_huggingface(self, model):
        """Returns the config of a model, its weights by their paths, the rules by which they are written, and the other files.

        Raises `ValueError` if the model is not one that the application could have built, but for names.
        """
        try:
            layers = Layers(model)
            found = self._shown(layers)
            with graph.without_values():
                reference = self.build(**found)
            weights = structure.matching_weights(model, reference, self.root)
        except Difference as difference:
            raise ValueError(
                f"`model` must be a {self.name} to be saved as one, wired as {self.wiring}. Received: {model.name} with "
                f"{difference}."
            ) from None
        name, architecture = next(
            ((name, each) for name, each in self.architectures.items() if _fits(each, found)), (None, None)
        )
        config = {} if name is None else {"architectures": [name]}
        for field in self.fields:
            if field.counts(found):
                field.write(config, found)
        config |= self.constants(layers, found)
        config["dtype"] = keras.backend.standardize_dtype(next(iter(weights.values())).dtype)
        prefix = "" if architecture is not None and architecture.head is None else self.prefix
        return config, weights, self.rules_for(found, prefix), self.files(layers, found)

    def _architecture(self, config, checkpoint):
        names = (
            config.take(("architectures",), one_of(self.architectures), None) if self.architectures else config.ABSENT
        )
        if names is not config.ABSENT:
            return self.architectures[names[0]]
        there = (each for each in self.architectures.values() if each.head is None or each.head in checkpoint.shapes)
        return next(there, Architecture())

    def _key(self, argument):
        """The key by which configs call an argument."""
        return next(field.keys[0][0] for field in self.fields if field.argument == argument)

    def _shown(self, layers):
        """The arguments that would build a model."""
        self.refuse(layers)
        found = dict(self.fixed)
        for field in self.fields:
            if field.shown is None or not field.counts(found):
                continue
            value = layers.shown(field.shown)
            kind = field.kind_for(found)
            if kind is not None and kind.write and kind.fits and not kind.fits(kind.write(value)):
                rule = "for which there is no name" if kind is ACTIVATION else f"which must be {kind.rule}"
                raise Difference(f"{field.argument}={getattr(value, '__name__', value)!r}, {rule}")
            found[field.argument] = value
        return found


def divides(part: str, whole: str) -> Check:
    """One argument must divide another."""
    return Check(f"{{{part}}} must divide {{{whole}}}.", lambda found: found[whole] % found[part] == 0)


def _fits(architecture, arguments):
    return all(arguments.get(name) == value for name, value in architecture.options.items())
