"""Pictures of what a model does."""

from .costs import plot_costs
from .distances import plot_attention_distances
from .heat_maps import plot_attention
from .overlays import plot_overlay

__all__ = ["plot_attention", "plot_attention_distances", "plot_costs", "plot_overlay"]
