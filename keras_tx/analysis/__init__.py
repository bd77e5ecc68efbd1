"""Looking into a functional model: what its attention attends to, how far, and what arrives from where."""

from . import plots
from .attention_distances import attention_distances
from .attention_maps import attention_maps
from .attention_rollout import attention_rollout

__all__ = ["attention_distances", "attention_maps", "attention_rollout", "plots"]
