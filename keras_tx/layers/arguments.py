"""Checks of constructor arguments and of inputs: each names the rule, the argument and what came."""

import numbers
import operator

import keras

from ..ops import sizes
from ..ops.concrete import check_tensor


def positive_int(name, value, optional=False):
    """Returns a size as an int; raises `ValueError` unless it is an integer of at least 1 (or `None`, where optional)."""
    if value is None and optional:
        return None
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value!r}.")
    return number


def is_integer(value):
    """Returns whether a value is an integer of Python or numpy, and no truth value."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def size(name, value):
    """Returns the value as an int; raises `ValueError` unless it is an integer of at least 0."""
    if not is_integer(value) or value < 0:
        raise ValueError(f"`{name}` must be an integer of at least 0. Received: {name}={value!r}.")
    return int(value)


def extent(name, value, least=1):
    """Returns (rows, columns) of an integer or a pair of them; raises `ValueError` unless both are at least `least`."""
    pair = value if isinstance(value, (list, tuple)) and len(value) == 2 else (value, value)
    if any(isinstance(size, bool) or not hasattr(size, "__index__") or operator.index(size) < least for size in pair):
        kind = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise ValueError(f"`{name}` must be {kind}, or a pair (rows, columns) of them. Received: {name}={value!r}.")
    return tuple(operator.index(size) for size in pair)


def seed(name, value):
    """Returns the value; raises `ValueError` unless it is `None` or an integer that the seed's state holds on every backend."""
    if value is not None and (not is_integer(value) or not 0 <= value < 2**31):
        raise ValueError(f"`{name}` must be an integer in [0, 2**31) or None. Received: {name}={value!r}.")
    return value if value is None else int(value)


def rate(name, value, default=None):
    """Returns a probability of dropping as a float, the default for `None`; raises `ValueError` unless it lies in [0, 1)."""
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0.0 <= value < 1.0:
        raise ValueError(f"`{name}` must be a number in [0, 1). Received: {name}={value!r}.")
    return float(value)


def positive_float(name, value):
    """Returns the value as a float; raises `ValueError` unless it is a positive finite number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0.0 < value < float("inf"):
        raise ValueError(f"`{name}` must be a positive number. Received: {name}={value!r}.")
    return float(value)


def flag(name, value):
    """Returns the value; raises `ValueError` unless it is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be True or False. Received: {name}={value!r}.")
    return value


def choice(name, value, choices):
    """Returns the value; raises `ValueError` unless it is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, choices))}. Received: {name}={value!r}.")
    return value


def activation(name, value):
    """Returns the activation function that a name, a config or a function stands for; raises `ValueError` for none."""
    try:
        return keras.activations.get(value)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"`{name}` must be a function or the name of one in keras.activations. Received: {name}={value!r}."
        ) from error


def initializer(name, value):
    """Returns the initializer that a name, a config or a function stands for; raises `ValueError` for none."""
    try:
        if value is None:
            raise TypeError
        return keras.initializers.get(value)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"`{name}` must be an initializer or the name of one in keras.initializers. Received: {name}={value!r}."
        ) from error


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


def slot_or_size(slot_name, layer, size_name, size):
    """Returns the layer of a slot (or `None`) and the size from which a block makes its own; one of them must be given.

    Raises:
        ValueError: if neither came, the slot holds no layer, the size is no positive integer, or the two contradict
            each other.
    """
    layer = slot(slot_name, layer)
    size = positive_int(size_name, size, optional=layer is not None)
    own = getattr(layer, size_name, size)
    if size is not None and size != own:
        raise ValueError(
            f"`{size_name}` must be that of the layer given as `{slot_name}`, or None. Received: {size_name}={size}, and "
            f"{slot_name} with {size_name}={own}."
        )
    return layer, size


def slot_rate(name, value, slot_name, layer):
    """Returns a rate of dropout for what a block makes itself, or `None`; beside a layer in the slot it must be the layer's own.

    Raises:
        ValueError: if the rate lies outside [0, 1), or contradicts the layer in the slot.
    """
    if value is None:
        return None
    value, own = rate(name, value), getattr(layer, "dropout", None)
    if layer is not None and own != value:
        raise ValueError(
            f"`{name}` must be the `dropout` of the layer given as `{slot_name}`, or None. Received: {name}={value}, and "
            f"{slot_name} with dropout={own}."
        )
    return value


def hidden_size(name, shape, rank=None, least=2):
    """Returns the size of the last axis; raises `ValueError` if it is unknown, or the rank another one or below `least`."""
    if rank is not None and len(shape) != rank:
        raise ValueError(f"`{name}` must have {rank} axes. Received: {name} of shape {tuple(shape)}.")
    if len(shape) < least or not isinstance(shape[-1], int) or shape[-1] < 1:
        raise ValueError(
            f"`{name}` must have at least {least} axes and a last axis of known, positive size. Received: {name} of shape "
            f"{tuple(shape)}."
        )
    return shape[-1]


def check_float(name, tensor):
    """Raises `ValueError` unless the value is a tensor of floats."""
    check_tensor(name, tensor)
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if "float" not in dtype:
        raise ValueError(f"`{name}` must be a float tensor. Received: {name} of dtype {dtype}.")


def check_inputs(name, inputs, hidden_dim, rank=None, least=2):
    """Raises `ValueError` unless the tensor is a float one with the last axis that the layer was built for, and the rank."""
    check_float(name, inputs)
    shape = tuple(inputs.shape)
    if (rank is not None and len(shape) != rank) or len(shape) < least or shape[-1] != hidden_dim:
        axes = f"{rank} axes" if rank is not None else f"at least {least} axes"
        raise ValueError(
            f"`{name}` must have {axes}, the last of size {hidden_dim} as built. Received: {name} of shape {shape}."
        )


def check_same_batch(name, tensor, other_name, other, kept=2):
    """Raises `ValueError` if the axes of a tensor before its last `kept` are known to differ from those of (..., T, D)."""
    batch, other_batch = tensor.shape[:-kept], other.shape[:-2]
    if len(batch) != len(other_batch) or any(map(sizes.differ, batch, other_batch)):
        raise ValueError(
            f"`{name}` and `{other_name}` must have the same batch axes. Received: {name} of shape {tuple(tensor.shape)}, "
            f"{other_name} of shape {tuple(other.shape)}."
        )
