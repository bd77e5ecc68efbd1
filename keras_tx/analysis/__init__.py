"""Looking into a functional model: what its attention attends to, how far, what arrives from where, and what it costs."""

from . import plots
from .attention_distances import attention_distances
from .attention_maps import attention_maps
from .attention_rollout import attention_rollout
from .costs import Costs, LayerCosts, count_costs, layer_costs

__all__ = [
    "Costs",
    "LayerCosts",
    "attention_distances",
    "attention_maps",
    "attention_rollout",
    "count_costs",
    "layer_costs",
    "plots",
]
