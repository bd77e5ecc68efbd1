"""Looking into a functional model: what its attention attends to."""

from . import plots
from .attention_maps import attention_maps

__all__ = ["attention_maps", "plots"]
