"""Rules from the tensors of a file to the weights of a model, as data, and the account of both sides.

Names are templates: `h.{i}.mlp.c_fc.weight` stands for a tensor of every block, `{i}` for the block's number.
"""

import functools
import re
from typing import NamedTuple

import numpy as np

from .concatenate import Concatenate
from .header import shown, shown_shape
from .rearrange import Rearrange

_FIELD = re.compile(r"\{(\w+)\}")
_SHOWN = 5  # faults of a kind that one error names


class Rule:
    """One row of the table from tensors to weights; it reads both ways.

    Args:
        tensor: str, template of the tensor's name, or a tuple of them where each holds one row of the weight, which is then
            one.
        weights: str, template of the weight's path, or a tuple of them where the tensor holds several. Both sides have
            the same fields.
        pattern: str for `Rearrange`, with "|" for `Concatenate`, or `None` if the weight, or its row, has the tensor's shape.
        sizes: dict, the sizes of axes that `Rearrange` needs.

    Raises:
        ValueError: for templates with different fields, several weights without `*` or `|` in the pattern, several tensors
            with several weights, and a wrong pattern.

    Example:

    ```python
    rule = keras_tx.checkpoints.Rule("layers.{i}.linear.weight", "block_{i}/dense/kernel", "in out -> out in")
    ```
    """

    def __init__(self, tensor, weights, pattern=None, sizes=None):
        self.tensors = (tensor,) if isinstance(tensor, str) else tuple(tensor)
        self.weights = (weights,) if isinstance(weights, str) else tuple(weights)
        self.pattern = pattern
        self.arrangement = Concatenate(pattern) if pattern is not None and "|" in pattern else Rearrange(pattern, sizes)
        fields = [sorted(_FIELD.findall(template)) for template in (*self.tensors, *self.weights)]
        if not self.tensors or not self.weights or any(each != fields[0] for each in fields):
            raise ValueError(
                f"`tensor` and `weights` must have the same fields. Received: tensor={tensor!r}, weights={weights!r}."
            )
        if len(self.tensors) > 1 and len(self.weights) > 1:
            raise ValueError(
                f"Several tensors must be rows of one weight. Received: tensor={tensor!r}, weights={weights!r}."
            )
        if not self.arrangement.takes(len(self.weights)):
            raise ValueError(
                f"`pattern` must have a '*' for several weights. Received: pattern={pattern!r}, weights={weights!r}."
            )

    def __repr__(self):
        tensor = self.tensors[0] if len(self.tensors) == 1 else self.tensors
        return f"Rule({tensor!r}, {self.weights!r}, {self.pattern!r})"

    def prefixed(self, prefix):
        """Returns the rule for tensors whose names start with a prefix."""
        tensors = [prefix + tensor for tensor in self.tensors]
        return Rule(tensors, self.weights, self.pattern, getattr(self.arrangement, "sizes", None))

    def sized(self, **sizes):
        """Returns the rule with the sizes of axes."""
        return Rule(self.tensors, self.weights, self.pattern, sizes)

    def of_tensor(self, name):
        """Returns the names of the tensors of the rule beside this one, itself among them, and the paths of the weights that
        they hold; `None` if the rule is not for it.
        """
        for tensor in self.tensors:
            fields = template_fields(tensor, name)
            if fields is not None:
                return tuple(
                    tuple(template.format(**fields) for template in templates)
                    for templates in (self.tensors, self.weights)
                )
        return None

    def of_weight(self, path):
        """Returns the names of the tensors that hold the weight of this path, and the weight's place in them, or `None`."""
        for place, template in enumerate(self.weights):
            fields = template_fields(template, path)
            if fields is not None:
                return tuple(tensor.format(**fields) for tensor in self.tensors), place
        return None

    def tensor_shape(self, weight_shapes):
        """Returns the shape of each tensor for weights of these shapes, or `None` if they cannot come from the rule."""
        if len(self.tensors) == 1:
            return self.arrangement.tensor_shape(weight_shapes)
        rows, *row = weight_shapes[0] or (0,)
        return self.arrangement.tensor_shape([tuple(row)]) if rows == len(self.tensors) else None

    def to_weights(self, tensors, weight_shapes):
        """Returns the weights that tensors, in the order of the rule, hold."""
        if len(self.tensors) == 1:
            return self.arrangement.to_weights(tensors[0], weight_shapes)
        row = tuple(weight_shapes[0][1:])
        return [np.stack([self.arrangement.to_weights(tensor, [row])[0] for tensor in tensors])]

    def to_tensor(self, weights, place=0):
        """Returns the tensor of a place in the rule that holds weights."""
        return self.arrangement.to_tensor(weights if len(self.tensors) == 1 else [weights[0][place]])


class Match(NamedTuple):
    """The tensors of a rule, the paths of the weights that they hold, and the rule."""

    tensors: tuple
    weights: tuple
    rule: Rule


def match(rules, tensor_shapes, weight_shapes, ignored=()) -> list[Match]:
    """Accounts for every tensor and every weight, by names and shapes alone.

    Args:
        rules: list of `Rule`; the first that is for a tensor is used.
        tensor_shapes: dict from tensor name to shape.
        weight_shapes: dict from weight path to shape.
        ignored: list of name templates of tensors that may be left unused.

    Returns:
        A list of `Match`, each weight in one of them.

    Raises:
        ValueError: if a tensor is neither used nor ignored, a weight is set by none or by two, or a tensor has not
            exactly the shape that its weights need. The error names all of them, up to five of a kind.
    """
    found, set_by, faults = [], {}, {}
    for name, shape in tensor_shapes.items():
        rule, held = next(((rule, held) for rule in rules if (held := rule.of_tensor(name))), (None, ((), ())))
        tensors, paths = held
        unknown = [path for path in paths if path not in weight_shapes]
        if rule is None:
            if not any(template_fields(template, name) is not None for template in ignored):
                faults.setdefault("extra tensors, neither used nor ignored", []).append(shown(name))
        elif unknown:
            fault = f"{shown(name)} (for {shown(unknown[0])})"
            faults.setdefault("extra tensors, for weights that the model does not have", []).append(fault)
        elif all(tensor in tensor_shapes for tensor in tensors):
            needed = rule.tensor_shape([weight_shapes[path] for path in paths])
            if needed != tuple(shape):
                fault = (
                    f"{shown(name)} has shape {shown_shape(shape)}, where {' + '.join(paths)} must come from {needed}"
                )
                faults.setdefault("tensors of another shape", []).append(fault)
            if name != tensors[0]:
                continue  # the first speaks for all
            for path in paths:
                if path in set_by:
                    fault = f"{path} (by {shown(set_by[path])} and {shown(name)})"
                    faults.setdefault("weights set twice", []).append(fault)
                set_by[path] = name
            found.append(Match(tensors, paths, rule))
    for path in weight_shapes:
        if path not in set_by:
            held = next((held for rule in rules if (held := rule.of_weight(path))), None)
            missing = [tensor for tensor in held[0] if tensor not in tensor_shapes] if held else []
            source = f"missing tensor {missing[0]!r}" if missing else "no rule is for it"
            faults.setdefault("weights that no tensor sets", []).append(f"{path} ({source})")
    if faults:
        raise ValueError(
            f"Every tensor must be used or ignored, and every weight set once. Received: {_listed(faults)}."
        )
    return found


def template_fields(template, name) -> dict | None:
    """Returns what stands in a name for the fields of a template, as text, or `None` if the name is not of the template."""
    hit = _regex(template).fullmatch(name)
    return None if hit is None else hit.groupdict()


@functools.cache
def _regex(template):
    """What a template stands for; numbers as Python writes them, so that a name gives one path and a path one name."""
    pattern, seen = "", set()
    for index, part in enumerate(_FIELD.split(template)):
        if index % 2 == 0:
            pattern += re.escape(part)
        else:
            pattern += f"(?P={part})" if part in seen else f"(?P<{part}>0|[1-9][0-9]*)"
            seen.add(part)
    return re.compile(pattern)


def _listed(faults):
    kinds = []
    for kind, each in faults.items():
        more = f" and {len(each) - _SHOWN} more" if len(each) > _SHOWN else ""
        kinds.append(f"{kind}: {', '.join(each[:_SHOWN])}{more}")
    return "; ".join(kinds)
