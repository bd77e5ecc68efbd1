"""How losses fall with parameters and tokens: laws fitted to runs, and what they say of the next run."""

from .fit import fit_scaling_law
from .law import Optimum, ScalingLaw

__all__ = ["Optimum", "ScalingLaw", "fit_scaling_law"]
