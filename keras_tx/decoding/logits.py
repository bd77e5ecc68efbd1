"""What a model's outputs are: logits, or probabilities of which the logarithms are taken. What is neither is refused."""

import weakref
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from ..graph import output_origin
from .step import call, run_step


class Head(NamedTuple):
    """How logits are had of a model.

    Attributes:
        softmax: str, the path of the call at the end whose softmax is left out, or `None`.
        log: bool, whether the outputs are probabilities of which the logarithm is taken.
    """

    softmax: str | None = None
    log: bool = False


_heads = weakref.WeakKeyDictionary()
_KEEP = (
    keras.layers.ActivityRegularization,
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.Permute,
    keras.layers.Reshape,
)  # layers, and operations by name, that hand each number on
_KEEP_NAMES = {"Cast", "ExpandDims", "GetItem", "Identity", "Moveaxis", "Reshape", "Squeeze", "StopGradient"}
_KEEP_NAMES |= {"Swapaxes", "Transpose"}
_WITH_ACTIVATION = (
    keras.layers.Activation,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Dense,
    keras.layers.EinsumDense,
)
_ACTIVATION_LAYERS = (
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ReLU,
    keras.layers.Softmax,
    keras.layers.UnitNormalization,
)


def heads(model, outputs, tolerance):
    """Returns how logits may be had of a model, the likeliest way first.

    Args:
        model: functional `keras.Model` of one output.
        outputs: numpy array (B, T, V), the model's outputs for some ids.
        tolerance: float, how far from 1 the sums of probabilities may be.

    Returns:
        List of `Head`s.

    Raises:
        ValueError: if the outputs are neither logits nor probabilities, naming the layer that makes them.
    """
    origin = output_origin(model)
    while origin.operation is not None and _keeps_values(origin.operation):
        origin = next(x for x in keras.tree.flatten((origin.args, origin.kwargs)) if hasattr(x, "operation"))
    activation = _activation(origin.operation)
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


def remember(model, head):
    """Keeps how logits are had of a model, for `logits_step`."""
    _heads[model] = head


def logits_step(model, ids, caches, mask=None, head=None, last=False):
    """Runs a model on the next ids as `step` does, and returns its logits and the new caches.

    Where the model ends in a softmax these are the logits before it, and log probabilities where they cannot be had. A
    probability of 0 becomes -inf.

    Args:
        model: functional `keras.Model` that passed `check_decodable`.
        ids: int32 (B, T).
        caches: dict as from `init_caches`.
        mask: boolean (B, T), which of the ids are real, or `None`.
        head: `Head`, or `None` for the one that is remembered.
        last: bool, whether the logits of the last position alone are returned.

    Returns:
        float32 logits (B, T, V), or (B, V) of the last position, and the new caches.
    """
    head = _heads.get(model, Head()) if head is None else head

    def call_without_softmax(operation, path, args, kwargs):
        if path != head.softmax:
            return call(operation, path, args, kwargs)
        if isinstance(operation, _WITH_ACTIVATION) and not isinstance(operation, keras.layers.Activation):
            return _without_activation(operation)(*args, **kwargs)
        return args[0] if args else next(iter(kwargs.values()))

    outputs, caches = run_step(model, ids, caches, mask, call if head.softmax is None else call_without_softmax)
    outputs = ops.cast(outputs[:, -1] if last else outputs, "float32")
    return ops.log(outputs) if head.log else outputs, caches


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
