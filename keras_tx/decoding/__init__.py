"""Decoding for any functional model made of layers with a cache."""

from .check import check_decodable
from .drafts import Draft, Lookup
from .generate import generate
from .programs import trace_report
from .samplers import Beam, Greedy, Sample, Sampler, draw
from .session import Session
from .speculation import draft_report
from .step import init_caches, step
from .stream import stream

__all__ = [
    "Beam",
    "Draft",
    "Greedy",
    "Lookup",
    "Sample",
    "Sampler",
    "Session",
    "check_decodable",
    "draft_report",
    "draw",
    "generate",
    "init_caches",
    "step",
    "stream",
    "trace_report",
]
