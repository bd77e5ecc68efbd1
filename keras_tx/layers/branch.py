"""The residual branches that every block is a list of: a sublayer, and what stands between it and the sum."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras import ops

from . import input_checks


@dataclass(frozen=True)
class Branch:
    """x <- x + steps(f(norm(x))), or with a norm of the sum, x <- norm(x + steps(f(x))).

    Attributes:
        name: str, of the slot that the sublayer stands in, for messages.
        sublayer: function x (..., D) -> ((..., D), extras), the extras a tuple handed through.
        norm: layer that normalizes what the sublayer reads (Xiong et al. 2020), or `None`.
        steps: tuple of layers, or `None`s for those that are not there, applied in order to what the sublayer gives.
        sum_norm: layer that normalizes the sum (Vaswani et al. 2017), or `None`.
    """

    name: str
    sublayer: Callable
    norm: keras.Layer | None
    steps: tuple
    sum_norm: keras.Layer | None

    def read(self, inputs, training):
        """Returns what the sublayer reads."""
        return inputs if self.norm is None else self.norm(inputs, training=training)

    def give(self, x, training):
        """Returns what is added for `x`, and the extras; raises `ValueError` if a sublayer of a caller's gives another shape."""
        y, extras = self.sublayer(x)
        input_checks.check_branch(x, y, self.name)
        for step in self.steps:
            if step is not None:
                y = step(y, training=training)
        return y, extras

    def close(self, total, training):
        """Returns what becomes of the sum."""
        return total if self.sum_norm is None else ops.cast(self.sum_norm(total, training=training), total.dtype)


def apply(branches, inputs, training, parallel=False):
    """Sends a tensor through the branches of a block, one after the other or side by side.

    Args:
        branches: list of `Branch`es; side by side, all read what the first of them does.
        inputs: float tensor (..., D), whose dtype the outputs have, whatever the parts compute in.
        training: bool or `None`.
        parallel: bool.

    Returns:
        The outputs (..., D), and a list of the extras of each branch.
    """
    total, extras = inputs, []
    for branch in branches:
        if not (parallel and extras):
            x = branch.read(total, training)
        y, more = branch.give(x, training)
        total = branch.close(total + ops.cast(y, inputs.dtype), training)
        extras.append(more)
    return total, extras
