"""What one call of a layer costs, and how the costs of its parts add up."""

import math
from dataclasses import dataclass, field, fields, replace

import keras

from ... import arguments


@dataclass(frozen=True)
class LayerCosts:
    """What one call of a layer costs, in integers of at least 0. Costs of parts are added with `+`.

    Attributes:
        macs: dict from kind ("attention", "projections", "feed_forward", "dense", "convolution", "logits", "mixing") to the
            multiply-accumulates of products in the forward pass, as they are computed.
        all_pairs: int, multiply-accumulates that attention of every query to every key has: twice the heads' width a pair.
        allowed_pairs: int, those of the pairs that a causal order or a window allows; masks that are data are not looked at.
        normalized: int, elements that norms read.
        kept: int, bytes that are kept from the forward pass for the gradients.
        recomputed: int, multiply-accumulates that the backward pass does a second time.
        cache: int, bytes that each further token takes in the caches of one row of the batch; 0 where a window bounds the cache.
        context_cache: int, bytes that the cached keys and values of the context take for all rows.
    """

    macs: dict = field(default_factory=dict)
    all_pairs: int = 0
    allowed_pairs: int = 0
    normalized: int = 0
    kept: int = 0
    recomputed: int = 0
    cache: int = 0
    context_cache: int = 0

    def __post_init__(self):
        """Raises `ValueError` for macs that are no dict, and counts that are no integers of at least 0."""
        if not isinstance(self.macs, dict):
            raise ValueError(f"`macs` must be a dict from kind to an integer. Received: macs={self.macs!r}.")
        for kind, count in self.macs.items():
            arguments.integer(f"macs[{kind!r}]", count, least=0)
        for each in fields(self)[1:]:
            arguments.integer(each.name, getattr(self, each.name), least=0)

    @property
    def total_macs(self):
        """The multiply-accumulates of all kinds."""
        return sum(self.macs.values())

    def __add__(self, other):
        numbers = {each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)[1:]}
        kinds = dict.fromkeys([*self.macs, *other.macs])
        return LayerCosts({kind: self.macs.get(kind, 0) + other.macs.get(kind, 0) for kind in kinds}, **numbers)

    def __radd__(self, other):
        return self if other == 0 else NotImplemented  # the start of sum()

    def of_kind(self, kind):
        """Returns the same, with all products counted as of one kind."""
        return replace(self, macs={kind: self.total_macs} if self.macs else {})


def elements(*tensors) -> int:
    """Returns how many elements tensors have, or shapes; raises `ValueError` where a size is not known."""
    total = 0
    for tensor in tensors:
        shape = tuple(getattr(tensor, "shape", tensor))
        if None in shape:
            raise ValueError(
                "`inputs` must have known sizes, from which those of all tensors follow. Received: sizes from which a tensor of "
                f"shape {shape} follows. An input of the model may be given as a shape of integers."
            )
        total += math.prod(shape)
    return total


def item_bytes(dtype) -> float:
    """Returns how many bytes an element of a dtype takes."""
    dtype = keras.backend.standardize_dtype(dtype)
    if dtype == "bool":
        return 1
    return int("".join(filter(str.isdigit, dtype.split("_")[0].split("e")[0]))) / 8


def tensor_bytes(dtype, *tensors) -> int:
    """Returns how many bytes tensors, or shapes, take in a dtype."""
    return int(elements(*tensors) * item_bytes(dtype))
