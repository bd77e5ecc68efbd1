"""A tensor of a file that holds weights of different shapes one after the other, as one line of data.

"token hidden | row column hidden -> 1 (token + row column) hidden" reads: the first weight has the axes token and hidden, the
second row, column and hidden; along the second axis of the tensor stands the first, then the second, row by row.
"""

import re

import numpy as np

from .rearrange import Rearrange

_SUM = re.compile(r"\(([^()]*\+[^()]*)\)")


class Concatenate:
    """Turns a tensor of a file into weights of different shapes, and back, exactly.

    Left of the arrow stand the axes of each weight, with `|` between them. Right of it stand those of the tensor as in
    `Rearrange`, with one axis in parentheses that has a part for each weight, and `+` between them.

    Args:
        pattern: str, such as "a d | b c d -> (a + b c) d".

    Raises:
        ValueError: for a pattern that breaks the rules above.

    Example:

    ```python
    joined = keras_tx.checkpoints.Concatenate("a d | b c d -> (a + b c) d")
    tensor = joined.to_tensor([np.zeros((1, 8)), np.ones((2, 3, 8))])  # (7, 8)
    first, second = joined.to_weights(tensor, [(1, 8), (2, 3, 8)])
    ```
    """

    def __init__(self, pattern):
        self.pattern = pattern
        left, _, right = pattern.partition("->")
        sums, weights = _SUM.findall(right), left.split("|")
        parts = sums[0].split("+") if len(sums) == 1 else []
        if len(parts) != len(weights) or "*" in pattern:
            raise ValueError(
                "`pattern` must have one axis of the tensor in parentheses, with a part for each weight. Received: "
                f"pattern={pattern!r}."
            )
        rights = [_SUM.sub(f"({part})", right) for part in parts]
        self._each = [Rearrange(f"{axes} -> {side}") for axes, side in zip(weights, rights, strict=True)]
        self._axis = len(re.findall(r"\([^()]*\)|[^()\s]+", right[: _SUM.search(right).start()]))

    def takes(self, num_weights):
        """Returns whether a tensor can hold this many weights."""
        return num_weights == len(self._each)

    def tensor_shape(self, weight_shapes):
        """Returns the shape of the tensor that holds weights of these shapes, or `None` if none can."""
        if not self.takes(len(weight_shapes)):
            return None
        shapes = self._shapes(weight_shapes)
        if None in shapes or len({self._without(shape) for shape in shapes}) > 1:
            return None
        first = shapes[0]
        return (
            *first[: self._axis],
            sum(shape[self._axis] for shape in shapes),
            *first[self._axis + 1 :],
        )

    def to_tensor(self, weights):
        """Returns the tensor that holds the weights, a list of arrays."""
        if self.tensor_shape([weight.shape for weight in weights]) is None:
            raise ValueError(
                f"`weights` must fit the pattern. Received: {[weight.shape for weight in weights]} for {self.pattern!r}."
            )
        parts = [each.to_tensor([weight]) for each, weight in zip(self._each, weights, strict=True)]
        return np.concatenate(parts, axis=self._axis)

    def to_weights(self, tensor, weight_shapes):
        """Returns the weights that a tensor, an array of exactly `tensor_shape(weight_shapes)`, holds, as a list."""
        shape = self.tensor_shape(weight_shapes)
        if shape != tensor.shape:
            raise ValueError(f"`tensor` must have shape {shape}. Received: tensor of shape {tensor.shape}.")
        ends = np.cumsum([part[self._axis] for part in self._shapes(weight_shapes)])[:-1]
        parts = np.split(tensor, ends, axis=self._axis)
        return [
            each.to_weights(part, [shape])[0]
            for each, part, shape in zip(self._each, parts, weight_shapes, strict=True)
        ]

    def _shapes(self, weight_shapes):
        return [each.tensor_shape([shape]) for each, shape in zip(self._each, weight_shapes, strict=True)]

    def _without(self, shape):
        return (*shape[: self._axis], *shape[self._axis + 1 :])
