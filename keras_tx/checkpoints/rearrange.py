"""How the numbers of a tensor in a file are arranged in the weights of a model, as one line of data.

"d n h -> d (* n h)" reads: a weight has the axes d, n and h; the tensor has the axis d, and one that runs over the
weights of the rule, then over n, then over h.
"""

import math
import re

import numpy as np

_EACH_WEIGHT = "*"
_ONE = "1"
_AXIS = re.compile(r"[a-z]\w*")
_GROUP = re.compile(r"\([^()]*\)|[^()\s]+")


class Rearrange:
    """Turns a tensor of a file into weights, and back, exactly.

    Left of the arrow stand the axes of a weight. Right of it stand those of the tensor: the same names in any order,
    several in parentheses where the tensor has one axis for them, `1` for an axis of size 1, and `*`, at most once, for
    the axis along which the weights of one rule follow each other. Parentheses on the left are one axis of the weight; all
    of its parts but one must then have their sizes given.

    Args:
        pattern: str, "weight axes -> tensor axes", such as "in out -> out in"; `None` for one weight as it is.
        sizes: dict from names of axes in parentheses on the left to their sizes.

    Raises:
        ValueError: for a pattern that breaks the rules above.

    Example:

    ```python
    arrangement = keras_tx.checkpoints.Rearrange("d n h -> d (* n h)")
    query, key, value = np.random.normal(size=(3, 8, 2, 4))
    fused = arrangement.to_tensor([query, key, value])  # (8, 24)
    parts = arrangement.to_weights(fused, [(8, 2, 4)] * 3)
    ```
    """

    def __init__(self, pattern=None, sizes=None):
        self.pattern, self.sizes = pattern, dict(sizes or {})
        self.axes = self.groups = None
        if pattern is None:
            return
        left, arrow, right = pattern.partition("->")
        self._folded = [_names(group) for group in _GROUP.findall(left)]  # what each axis of the weight is made of
        self.axes = [name for group in self._folded for name in group]
        self.groups = [_names(group) for group in _GROUP.findall(right)]
        names = [name for group in self.groups for name in group if name != _ONE]
        self.has_each = _EACH_WEIGHT in names
        expected = sorted([*self.axes, *([_EACH_WEIGHT] if self.has_each else [])])
        is_closed = not _GROUP.sub("", left + right).strip()
        if (
            not arrow
            or not is_closed
            or sorted(names) != expected
            or not all(_AXIS.fullmatch(name) for name in self.axes)
        ):
            raise ValueError(
                "`pattern` must name the axes of a weight, then '->', then the same axes as the tensor has them. Received: "
                f"pattern={pattern!r}."
            )
        order = [_EACH_WEIGHT, *self.axes]
        self._order = [order.index(name) for name in ([] if self.has_each else [_EACH_WEIGHT]) + names]

    def takes(self, num_weights):
        """Returns whether a tensor can hold this many weights: several only with `*`."""
        return num_weights == 1 or (self.pattern is not None and self.has_each and num_weights > 1)

    def tensor_shape(self, weight_shapes):
        """Returns the shape of the tensor that holds weights of these shapes, or `None` if none can."""
        first = tuple(weight_shapes[0])
        if any(tuple(shape) != first for shape in weight_shapes) or not self.takes(len(weight_shapes)):
            return None
        if self.pattern is None:
            return first
        unfolded = self._unfolded(first)
        if unfolded is None:
            return None
        sizes = {_EACH_WEIGHT: len(weight_shapes), _ONE: 1, **dict(zip(self.axes, unfolded, strict=True))}
        shape = []
        for group in self.groups:
            size = 1
            for name in group:
                size *= sizes[name]
            shape.append(size)
        return tuple(shape)

    def to_tensor(self, weights):
        """Returns the tensor that holds the weights.

        Args:
            weights: list of arrays of one shape.

        Returns:
            A contiguous array.

        Raises:
            ValueError: if no tensor can hold them.
        """
        shape = self.tensor_shape([weight.shape for weight in weights])
        if shape is None:
            raise ValueError(
                f"`weights` must fit the pattern. Received: {[weight.shape for weight in weights]} for {self.pattern!r}."
            )
        if self.pattern is None:
            return np.ascontiguousarray(weights[0])
        stacked = np.stack(weights).reshape(len(weights), *self._unfolded(weights[0].shape))
        return np.ascontiguousarray(stacked.transpose(self._order)).reshape(shape)

    def to_weights(self, tensor, weight_shapes):
        """Returns the weights that a tensor holds.

        Args:
            tensor: array of exactly `tensor_shape(weight_shapes)`.
            weight_shapes: list of the weights' shapes.

        Returns:
            A list of views of the tensor, or of copies where axes are folded.

        Raises:
            ValueError: if the tensor has another shape.
        """
        shape = self.tensor_shape(weight_shapes)
        if shape != tensor.shape:
            raise ValueError(f"`tensor` must have shape {shape}. Received: tensor of shape {tensor.shape}.")
        if self.pattern is None:
            return [tensor]
        sizes = (len(weight_shapes), *self._unfolded(weight_shapes[0]))
        stacked = tensor.reshape([sizes[axis] for axis in self._order]).transpose(np.argsort(self._order))
        return [part.reshape(shape) for part, shape in zip(stacked, weight_shapes, strict=True)]

    def _unfolded(self, shape):
        """The sizes of `axes` in a weight of this shape, or `None` if it does not fit them."""
        if len(shape) != len(self._folded):
            return None
        found = []
        for size, names in zip(shape, self._folded, strict=True):
            if len(names) == 1:
                found.append(size)
                continue
            known = [self.sizes.get(name) for name in names]
            rest = math.prod(each for each in known if each is not None)
            if known.count(None) > 1 or size % rest or (None not in known and size != rest):
                return None
            found += [size // rest if each is None else each for each in known]
        return tuple(found)


def _names(group):
    return group.strip("()").split()
