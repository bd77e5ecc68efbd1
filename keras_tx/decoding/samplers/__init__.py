"""Samplers: how the next token is chosen, one a file, each with what it keeps from token to token."""

from .beam import Beam
from .greedy import Greedy
from .rules import draw
from .sample import Sample
from .sampler import Sampler, TokenState

__all__ = ["Beam", "Greedy", "Sample", "Sampler", "TokenState", "check_sampler", "draw"]


def check_sampler(sampler, streams=False):
    """Returns the sampler, `Greedy()` for `None`.

    Raises `ValueError` for an object that is not a `Sampler`, or, where `streams`, a sampler that cannot stream.
    """
    sampler = Greedy() if sampler is None else sampler
    if not isinstance(sampler, Sampler) or streams and not sampler.streams:
        known = (
            "Greedy, Sample or another Sampler to stream, no Beam"
            if streams
            else "Greedy, Sample, Beam or another Sampler"
        )
        raise ValueError(f"`sampler` must be {known}. Received: sampler={sampler!r}.")
    return sampler
