"""What every layer made of layers does: build a sublayer once, and tell its config and its shapes."""

import keras

from ..ops import mask_values


def build_once(layer, *shapes):
    """Builds a sublayer, unless it came back built from a reload or from a slot."""
    if layer is not None and not layer.built:
        layer.build(*shapes)


def folded_shape(shape):
    """Returns the shape (B, T, D) of a tensor whose axes before the last two are laid into one; of 3 axes, the shape itself."""
    return tuple(shape) if len(shape) == 3 else (None, *shape[-2:])


def slot_config(layer):
    """Returns the config of a layer in a slot, without the shapes that it was built for.

    With them it would come back built before its block is, and its weights without the block's name in their paths.
    """
    config = keras.saving.serialize_keras_object(layer)
    if config is not None:
        config.pop("build_config", None)
    return config


def fresh_initializer(initializer):
    """Returns a copy with the same settings: an initializer with a seed of its own gives the same values each time."""
    if isinstance(initializer, keras.initializers.Initializer):
        return initializer.__class__.from_config(initializer.get_config())
    return initializer


def like_inputs(layer, inputs):
    """Returns the symbolic outputs of a layer that keeps the shape of its inputs."""
    return keras.KerasTensor(inputs.shape, dtype=layer.compute_dtype)


def inputs_mask_only(inputs, previous_mask):
    """Returns the mask that the first output carries: the inputs' mask, if it is one over positions."""
    if previous_mask is None or isinstance(previous_mask, (list, tuple)):
        return None
    if len(previous_mask.shape) != len(inputs.shape) - 1:
        return None
    return mask_values.as_booleans("mask", previous_mask)
