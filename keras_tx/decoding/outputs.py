"""Which output of a model is decoded: its only one, or the one that is named."""

import weakref

import keras

from .. import arguments
from ..graph import functional_of

_parts = weakref.WeakKeyDictionary()


def decoded_model(model, output=None):
    """Returns the functional model of one output that is decoded: the model itself, or the part of it that leads there.

    Layers and weights are the model's own.

    Args:
        model: functional `keras.Model` or built `keras.Sequential`.
        output: which of several outputs: str, its key in a dict of outputs or the name of the layer that gives it, or int,
            its index; `None` for the only one.

    Raises:
        ValueError: if the model is not functional or not built, or `output` names none of its outputs, or several.
    """
    functional = functional_of(model)
    if functional is None and isinstance(model, keras.Sequential):
        raise ValueError(
            "`model` must be built to be decoded: give the Sequential a keras.Input first, or call it once. Received: "
            f"{model.name}, which is not built."
        )
    if functional is None or not functional.inputs:
        raise ValueError(f"`model` must be a functional keras.Model to be decoded. Received: model={model!r}.")
    index = _index(functional, model.name, output)
    if functional is model and len(functional.outputs) == 1 and not isinstance(functional.output, dict):
        return functional
    # Kept with the graph and not with the model: a Sequential has another graph after each layer that is added.
    parts = _parts.setdefault(functional, {})
    if index not in parts:
        parts[index] = keras.Model(functional.input, functional.outputs[index], name=model.name)
    return parts[index]


def walked_model(model, output=None):
    """Returns the model whose graph is walked: all of it, or with an `output`, the part that leads to that one."""
    if output is not None:
        return decoded_model(model, output)
    return functional_of(model) or model


def _index(functional, name, output):
    keys, layers = list(functional.output) if isinstance(functional.output, dict) else [], functional.output_names
    count = len(functional.outputs)
    if output is None and count == 1:
        return 0
    found = []
    if arguments.is_integer(output) and 0 <= output < count:
        found = [int(output)]
    elif isinstance(output, str) and output in keys and isinstance(functional.output[output], keras.KerasTensor):
        tensor = functional.output[output]
        found = [next(i for i, other in enumerate(functional.outputs) if other is tensor)]
    elif isinstance(output, str):
        found = [i for i, layer in enumerate(layers) if layer == output]
    if len(found) != 1:
        raise ValueError(
            "`output` must name the one output that is decoded, by its key, its layer or its index. Received: "
            f"output={output!r}, {name} with "
            + (f"outputs {keys} of layers {layers}." if keys else f"{count} outputs, of layers {layers}.")
        )
    return found[0]
