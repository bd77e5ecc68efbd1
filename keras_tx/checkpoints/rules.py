"""Rules from the tensors of a file to the weights of a model, as data, and the account of both sides.

Names are templates: `h.{i}.mlp.c_fc.weight` stands for a tensor of every block, `{i}` for the block's number.
"""

import functools
import re
from typing import NamedTuple

from .arrangement import Arrangement
from .header import shown, shown_shape

_FIELD = re.compile(r"\{(\w+)\}")
_SHOWN = 5  # faults of a kind that one error names


class Rule:
    """One row of the table from tensors to weights; it reads both ways.

    Args:
        tensor: str, template of the tensor's name.
        weights: str, template of the weight's path, or a tuple of them where the tensor holds several. Both sides have
            the same fields.
        pattern: str for `Arrangement`, or `None` if the weight has the tensor's shape.

    Raises:
        ValueError: for templates with different fields, several weights without `*` in the pattern, and a wrong
            pattern.

    Example:

    ```python
    rule = keras_tx.checkpoints.Rule("layers.{i}.linear.weight", "block_{i}/dense/kernel", "in out -> out in")
    ```
    """

    def __init__(self, tensor, weights, pattern=None):
        self.tensor = tensor
        self.weights = (weights,) if isinstance(weights, str) else tuple(weights)
        self.arrangement = Arrangement(pattern)
        fields = [sorted(_FIELD.findall(template)) for template in (tensor, *self.weights)]
        if not self.weights or any(each != fields[0] for each in fields):
            raise ValueError(
                f"`tensor` and `weights` must have the same fields. Received: tensor={tensor!r}, weights={weights!r}."
            )
        if not self.arrangement.takes(len(self.weights)):
            raise ValueError(
                f"`pattern` must have a '*' for several weights. Received: pattern={pattern!r}, weights={weights!r}."
            )

    def __repr__(self):
        return f"Rule({self.tensor!r}, {self.weights!r}, {self.arrangement.pattern!r})"

    def of_tensor(self, name):
        """Returns the paths of the weights that the tensor of this name holds, or `None` if the rule is not for it."""
        hit = _regex(self.tensor).fullmatch(name)
        return hit and tuple(template.format(**hit.groupdict()) for template in self.weights)

    def of_weight(self, path):
        """Returns the name of the tensor that holds the weight of this path, and the weight's place in it, or `None`."""
        for place, template in enumerate(self.weights):
            hit = _regex(template).fullmatch(path)
            if hit:
                return self.tensor.format(**hit.groupdict()), place
        return None


class Match(NamedTuple):
    """A tensor, the paths of the weights that it holds, and how it holds them."""

    tensor: str
    weights: tuple
    arrangement: Arrangement


def match(rules, tensor_shapes, weight_shapes, ignored=()):
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
        rule, paths = next(((rule, paths) for rule in rules if (paths := rule.of_tensor(name))), (None, ()))
        unknown = [path for path in paths if path not in weight_shapes]
        if rule is None:
            if not any(_regex(template).fullmatch(name) for template in ignored):
                faults.setdefault("extra tensors, neither used nor ignored", []).append(shown(name))
        elif unknown:
            fault = f"{shown(name)} (for {shown(unknown[0])})"
            faults.setdefault("extra tensors, for weights that the model does not have", []).append(fault)
        else:
            for path in paths:
                if path in set_by:
                    fault = f"{path} (by {shown(set_by[path])} and {shown(name)})"
                    faults.setdefault("weights set twice", []).append(fault)
                set_by[path] = name
            needed = rule.arrangement.tensor_shape([weight_shapes[path] for path in paths])
            if needed != tuple(shape):
                fault = (
                    f"{shown(name)} has shape {shown_shape(shape)}, where {' + '.join(paths)} must come from {needed}"
                )
                faults.setdefault("tensors of another shape", []).append(fault)
            found.append(Match(name, paths, rule.arrangement))
    for path in weight_shapes:
        if path not in set_by:
            held = next((held for rule in rules if (held := rule.of_weight(path))), None)
            source = f"missing tensor {held[0]!r}" if held else "no rule is for it"
            faults.setdefault("weights that no tensor sets", []).append(f"{path} ({source})")
    if faults:
        raise ValueError(
            f"Every tensor must be used or ignored, and every weight set once. Received: {_listed(faults)}."
        )
    return found


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
