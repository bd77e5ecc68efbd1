"""Pictures of what a model does."""

from .costs import plot_costs
from .depths import plot_by_depth
from .distances import plot_attention_distances
from .head_sheets import plot_heads, plot_patterns
from .heat_maps import plot_attention
from .overlays import plot_overlay

__all__ = [
    "plot_attention",
    "plot_attention_distances",
    "plot_by_depth",
    "plot_costs",
    "plot_heads",
    "plot_overlay",
    "plot_patterns",
]
