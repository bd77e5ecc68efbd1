"""Axes before the positions of a sequence, laid into one batch axis for the mathematics and taken apart again after it.

Of sequences (B, T, D) nothing is laid anywhere: their program is what it would be without this file.
"""

import math

from keras import ops

from . import sizes


class LeadingAxes:
    """The axes of a tensor (..., T, D) before the last two, which are all batch."""

    def __init__(self, inputs):
        self.count = len(inputs.shape) - 2
        self.known = tuple(inputs.shape[:-2])
        self.sizes = tuple(ops.shape(inputs)[:-2]) if self.count > 1 else None

    def fold(self, x, kept):
        """Returns a tensor with one axis before its last `kept` ones.

        Args:
            x: tensor (..., *kept axes) whose leading axes are those of the inputs or of size 1; one with fewer axes, which
                broadcasts, or `None`. Both stay as they are.
            kept: int.

        Returns:
            A tensor (B', *kept axes), B' the product of the leading sizes.
        """
        if self.sizes is None or x is None or len(x.shape) != self.count + kept:
            return x
        own, rest = tuple(x.shape[: self.count]), tuple(ops.shape(x)[self.count :])
        # A size that is not known may be any, and one of 1 broadcasts.
        pairs = [(sizes.known(size), sizes.known(other)) for size, other in zip(own, self.known, strict=True)]
        if not all(size is not None and 1 != size == other for size, other in pairs):
            x = ops.broadcast_to(x, (*self.sizes, *rest))
        return ops.reshape(x, (math.prod(self.sizes), *rest))

    def unfold(self, x):
        """Returns a tensor (B', ...) with the leading axes of the inputs in place of its first; `None` stays `None`."""
        return x if self.sizes is None or x is None else ops.reshape(x, (*self.sizes, *ops.shape(x)[1:]))
