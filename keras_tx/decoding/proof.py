"""Whether the graph of a model shows by itself that its cached steps give what the whole model gives."""

import inspect

import keras

from ..graph import reached_calls
from ..layers import cache_protocol, stepwise
from .head import known_head

# Operations on each number by itself, by name, and layers that do the same with several tensors of one shape.
_ELEMENTWISE = (
    "Add Cast Divide Equal Exp Gelu Log Maximum Minimum Multiply Negative NotEqual Relu Sigmoid Silu Sqrt Square"
)
_ELEMENTWISE += " Subtract Tanh TrueDivide"
_OPERATIONS = set(_ELEMENTWISE.split())
_MERGES = {getattr(keras.layers, name) for name in ["Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"]}


def is_known(decoder) -> bool:
    """Returns whether each call that depends on the ids is of a class known to work in steps, given nothing that forbids it.

    Then `decoder.head` is set. What is not known is not wrong: it has to be tried.
    """
    model, known = decoder.model, decoder.inputs[decoder.ids]
    output, size = model.output, known.vocabulary_size
    if not isinstance(output, keras.KerasTensor) or len(output.shape) != 3 or len(known.tensor.shape) != 2:
        return False
    if output.shape[-1] is None or size is not None and output.shape[-1] > size or not decoder.cached_layers:
        return False
    head = known_head(model)
    if head is None or len(known_calls(decoder)) < len(reached_calls(model)):
        return False
    decoder.head = head
    return True


def known_calls(decoder):
    """Returns the paths, as in `graph.walk`, of the calls of layers and operations that work in steps or do not read the ids.

    Each is known by itself: that axis 1 of what it is given stands for the positions is for the other calls to show.
    """
    calls = reached_calls(decoder.model, _reads_nothing)
    return {path for path, call in calls.items() if _is_known_call(decoder.ids, *call)}


def _reads_nothing(operation):
    return vars(type(operation)).get("reads_nothing", False)


def _is_known_call(ids, operation, args, kwargs, reach):
    if not any(ids in names for names in reach.values()) or _reads_nothing(operation):
        return True
    if not isinstance(operation, keras.Layer) or type(operation) in _MERGES:
        return _is_elementwise(ids, operation, args, kwargs, reach)
    given = inspect.signature(operation.call).bind_partial(*args, **kwargs).arguments
    name, inputs = next(iter(given.items()))
    is_cached = cache_protocol.is_cached_layer(operation)
    from_context = inspect.signature(operation.init_cache).parameters if is_cached else ()

    def is_known(key, value):
        names = reach.get(id(value), {ids})
        if value is True:  # no known layer reads scores, which have four axes
            return is_cached and key == "return_attention_scores"
        return value is None or value is False or not names or key in from_context and ids not in names

    return (
        stepwise.is_stepwise(operation)
        and ids in reach.get(id(inputs), ())
        and len(inputs.shape) == (2 if _embeds(operation) else 3)
        and all(is_known(*other) for other in given.items() if other[0] not in (name, "training"))
    )


def _embeds(layer):
    return isinstance(layer, keras.layers.Embedding) or hasattr(layer, "token_embedding")


def _is_elementwise(ids, operation, args, kwargs, reach):
    leaves = keras.tree.flatten((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, keras.KerasTensor)]
    others = [leaf for leaf in leaves if not isinstance(leaf, keras.KerasTensor)]
    return (
        (type(operation) in _MERGES or _is_of_keras(operation) and type(operation).__name__ in _OPERATIONS)
        and all(ids in reach[id(tensor)] for tensor in tensors)
        and len({len(tensor.shape) for tensor in tensors}) == 1
        and all(leaf is None or isinstance(leaf, (bool, int, float, str)) for leaf in others)
    )


def _is_of_keras(operation):
    return type(operation).__module__.startswith("keras.")
