"""Decoding for any functional model made of layers with a cache."""

from .check import check_decodable
from .generate import generate
from .programs import trace_report
from .samplers import Beam, Greedy, Sample, Sampler, draw
from .session import Session
from .step import init_caches, step
from .stream import stream

__all__ = [
    "Beam",
    "Greedy",
    "Sample",
    "Sampler",
    "Session",
    "check_decodable",
    "draw",
    "generate",
    "init_caches",
    "step",
    "stream",
    "trace_report",
]
