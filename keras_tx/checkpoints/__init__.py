"""Safetensors files, and rules from their tensors to the weights of a model. Knows no model."""

from .concatenate import Concatenate
from .folder import Checkpoint, read_json
from .rearrange import Rearrange
from .rules import Rule, match
from .weights import load_weights, save_weights
from .writer import Tensor, json_bytes, write_folder

__all__ = [
    "Rearrange",
    "Checkpoint",
    "Concatenate",
    "Rule",
    "Tensor",
    "json_bytes",
    "load_weights",
    "match",
    "read_json",
    "save_weights",
    "write_folder",
]
