"""Building the layers in slots, whose weights must be there when their owner's are, however they make them."""

import inspect

import keras

from .. import graph
from . import sublayers
from .composite import Composite, set_trainable


def build(layer, *specs):
    """Builds a layer that came in a slot, and all that is in it, unless it came back built.

    Its `build` is called with as many of the shapes as it takes. A layer without one, or that leaves parts for its first call,
    is run on placeholders, as Keras does.

    Args:
        layer: the layer, or `None`.
        *specs: `KerasTensor`s that stand for the arguments of its call.
    """
    if layer is None:
        return
    shapes = [tuple(spec.shape) for spec in specs]
    if isinstance(layer, Composite):
        sublayers.build_once(layer, *shapes)
        return
    old = {id(part) for _, part in graph.parts(layer)}
    if not layer.built:
        _call_build(layer, shapes)
    if _lacks_parts(layer):
        _Trial(layer).compute_output_spec(*specs)
    _freeze_new_parts(layer, old)


def _call_build(layer, shapes):
    if type(layer).build is keras.Layer.build:
        if not _lacks_parts(layer):
            layer.build(shapes[0])
        return
    signature = inspect.signature(layer.build)
    for count in range(len(shapes), 0, -1):
        try:
            signature.bind(*shapes[:count])
        except TypeError:
            continue
        layer.build(*shapes[:count])
        return
    raise ValueError(
        f"A layer in a slot must have a `build` that takes the shapes of {len(shapes)} arguments, or fewer, or none. Received: "
        f"{layer.name} of class {type(layer).__name__} with build{signature}."
    )


def _freeze_new_parts(layer, old):
    """Freezes what a frozen layer made when it was built: Keras makes it as if the layer were not."""
    for part in graph.direct_parts(layer):
        if not layer.trainable and id(part) not in old:
            set_trainable(part, False)
        elif not isinstance(part, Composite):
            _freeze_new_parts(part, old)


def _lacks_parts(layer):
    return any(not part.built for _, part in graph.parts(layer))


class _Trial(keras.Operation):
    """Runs a layer where nothing is computed, and leaves no trace in its graph."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, *inputs):
        return self.layer(*inputs)
