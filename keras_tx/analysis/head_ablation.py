"""A model's outputs without some of its heads."""

import contextlib

import keras
import numpy as np
from keras import ops

from .. import arguments
from ..graph import changed_inputs, layer_calls, parts, walk
from ..layers import cache_protocol
from . import attention_trace

_CROSS = "/cross_attention"


def ablate_heads(model, heads, inputs):
    """Returns a functional model's outputs with some attention heads switched off. No weight is changed.

    A head is off where its part of what the projection back to the width of the model reads, (..., T, N, H), is zeros. The bias
    of that projection stays. The model is walked; the layers that are named work so for that one call.

    Args:
        model: functional `keras.Model` or built `keras.Sequential`, made of this package's layers and any others.
        heads: dict from a name as `attention_maps` has it, such as "encoder_0" or "decoder_0/cross_attention", to a head or a
            list of heads, integers from 0.
        inputs: a tensor or array, or several in the structure of the model's inputs.

    Returns:
        The model's outputs, in their structure.

    Raises:
        ValueError: if the model is a subclassed one, has no attention of that name, or the attention has no such head, or
            does not project its heads by a layer of the name "attention_output", as this package's and Keras' own do.

    Example:

    ```python
    inputs = keras.Input((7, 8))
    model = keras.Model(inputs, keras_tx.layers.TransformerEncoder(16, 2, name="block")(inputs))
    outputs = keras_tx.analysis.ablate_heads(model, {"block": [1]}, keras.random.normal((1, 7, 8)))  # (1, 7, 8)
    ```

    Reference:
        Michel et al. 2019, "Are Sixteen Heads Really Better than One?", section 3.
    """
    switched = _switched(model, heads)

    def call_layer(layer, path, args, kwargs):
        with contextlib.ExitStack() as stack:
            for projection, off in switched.get(path, ()):
                stack.enter_context(changed_inputs(projection, _without(off)))
            return layer(*args, **kwargs)

    return walk(model, inputs, call_layer)


def projections(model, names):
    """Returns what projects the heads of some layers back to the width of the model.

    Args:
        model: functional `keras.Model` or built `keras.Sequential`.
        names: names of layers, as `attention_maps` has them.

    Returns:
        Dict from each name to the path of its call, the projection, and how many heads it has.

    Raises:
        ValueError: as `ablate_heads` says.
    """
    places, found = _attentions(model), {}
    for name in names:
        if name not in places:
            raise ValueError(
                f"`heads` must name layers that attend, of {', '.join(places) or 'which there are none'}. Received: {name!r}."
            )
        path, attention, other = places[name]
        projection, owner = _output_projection(name, attention, other)
        found[name] = (path, projection, _count(owner, projection))
    return found


def _switched(model, heads):
    """Dict from the path of a call to pairs: the projection of the heads, and those that are off."""
    if not isinstance(heads, dict):
        raise ValueError(f"`heads` must be a dict from names of layers to heads. Received: heads={heads!r}.")
    found = {}
    for name, (path, projection, count) in projections(model, heads).items():
        found.setdefault(path, []).append((projection, _checked(name, heads[name], count)))
    return found


def _attentions(model):
    """Dict from each name to the path of its call, the layer in which its heads are, and the layer that is left out of it."""
    places = {}
    for path, layer in layer_calls(model).items():
        if attention_trace.attends(layer):
            cross = getattr(layer, "cross_attention", None)
            is_pair = isinstance(cross, keras.Layer)
            if not is_pair or cache_protocol.gives_scores(getattr(layer, "attention", cross)):
                places[path] = (path, layer, cross)
            if is_pair and cache_protocol.gives_scores(cross):
                places[path + _CROSS] = (path, cross, None)
    return places


def _output_projection(name, attention, other):
    """Returns the projection of the heads, and the layer that has it."""
    left_out = {id(part) for _, part in parts(other)} if other is not None else ()
    inside = {"": attention} | {path.partition("/")[2]: part for path, part in parts(attention)}
    found = [
        (part, inside[path.rpartition("/")[0]])
        for path, part in inside.items()
        if path.rpartition("/")[2] == "attention_output" and id(part) not in left_out
    ]
    if len(found) != 1:
        raise ValueError(
            "`heads` must name layers whose heads one layer of the name 'attention_output' projects. Received: "
            f"{name!r} of class {type(attention).__name__}, in which there are {len(found)}."
        )
    return found[0]


def _count(owner, projection):
    count = getattr(owner, "num_heads", getattr(owner, "num_query_heads", None))
    return projection.kernel.shape[0] if count is None else count


def _checked(name, chosen, count):
    chosen = list(chosen) if isinstance(chosen, (list, tuple, set, range, np.ndarray)) else [chosen]
    return [arguments.integer("heads", head, least=0, most=count - 1, hint=f" for {name}") for head in chosen]


def _without(off):
    def change(heads):
        kept = ops.convert_to_tensor(~np.isin(np.arange(heads.shape[-2]), off)[:, None])
        return ops.where(kept, heads, ops.zeros((), dtype=heads.dtype))  # not a product, for a head may be NaN

    return change
