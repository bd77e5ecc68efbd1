"""What a model costs: one walk over symbolic shapes."""

from .count import count_costs
from .dispatch import layer_costs
from .record import LayerCosts
from .report import Costs, LayerRow

__all__ = ["Costs", "LayerCosts", "LayerRow", "count_costs", "layer_costs"]
