"""What a model's outputs are: logits, or probabilities of which the logarithms are taken. What is neither is refused."""

from typing import NamedTuple

import keras
import numpy as np

from ..graph import output_origin


class Head(NamedTuple):
    """How logits are had of a model.

    Attributes:
        softmax: str, the path of the call at the end whose softmax is left out, or `None`.
        log: bool, whether the outputs are probabilities of which the logarithm is taken.
    """

    softmax: str | None = None
    log: bool = False


def _layers(names):
    return tuple(getattr(keras.layers, name) for name in names.split())


# Layers, and operations by name, that hand each number on.
_KEEP = _layers("ActivityRegularization AlphaDropout Dropout GaussianDropout GaussianNoise Identity Permute Reshape")
_KEEP_NAMES = {
    "Cast",
    "ExpandDims",
    "GetItem",
    "Identity",
    "Moveaxis",
    "Reshape",
    "Squeeze",
    "StopGradient",
    "Swapaxes",
}
_KEEP_NAMES |= {"Transpose"}
_WITH_ACTIVATION = _layers("Activation Conv1D Conv2D Dense EinsumDense")
_ACTIVATION_LAYERS = _layers("ELU LeakyReLU PReLU ReLU Softmax UnitNormalization")


def heads(model, outputs, tolerance):
    """Returns a list of `Head`s, how logits may be had of a model of one output, the likeliest way first.

    Raises `ValueError` if its outputs for some ids, a numpy array (B, T, V), are neither logits nor probabilities (whose sums
    are 1 within the tolerance), naming the layer that makes them.
    """
    origin, activation = _end(model)
    if activation in ("linear", "log_softmax"):
        return [Head()]
    if not _are_probabilities(outputs, tolerance) and not (activation == "softmax" and np.isnan(outputs).any()):
        if activation is None:
            return [Head()]
        raise ValueError(
            "`model` must give logits, or probabilities that sum to 1 over the last axis, to be decoded. Received: "
            f"{model.name}, whose outputs are those of {activation!r} in {origin.path!r} "
            f"({type(origin.operation).__name__})."
        )
    whole = [Head(log=True)]
    return [Head(softmax=origin.path), *whole] if activation == "softmax" and _has_logits(origin) else whole


def known_head(model):
    """Returns the `Head` of a model of one output that its graph shows, or `None` where its numbers have to tell."""
    origin, activation = _end(model)
    if activation in ("linear", "log_softmax") or vars(type(origin.operation)).get("gives_logits"):
        return Head()
    return Head(softmax=origin.path) if activation == "softmax" and _has_logits(origin) else None


def _end(model):
    """Returns the `Origin` of a model's numbers, and the name of the activation with which it ends, if any."""
    origin = output_origin(model)
    while origin.operation is not None and _keeps_values(origin.operation):
        origin = next(x for x in keras.tree.flatten((origin.args, origin.kwargs)) if hasattr(x, "operation"))
    return origin, _activation(origin.operation)


def call_without(head):
    """Returns the function that calls a layer or an operation as the model does, but for the softmax that a `Head` leaves out."""

    def call_without_softmax(operation, path, args, kwargs):
        if path != head.softmax:
            return operation(*args, **kwargs)
        if isinstance(operation, _WITH_ACTIVATION) and not isinstance(operation, keras.layers.Activation):
            return _without_activation(operation)(*args, **kwargs)
        return args[0] if args else next(iter(kwargs.values()))

    return call_without_softmax


def _keeps_values(operation):
    if isinstance(operation, keras.layers.Activation):
        return operation.activation is keras.activations.linear
    if isinstance(operation, keras.Layer):
        return isinstance(operation, _KEEP)
    return type(operation).__name__ in _KEEP_NAMES


def _activation(operation):
    """Returns the name of the activation with which a layer or an operation ends, or `None` where none is known."""
    if isinstance(operation, keras.layers.TimeDistributed):
        return _activation(operation.layer)
    if isinstance(operation, _WITH_ACTIVATION):
        function = operation.activation
        name = getattr(function, "__name__", None)
        return name if name and getattr(keras.activations, name, None) is function else None
    if isinstance(operation, _ACTIVATION_LAYERS):
        return type(operation).__name__.lower()
    if operation is None or isinstance(operation, keras.Layer):
        return None
    names = {name.replace("_", ""): name for name in dir(keras.activations)}
    return names.get(type(operation).__name__.lower())


def _has_logits(origin):
    """Returns whether the call can be made without its softmax: no mask decides with it what is likely."""
    if isinstance(origin.operation, keras.layers.TimeDistributed):
        return False
    tensors = [x for x in keras.tree.flatten((origin.args, origin.kwargs)) if hasattr(x, "operation")]
    return isinstance(origin.operation, _WITH_ACTIVATION) or len(tensors) == 1 and origin.kwargs.get("mask") is None


def _are_probabilities(outputs, tolerance):
    sums = outputs.sum(-1, dtype="float64")
    return bool(outputs.size and (outputs >= 0).all() and (np.abs(sums - 1) <= tolerance).all())


def _without_activation(layer):
    """Returns a layer of the same weights that has no activation; the given one, which others may be calling, stays."""
    plain = object.__new__(type(layer))
    plain.__dict__.update(layer.__dict__)
    plain.__dict__["activation"] = keras.activations.linear
    return plain
