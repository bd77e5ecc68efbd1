"""Constructor arguments that Keras knows, and the config that tells of all of them again."""

import inspect
import types

import keras

from . import sublayers


def of(owner, layer, config):
    """Adds what the constructor of a class takes to a config.

    Args:
        owner: the class, whose layer keeps each argument as the attribute of its name.
        layer: a layer of it, or of a class made from it.
        config: dict, of the base class.

    Returns:
        The config with each argument. A slot that the layer filled by itself, whose `_has_own_NAME` is True, is `None` there.
    """
    return {**config, **{name: _told(layer, name) for name in _names(owner)}}


def call_arguments(owner, layer, *args, **kwargs):
    """Returns what a class's `call` would take these arguments of a layer as, defaults included, as attributes of one value."""
    bound = inspect.signature(types.MethodType(owner.call, layer)).bind(*args, **kwargs)
    bound.apply_defaults()
    return types.SimpleNamespace(**bound.arguments)


def _names(owner):
    parameters = list(inspect.signature(owner.__init__).parameters.values())[1:]
    return [each.name for each in parameters if each.kind is not each.VAR_KEYWORD]


def _told(layer, name):
    value = getattr(layer, name)
    if getattr(layer, f"_has_own_{name}", False):
        return None
    if isinstance(value, keras.Layer):
        return sublayers.slot_config(value)
    if isinstance(value, keras.initializers.Initializer):
        return keras.initializers.serialize(value)
    return keras.activations.serialize(value) if callable(value) else value


def activation(name, value):
    """Returns the activation function that a name, a config or a function stands for; raises `ValueError` for none."""
    try:
        return keras.activations.get(value)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"`{name}` must be a function or the name of one in keras.activations. Received: {name}={value!r}."
        ) from error


def initializer(name, value, optional=False):
    """Returns the initializer that a name, a config or a function stands for; raises `ValueError` for none, unless `optional`."""
    if value is None and optional:
        return None
    try:
        if value is None:
            raise TypeError
        return keras.initializers.get(value)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"`{name}` must be an initializer or the name of one in keras.initializers. Received: {name}={value!r}."
        ) from error
