"""What a slot of a layer is given: a layer, or its config, or the size of the one that the owner makes itself."""

import inspect

import keras

from .. import arguments

# What a size is called by layers of others.
_SAME = {"num_heads": ("num_heads", "num_query_heads")}


def slot(name, value):
    """Returns the layer handed into a slot, made from its config where that came; raises `ValueError` for anything else."""
    if isinstance(value, dict):
        try:
            value = keras.saving.deserialize_keras_object(value)
        except TypeError as error:  # which is all that Keras says of a class that it does not find
            raise ValueError(
                f"`{name}` must hold a layer that Keras can make anew: decorate its class with "
                "`keras.saving.register_keras_serializable()`, or name it in `custom_objects`, and let `get_config` tell its "
                f"arguments. Received: {name} of class {value.get('class_name')!r}, for which Keras says: {error}"
            ) from error
    if value is not None and not isinstance(value, keras.Layer):
        raise ValueError(f"`{name}` must be a keras.Layer or None. Received: {name}={value!r}.")
    return value


def position_bias(value):
    """Returns the layer of a `position_bias` slot as `slot` does; raises `ValueError` for one that takes no positions."""
    value = slot("position_bias", value)
    if value is not None and len(inspect.signature(value.call).parameters) < 2:
        raise ValueError(
            "`position_bias` must hold a layer called as (query_positions, key_positions), such as AlibiBias. Received: "
            f"position_bias of class {type(value).__name__} with call{inspect.signature(value.call)}. What "
            "RelativePositionBias gives is handed to the blocks' calls as `distance_bias`."
        )
    return value


def slot_or_size(slot_name, layer, size_name, size, is_used=False):
    """Returns the layer of a slot (or `None`) and the size from which a block makes its own; one of them must be given.

    Raises:
        ValueError: if neither came, the slot holds no layer, the size is no positive integer, the two contradict each other, or
            the layer has no such size, unless the block has another use for it (`is_used`).
    """
    layer = slot(slot_name, layer)
    if layer is None and size is None:
        raise ValueError(
            f"`{size_name}` must be a positive integer where no layer is given as `{slot_name}`. Received: {size_name}=None."
        )
    size = arguments.positive_int(size_name, size, optional=layer is not None)
    if layer is None or size is None:
        return layer, size
    own = next((getattr(layer, name) for name in _SAME.get(size_name, (size_name,)) if hasattr(layer, name)), None)
    if size != own and not (own is None and is_used):
        found = f"of class {type(layer).__name__}, which has none" if own is None else f"with {size_name}={own}"
        raise ValueError(
            f"`{size_name}` must be that of the layer given as `{slot_name}`, or None. Received: {size_name}={size}, and "
            f"{slot_name} {found}."
        )
    return layer, size


def check_own_activation(value, default, slot_name, layer):
    """Raises `ValueError` for an activation, a function, that is neither the block's default nor that of the layer in a slot."""
    own = getattr(layer, "activation", None)
    own = keras.activations.get(own) if isinstance(own, str) else own
    if value not in (keras.activations.get(default), own):
        shown = keras.activations.serialize(value)
        raise ValueError(
            f"`activation` must be that of the layer given as `{slot_name}`, or left out. Received: activation={shown!r}, and "
            f"{slot_name} of class {type(layer).__name__} with activation={own!r}."
        )


def check_unused(name, initializer, default):
    """Raises `ValueError` for an initializer that is not the block's default, where the block makes no layer that it is for."""
    usual = keras.initializers.get(default)
    # What Keras serializes while it saves or copies a model has numbers of shared objects in it.
    if type(initializer) is not type(usual) or initializer.get_config() != usual.get_config():
        raise ValueError(
            f"`{name}` must be left out where all layers of the block are given, each of which has its own. Received: "
            f"{name}={initializer!r}."
        )


def slot_rate(name, value, slot_name, layer):
    """Returns a rate of dropout for what a block makes itself, or `None`; beside a layer in the slot it must be the layer's own.

    Raises:
        ValueError: if the rate lies outside [0, 1), or contradicts the layer in the slot.
    """
    if value is None:
        return None
    value, own = arguments.rate(name, value), getattr(layer, "dropout", None)
    if layer is not None and own != value:
        raise ValueError(
            f"`{name}` must be the `dropout` of the layer given as `{slot_name}`, or None. Received: {name}={value}, and "
            f"{slot_name} with dropout={own}."
        )
    return value
