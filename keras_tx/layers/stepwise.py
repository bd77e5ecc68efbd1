"""Which layers are known by their class to work in steps. Decoding compares all others with their full pass.

A step gives a layer the next tokens alone. A layer without a cache works in steps if what it gives at a position depends on that
position alone, and a layer with a cache if it then gives what it gives for the whole sequence.
"""

import keras

from .. import graph
from ..ops import activations


def is_stepwise(layer):
    """Returns whether a layer, or `None`, is known to work in steps when its call is given nothing but inputs and a context.

    A class of one's own says so by `is_stepwise` in its body, a flag or a property. One that is inherited says nothing of what
    a subclass changes.
    """
    kind = type(layer)
    if layer is None or "is_stepwise" in vars(kind):
        return layer is None or bool(layer.is_stepwise)
    return kind in _KERAS and _KERAS[kind](layer)


def has_stepwise_parts(layer):
    """Returns whether all layers in a layer are known to work in steps."""
    return all(is_stepwise(part) for part in graph.direct_parts(layer))


def has_known_activation(layer):
    """Returns whether a layer has no activation, or one of Keras or this package, of which none mixes positions."""
    activation, name = layer.activation, getattr(layer.activation, "__name__", "")
    return activation in (None, getattr(keras.activations, name, None), getattr(activations, name, None))


def normalizes(layer, *axes):
    """Returns whether a layer is a normalization known to work over no other axes than these, which are negative."""
    is_known = type(layer) in _NORMS or "is_stepwise" in vars(type(layer))
    own = getattr(layer, "axis", None)
    return is_known and set(own if isinstance(own, (list, tuple)) else [own]) <= set(axes)


_NORMS = (keras.layers.LayerNormalization, keras.layers.RMSNormalization)
_ALWAYS = "ActivityRegularization Dropout ELU Embedding GaussianDropout GaussianNoise Identity LeakyReLU ReLU"
_KERAS = {
    **{getattr(keras.layers, name): lambda layer: True for name in _ALWAYS.split()},
    **{kind: lambda layer: normalizes(layer, -1) for kind in _NORMS},
    keras.layers.Activation: has_known_activation,
    keras.layers.Dense: has_known_activation,
    keras.layers.Rescaling: lambda layer: all(isinstance(each, (int, float)) for each in (layer.scale, layer.offset)),
    keras.layers.Softmax: lambda layer: layer.axis == -1,
}
