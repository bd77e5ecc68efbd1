"""The mask that Keras carries along with a tensor, over its positions, and what it does to them."""

import keras
from keras import ops

from ..private_keras import get_keras_mask, set_keras_mask


def given_or_implicit(mask, inputs):
    """Returns the mask that was given, else the one that Keras attached to `inputs`, else `None`.

    Keras fills a `mask` argument only when exactly one argument of the call is a tensor, so a layer that also takes a
    cache or a second mask has to look for itself.

    Args:
        mask: boolean tensor or `None`.
        inputs: the tensor that the mask belongs to.

    Returns:
        A boolean tensor, or `None`.
    """
    return get_keras_mask(inputs) if mask is None else mask


def attach(outputs, mask):
    """Makes outputs carry a mask to the layer after the next, as Keras does with one that it computes itself.

    Keras knows nothing of a mask that the caller handed over as an argument, so a layer that changes the positions gives
    its outputs their mask here.
    """
    if mask is not None:
        set_keras_mask(outputs, mask)
    return outputs


def detach(outputs):
    """Makes a tensor, or each in a structure of them, carry no mask any more."""
    for tensor in keras.tree.flatten(outputs):
        set_keras_mask(tensor, None)
    return outputs


def zero_masked(inputs, mask):
    """Returns the inputs with zeros at the positions that are not real, whatever stood there, NaN included.

    Args:
        inputs: float tensor (B, T, ..., D).
        mask: boolean tensor with the inputs' shape less the last axis, or `None`.

    Returns:
        A tensor like the inputs.
    """
    if mask is None:
        return inputs
    return ops.where(ops.expand_dims(mask, -1), inputs, ops.zeros((), dtype=inputs.dtype))
