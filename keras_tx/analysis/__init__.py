"""Looking into a functional model: what attention attends to, how far, what comes from where; what it costs; how losses scale."""

from . import plots
from .attention_distances import attention_distances
from .attention_maps import attention_maps
from .attention_patterns import AttentionPatterns, attention_patterns
from .attention_rollout import attention_rollout
from .costs import Costs, LayerCosts, count_costs, layer_costs
from .head_ablation import ablate_heads
from .scaling import Optimum, ScalingLaw, fit_scaling_law
from .token_distances import token_distances
from .token_similarity import Similarity, similarity

__all__ = [
    "AttentionPatterns",
    "Costs",
    "LayerCosts",
    "Optimum",
    "ScalingLaw",
    "Similarity",
    "ablate_heads",
    "attention_distances",
    "attention_maps",
    "attention_patterns",
    "attention_rollout",
    "count_costs",
    "fit_scaling_law",
    "layer_costs",
    "plots",
    "similarity",
    "token_distances",
]
