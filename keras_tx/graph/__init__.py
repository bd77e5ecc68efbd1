"""A functional model as data: walking its layers, finding a layer in the graph that leads to a tensor, and what is in a
layer.

With `ops/padding.py` and `layers/recomputation.py`, the only user of Keras' private names.
"""

from .cached_outputs import CachedOutputs
from .calls import call_origins, layer_calls, layer_inputs, layers_before, output_origin, reached_calls
from .deferred import fill, without_values
from .interception import changed_inputs
from .optional_inputs import optional_inputs, without_optional_inputs
from .splitting import split
from .sublayers import direct_parts, find_layer, parts, parts_by_attribute
from .walk import MISSING, Origin, complete_arguments, functional_of, input_names, pack_inputs, walk

__all__ = [
    "MISSING",
    "CachedOutputs",
    "Origin",
    "call_origins",
    "changed_inputs",
    "complete_arguments",
    "direct_parts",
    "fill",
    "find_layer",
    "functional_of",
    "input_names",
    "layer_calls",
    "layer_inputs",
    "layers_before",
    "optional_inputs",
    "output_origin",
    "pack_inputs",
    "parts",
    "parts_by_attribute",
    "reached_calls",
    "split",
    "walk",
    "without_optional_inputs",
    "without_values",
]
