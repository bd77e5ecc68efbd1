"""Pure functions of tensors: no layer and no weight lives here."""

from . import activations, assignment, attention, boxes, concrete, masks, positions, random_bits, token_ids

__all__ = [
    "activations",
    "assignment",
    "attention",
    "boxes",
    "concrete",
    "masks",
    "positions",
    "random_bits",
    "token_ids",
]
