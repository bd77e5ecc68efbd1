"""The costs of a functional model: one walk over symbolic shapes."""

import keras

from ... import arguments
from ...graph import input_names, layer_inputs, optional_inputs, pack_inputs, walk
from ...layers import cache_protocol
from ..attention_trace import mixes
from . import attention, blocks  # noqa: F401  each registers its entries
from .dispatch import counting, layer_costs
from .operations import operation_costs
from .record import LayerCosts
from .report import Costs, LayerRow

MODES = ("forward", "train", "decode")


def count_costs(model, inputs, mode="forward", cache_dtype=None) -> Costs:
    """Counts what a functional model costs: parameters, multiply-accumulates, bytes of weights, of activations and of caches.

    It walks the graph with symbolic shapes; nothing is computed, and no tensor is made. Counted is what the layers compute: the
    blocks of long attention that a causal order or a window needs, fewer key heads, places that fill a window up, positions
    that are gathered before the logits, what `recompute=True` computes a second time. Masks that are data change nothing.

    In training a product costs three times its forward pass, one for each of its gradients, and what is recomputed once more;
    frozen weights are counted as others are. In decoding one token a row is computed beside caches as long as the inputs; the
    context of an encoder-decoder model was encoded before, and layers that do not depend on the decoded input are not counted. An
    optional input of the decoded one's shape, such as the segments of packed rows, is left out, as decoding leaves it.

    Args:
        model: a functional `keras.Model` or a built `keras.Sequential`.
        inputs: what the model would be called on, in the structure of its inputs: arrays or tensors, of which only the shapes
            are looked at, or shapes as tuples of integers, the batch first; `None` for an optional input that is left out.
        mode: "forward", "train" or "decode".
        cache_dtype: "int8" for decoding with caches in eight bits, see `decoding.generate`, or `None`.

    Returns:
        `Costs`.

    Raises:
        ValueError: for inputs that do not fit, sizes below 1, a `cache_dtype` in another mode, a model without a graph, and a
            layer whose costs are not known: see `layer_costs`, which says how a layer of one's own joins.

    Example:

    ```python
    inputs = keras.Input((16, 8))
    model = keras.Model(inputs, keras_tx.layers.TransformerEncoder(32, 2)(inputs))
    costs = keras_tx.analysis.count_costs(model, (1, 16, 8))
    print(costs.macs)  # 16 * (4 * 8 * 8 + 2 * 8 * 32) + 2 * 8 * 16 * 16 == 16384
    ```

    Reference:
        Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section 2.1; Korthikanti et al. 2022, "Reducing Activation
        Recomputation in Large Transformer Models", section 4, for the bytes of activations.
    """
    arguments.choice("mode", mode, MODES)
    if cache_protocol.check_dtype(cache_dtype) is not None and mode != "decode":
        raise ValueError(f"`cache_dtype` is for `mode='decode'`. Received: mode={mode!r}, cache_dtype={cache_dtype!r}.")
    specs = _specs(model, inputs)
    stepped, length = _stepped(model, specs) if mode == "decode" else (None, None)
    beside = optional_inputs(model)
    reached = {path: names for path, (_, names) in layer_inputs(model).items()}
    if stepped is not None:
        shape = specs[stepped].shape
        tokens = [name for name, spec in specs.items() if spec is not None and spec.shape == shape and name in beside]
        step = keras.KerasTensor((shape[0], 1), specs[stepped].dtype, name=stepped)
        specs = {**specs, **dict.fromkeys(tokens), stepped: step}  # decoding leaves out what a token may do without
    rows = []

    def call_layer(layer, path, args, kwargs):
        if stepped is None or stepped in reached[path]:
            given = {name: value for name, value in kwargs.items() if name != "training"}
            rows.append(LayerRow(path, layer, layer_costs(layer, *args, **given)))
        return layer.compute_output_spec(*args, **kwargs)

    def call_operation(operation, path, args, kwargs):
        if not isinstance(operation, keras.Operation):
            return args[0]  # a mask that a tensor carries
        outputs = operation.compute_output_spec(*args, **kwargs)
        found = operation_costs(operation, path, args, kwargs, outputs)
        if found.macs:
            rows.append(LayerRow(path, None, found))
        return outputs

    with counting(mode, length, cache_dtype):
        packed = pack_inputs(model, specs)
        walk(model, packed, call_layer, training=None, call_operation=call_operation)
    examples = next(spec.shape[0] for spec in specs.values() if spec is not None)
    total = sum((row.costs for row in rows), LayerCosts())
    return Costs(model, mode, rows, total, examples, _tokens(model, specs, stepped))


def _specs(model, inputs):
    """Returns a dict from the name of each input to a symbolic tensor of the shape that was given."""
    names, optional = input_names(model), optional_inputs(model)
    needed = [name for name in names if name not in optional]
    symbols = model.input if isinstance(model.input, dict) else dict(zip(names, model.inputs, strict=True))
    if isinstance(inputs, dict):
        given = dict(inputs)
    else:
        parts = [inputs] if hasattr(inputs, "shape") or _is_shape(inputs) else inputs
        asked = needed if isinstance(parts, (list, tuple)) and len(parts) == len(needed) else names
        if not isinstance(parts, (list, tuple)) or len(parts) != len(asked):
            raise _wrong(names, inputs)
        given = dict(zip(asked, parts, strict=True))
    if set(given) - set(names) or any(name not in given for name in needed):
        raise _wrong(names, inputs)
    specs = {}
    for name in names:
        part, symbol = given.get(name), symbols[name]
        part = part.as_list() if hasattr(part, "as_list") else part  # a TensorShape
        if part is None and name in optional:
            specs[name] = None
            continue
        shape = tuple(map(int, part)) if _is_shape(part) else tuple(getattr(part, "shape", ()))
        fits = len(shape) == len(symbol.shape) and all(
            arguments.is_integer(size) and size > 0 and known in (None, size)
            for size, known in zip(shape, symbol.shape, strict=False)
        )
        if not fits:
            raise ValueError(
                f"`inputs` must have shapes that fit the model, with sizes of at least 1. Received: {shape or part} for "
                f"{name}, which the model takes as {tuple(symbol.shape)}."
            )
        specs[name] = keras.KerasTensor(shape, symbol.dtype, name=name)
    return specs


def _stepped(model, specs):
    """Returns the name of the input that is decoded, and its length: caches depend on it, and no attention without a cache."""
    cached, whole = set(), set()
    for layer, names in layer_inputs(model).values():
        if cache_protocol.is_cached_layer(layer):
            cached |= names
        elif mixes(layer):
            whole |= names
    named = [
        name for name, spec in specs.items() if name in cached - whole and spec is not None and len(spec.shape) == 2
    ]
    named = [name for name in named if name not in optional_inputs(model)] or named
    if len(named) != 1:
        raise ValueError(
            "`model` must have one input (B, T) whose layers have caches to be counted in decoding. Received: "
            f"{model.name} with inputs {list(specs)}, of which {named or 'none'} would do."
        )
    return named[0], specs[named[0]].shape[1]


def _tokens(model, specs, stepped):
    """How many tokens the costs are for: those of the decoded or of the one input of tokens; `None` where there are several."""
    if stepped is not None:
        return specs[stepped].shape[0]
    counts = {
        spec.shape[0] * spec.shape[1]
        for name, spec in specs.items()
        if spec is not None and len(spec.shape) == 2 and "int" in spec.dtype
    }
    return counts.pop() if len(counts) == 1 else None


def _is_shape(part):
    return isinstance(part, (tuple, list)) and len(part) > 0 and all(map(arguments.is_integer, part))


def _wrong(names, inputs):
    if isinstance(inputs, dict):
        found = list(inputs)
    else:
        parts = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        found = [tuple(part.shape) if hasattr(part, "shape") else part for part in parts]
    return ValueError(
        f"`inputs` must hold an array or a shape for each input of the model, {names}. Received: {found}."
    )
