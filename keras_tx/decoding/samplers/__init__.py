"""Samplers: how the next token is chosen, one a file, each with what it keeps from token to token."""

from .beam import Beam
from .greedy import Greedy
from .rules import draw
from .sample import Sample
from .sampler import Sampler, TokenState

__all__ = ["Beam", "Greedy", "Sample", "Sampler", "TokenState", "draw"]
