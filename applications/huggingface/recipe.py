"""A model type as a table, and the one engine that reads folders and writes models by it."""

import string
from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from ... import graph
from . import structure, tensors
from .fields import ACTIVATION, Config, Field, list_of_one, one_of, only
from .shown import Difference, Layers


class Architecture(NamedTuple):
    """What a config may name as its architecture."""

    options: dict = {}  # arguments of the application
    head: str | None = None  # a tensor of its head; None for a model without one, whose tensors have no prefix
    rules: tuple = ()  # of the tensors that never have the prefix


class Recipe(NamedTuple):
    """The table of a model type."""

    name: str  # in messages: "GPT-2"
    wiring: str  # and who wires it: "`GPT` does"
    build: Callable  # arguments -> model
    marks: dict  # what tells a model of this type from those of the other types: see `Layers.have`
    fields: tuple  # of `Field`
    rules: Any  # of `Rule`, without the prefix; or a function from arguments to these
    architectures: dict = {}  # name: `Architecture`; the first whose options a model has is written
    prefix: str = ""  # of the names of tensors
    fixed: dict = {}  # arguments that the layout demands
    demands: dict = {}  # key of a config: the one value that is implemented, which it has where the key is not there
    checks: tuple = ()  # pairs: "{num_heads} must divide {hidden_dim}.", arguments in braces; and arguments -> bool
    ignored: tuple = ()  # templates of tensors that need not be read
    tied: Any = {}  # tensor: the tensor that it must equal, where it is there; or a function from arguments to that
    root: str | None = None  # the name of a model inside the model whose layers count as its own
    axes: Callable | None = None  # arguments -> sizes of the axes that rules need
    constants: Callable = lambda layers, arguments: {}  # what else a config holds
    files: Callable = lambda layers, arguments: {}  # name: bytes, of the other files of a folder
    typed: bool = True  # whether a config has a `model_type`

    def arguments(self, config: Config, checkpoint) -> dict:
        """Returns the arguments of the application for a folder, whose sizes are those of its tensors; raises `ValueError`."""
        shapes = checkpoint.shapes
        for key, value in self.demands.items():
            Field(key, key, only(value), value).read(config, shapes, {})
        found = {**self.fixed, **self._architecture(config, shapes).options}
        given = set(found)
        for field in self.fields:
            if field.argument not in given and field.exists(found):
                found[field.argument] = field.read(config, shapes, found)
        for rule, fits in self.checks:
            if not fits(found):
                names = {name: self._key(name) for _, name, *_ in string.Formatter().parse(rule) if name}
                values = {key: config.values([key]).get(key, found[name]) for name, key in names.items()}
                raise config.fault(rule.format(**{name: f"`{key}`" for name, key in names.items()}), values)
        tensors.check_sizes(self.fields, found, config, shapes)
        tensors.check_tied(self.tied_for(found), checkpoint)
        return {name: value for name, value in found.items() if not name.startswith("_")}

    def rules_for(self, arguments, prefix=""):
        """Returns the rules for a model of these arguments, with the prefix that the names of tensors have."""
        _, architecture = self._named(arguments)
        rules, tied = self.rules(arguments) if callable(self.rules) else self.rules, self.tied_for(arguments)
        found = [*(rule.prefixed(prefix) for rule in rules), *architecture.rules]
        found = [rule for rule in found if not tied.keys() & set(rule.tensors)]
        return [rule.sized(**self.axes(arguments)) for rule in found] if self.axes else found

    def tied_for(self, arguments) -> dict:
        """Returns the tensors that are tied in a model of these arguments."""
        return self.tied(arguments) if callable(self.tied) else self.tied

    def matches(self, model) -> bool:
        """Returns whether a model is to be judged as one of this type."""
        return Layers(model).have(self.marks)

    def to_huggingface(self, model):
        """Returns the config of a model, its weights by their paths, the rules by which they are written, and the other files.

        Raises `ValueError` if the model is not one that the application could have built, but for names.
        """
        model = graph.without_optional_inputs(model)
        layers = Layers(model)
        try:
            found = self._shown(layers)
            with graph.without_values():
                reference = graph.without_optional_inputs(self.build(**found))
            weights = structure.matching_weights(model, reference, self.root)
        except Difference as difference:
            raise ValueError(
                f"`model` must be a {self.name} to be saved as one, wired as {self.wiring}. Received: {model.name} with "
                f"{difference}."
            ) from None
        name, architecture = self._named(found)
        config = {"architectures": [name]} if name else {}
        for field in self.fields:
            if field.exists(found):
                field.write(config, found)
        if "id2label" in config:
            config["label2id"] = {label: int(number) for number, label in config["id2label"].items()}
        dtype = keras.backend.standardize_dtype(next(iter(weights.values())).dtype)
        config |= {**self.demands, **self.constants(layers, found), "dtype": dtype}
        prefix = "" if name and architecture.head is None else self.prefix
        return config, weights, self.rules_for(found, prefix), self.files(layers, found)

    def _architecture(self, config, shapes):
        """The architecture that a config names; where it names none, the first whose head is there."""
        there = (each for each in self.architectures.values() if each.head is None or each.head in shapes)
        kind = list_of_one(one_of(self.architectures))
        named = Field("", "architectures", kind, lambda found: next(there, Architecture()))
        return named.read(config, shapes, {}) if self.architectures else Architecture()

    def _named(self, arguments):
        """The architecture that a model of these arguments is, and its name."""
        for name, architecture in self.architectures.items():
            if all(arguments.get(option) == value for option, value in architecture.options.items()):
                return name, architecture
        return None, Architecture()

    def _key(self, argument):
        """The key by which configs call an argument."""
        return next(field.names()[0][0] for field in self.fields if field.argument == argument)

    def _shown(self, layers):
        """The arguments that would build a model."""
        found = dict(self.fixed)
        for field in self.fields:
            if field.shown is not None and field.exists(found):
                found[field.argument] = value = layers.shown(field.shown)
                kind = field.kind_for(found)
                if kind is not None and kind.write is not None and not kind.fits(kind.write(value)):
                    rule = "for which there is no name" if kind is ACTIVATION else f"which must be {kind.rule}"
                    raise Difference(f"{field.argument}={getattr(value, '__name__', value)!r}, {rule}")
        return found


def divides(part: str, whole: str) -> tuple:
    """Returns the check that one argument divides another."""
    return f"{{{part}}} must divide {{{whole}}}.", lambda found: found[whole] % found[part] == 0
