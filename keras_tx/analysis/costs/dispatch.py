"""The costs of a layer's call by its class, and how what is counted is set."""

import contextlib
import contextvars
import inspect
from dataclasses import dataclass

import keras

from ... import arguments
from .record import LayerCosts


@dataclass(frozen=True)
class Settings:
    """How a model is used while its costs are counted.

    Attributes:
        mode: "forward", "train" or "decode".
        length: int, how many places the caches have in "decode", else `None`.
        cache_dtype: "int8" where the caches hold rounded keys and values, else `None`.
    """

    mode: str = "forward"
    length: int | None = None
    cache_dtype: str | None = None


ENTRIES = {}
_FORWARD = Settings()
_settings = contextvars.ContextVar("settings")


def settings() -> Settings:
    """Returns how the model is used whose costs are being counted."""
    return _settings.get(_FORWARD)


@contextlib.contextmanager
def counting(*args):
    """Sets how the model is used, as `Settings` takes it, while a block runs."""
    token = _settings.set(Settings(*args))
    try:
        yield
    finally:
        _settings.reset(token)


def entry(*classes):
    """Registers a function `(layer, **arguments of its call) -> LayerCosts` for classes of layers."""

    def register(function):
        ENTRIES.update(dict.fromkeys(classes, function))
        return function

    return register


def layer_costs(layer, *args, **kwargs) -> LayerCosts:
    """Returns what one call of a layer costs; nothing is computed.

    A class of one's own joins by a method `count_costs`, which takes what `call` takes, with a `keras.KerasTensor` for each
    tensor, and returns `LayerCosts`. It may call this function for the layers inside it, and add what they give.

    Args:
        layer: built `keras.Layer`.
        *args: the positional arguments of its call, with a `keras.KerasTensor` of known shape for each tensor, or a shape as a
            tuple of integers, the batch first.
        **kwargs: its arguments by name, alike.

    Returns:
        `LayerCosts` of the call.

    Raises:
        ValueError: for a layer that needs to be built and is not, or whose class has neither an entry nor the method, or changes
            the call of one that has an entry; and for sizes that are not known or below 1.

    Example:

    ```python
    class Adapter(keras.layers.Layer):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.down = keras.layers.Dense(units)

        def build(self, input_shape):
            self.down.build(input_shape)

        def call(self, inputs):
            return self.down(inputs)

        def count_costs(self, inputs):
            return keras_tx.analysis.layer_costs(self.down, inputs)


    adapter = Adapter(4)
    adapter.build((2, 16))
    costs = keras_tx.analysis.layer_costs(adapter, keras.KerasTensor((2, 16)))  # costs.macs == {"dense": 128}
    ```
    """
    args, kwargs = _tensors(layer, args), {name: _tensor(layer, each) for name, each in kwargs.items()}
    if hasattr(layer, "count_costs"):
        costs = layer.count_costs(*args, **kwargs)
        if not isinstance(costs, LayerCosts):
            raise ValueError(
                f"`count_costs` must return keras_tx.analysis.LayerCosts. Received: {type(costs).__name__} from {_named(layer)}."
            )
        return costs
    for owner in type(layer).__mro__:
        if owner in ENTRIES:
            given = inspect.signature(layer.call).bind(*args, **kwargs).arguments
            given |= given.pop("kwargs", {})
            try:
                return ENTRIES[owner](layer, **given)
            except AttributeError as error:
                if layer.built:
                    raise
                raise ValueError(f"`layer` must be built. Received: {_named(layer)}, which is not.") from error
        if "call" in vars(owner):
            break
    kind = type(layer)
    how = "a method `count_costs(...)`, which takes what `call` takes and returns keras_tx.analysis.LayerCosts"
    if kind.__module__.partition(".")[0] == "keras":
        raise ValueError(
            "`model` must be made of layers whose costs are known. Those of this layer of Keras are not: make a class from it "
            f"(`class Counted{kind.__name__}(keras.layers.{kind.__name__})`) with {how}. Received: {_named(layer)}."
        )
    raise ValueError(
        f"`model` must be made of layers whose costs are known: a class of one's own tells them by {how}. Received: "
        f"{_named(layer)}."
    )


def _tensors(layer, parts):
    return [_tensor(layer, part) for part in parts]


def _tensor(layer, part):
    """A symbolic tensor in place of a shape; lists of shapes are those of lists of tensors."""
    if not isinstance(part, (list, tuple)) or not part:
        return part
    if not all(map(arguments.is_integer, part)):
        return type(part)(_tensors(layer, part)) if all(isinstance(each, (list, tuple)) for each in part) else part
    if min(part) < 1:
        raise ValueError(f"Shapes must have sizes of at least 1. Received: {tuple(part)} for {_named(layer)}.")
    return keras.KerasTensor(tuple(map(int, part)), layer.compute_dtype)


def _named(layer):
    return f"{layer.path or layer.name} of class {type(layer).__name__}"
