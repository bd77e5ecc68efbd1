"""Whether a functional model is another one under names of its own.

It is if it is wired of the same layers, with the same options. What a layer's parts are is told from the parts, so that it does
not matter whether a block made them or found them in its slots.
"""

import keras

from ... import graph
from ...layers import Dropout, TiedLogits
from ...layers.dense import Dense, EinsumDense
from ...layers.normalization import LayerNormalization
from . import adapters
from .shown import Difference

# What a layout does not hold, or the loader chooses: how weights were drawn, in which dtype, which are frozen, how memory is
# saved, what is merged when it is written; and what the parts show, in whichever way it was said.
_FREE = {
    "name", "dtype", "trainable", "parts", "training", "seed", "batch_shape", "shape", "build_config", "compile_config",
    "recompute", "lora_rank", "lora_alpha", "reverse_dtype", "attention_dropout", "key_dim", "num_key_value_heads", "norm",
    "layer_norm_epsilon",
}  # fmt: skip
_FREE_ENDINGS = ("initializer", "_regularizer", "_constraint")
# Our forms of Keras' layers compute what Keras' do.
_KINDS = {
    Dense: keras.layers.Dense,
    EinsumDense: keras.layers.EinsumDense,
    LayerNormalization: keras.layers.LayerNormalization,
    Dropout: keras.layers.Dropout,
}


def weights_by_path(model, root=None):
    """Dict from path, the names of layer, parts and weight joined by "/", to each weight of a functional model but its adapters'.

    The layers of a model inside it that is called `root` count as its own.
    """
    found, seen = {}, set()

    def add(path, layer):
        if id(layer) not in seen:
            seen.add(id(layer))
            found.update((f"{path}/{weight.name}", weight) for weight in _own_weights(layer))
            for part in graph.direct_parts(layer):
                add(f"{path}/{part.name}", part)

    for path, layer in graph.layer_calls(model).items():
        add(path.removeprefix(f"{root}/"), layer)
    return found


def matching_weights(model, reference, root=None):
    """Returns the weights of a model by the paths that they have in a reference; raises `Difference` as `matching_layers`."""
    same = {}
    for layer, known in matching_layers(model, reference):
        own, theirs = _own_weights(layer), _own_weights(known)
        if [tuple(weight.shape) for weight in own] != [tuple(weight.shape) for weight in theirs]:
            raise Difference(f"other weights in {layer.name}")
        same.update((id(weight), mine) for weight, mine in zip(theirs, own, strict=True))
    return {path: same[id(weight)] for path, weight in weights_by_path(reference, root).items()}


def matching_layers(model, reference):
    """Finds the layers of a model that stand where those of a reference stand, inside layers too.

    Both graphs are followed from the outputs to the inputs, through nested models; every operation on the way must be of the
    same class, with the same options and the same inputs. A dropout of rate 0 counts for nothing.

    Returns:
        List of `(layer, layer of the reference)`.

    Raises:
        Difference: for the first difference, saying what the model has.
    """
    inputs = [graph.functional_of(each).input for each in (model, reference)]
    _compare(*[keras.tree.map_structure(lambda tensor: None, each) for each in inputs], "other inputs")
    names = dict(zip(graph.input_names(reference), graph.input_names(model), strict=True))
    pairs, seen, waiting = {}, {}, []  # layers by the id of the reference's, paths of calls by the reference's
    _compare(graph.output_origin(model), graph.output_origin(reference), "other outputs", waiting)
    _match_calls(waiting, pairs, seen, names)
    # Those that lead to no output, as the pooler under a head that does not read it.
    rest = [_unreached(model, seen.values()), _unreached(reference, seen.keys())]
    _compare(*rest, f"layers that lead to no output ({', '.join(call.path for call in rest[0])})", waiting)
    _match_calls(waiting, pairs, seen, names)
    return list(pairs.values())


def _unreached(model, reached):
    calls = {path: call for path, (call, *_) in graph.call_origins(model).items()}
    return [call for path, call in calls.items() if path not in reached and call is _before_dropout(call)]


def _match_calls(waiting, pairs, seen, names):
    """Compares calls of operations with those of the reference, and what they come from."""
    while waiting:
        call, known = map(_before_dropout, waiting.pop())
        layer, kind = call.operation, type(known.operation).__name__
        if layer is None and known.operation is None:
            _compare(call.path, names[known.path], "other inputs")
            continue
        if seen.get(known.path, call.path) != call.path:
            raise Difference(f"{call.path} in place of {seen[known.path]}")
        if known.path in seen:
            continue
        seen[known.path] = call.path
        if _kind(layer) is not _kind(known.operation):
            raise Difference(f"{type(layer).__name__} ({call.path}) in place of {kind}")
        what = f"another {type(layer).__name__} ({layer.name})"
        if isinstance(layer, keras.Layer):
            _match(layer, known.operation, what, pairs)
        else:
            _compare(_options(layer), _options(known.operation), what)
        inputs = [[list(each.args), _options(each.kwargs)] for each in (call, known)]
        _compare(*inputs, f"other inputs of {layer.name}", waiting)


def _before_dropout(call):
    """The call that a tensor comes from, before dropouts of rate 0."""
    while isinstance(call.operation, (Dropout, keras.layers.Dropout)) and not call.operation.rate:
        call = call.args[0]
    return call


def _match(layer, known, what, pairs, path=""):
    """Compares two layers by their options and their parts, and puts both down as a pair."""
    place = f"{what}, with {path}" if path else what
    same = pairs.setdefault(id(known), (layer, known))[0] is layer
    if not same or sum(layer is other for other, _ in pairs.values()) > 1:
        raise Difference(f"{place} shared in another way ({layer.path})")
    if _kind(layer) is not _kind(known):
        raise Difference(f"{place} a {type(layer).__name__} in place of {type(known).__name__}")
    parts = [_parts(each) for each in (layer, known)]
    options = [_options(each) for each in (layer, known)]
    told = {name for each in parts for name in each}
    for side, inside in zip(options, parts, strict=True):
        for name in inside:
            if side.get(name) is not None:  # a slot: what stands in it says more than the layer
                told.update(inside[name].get_config())
    names = [name for name in {**options[0], **options[1]} if name not in told]
    _compare(*[{name: side.get(name) for name in names} for side in options], what, None, path)
    if parts[0].keys() != parts[1].keys():
        raise Difference(f"{place} with other parts, {', '.join(sorted(parts[0].keys() ^ parts[1].keys()))} changed")
    for name, part in parts[0].items():
        _match(part, parts[1][name], what, pairs, f"{path}.{name}" if path else name)


def _parts(layer):
    """The parts of a layer by its attributes; of tied logits the table, whether they hold it or an embedding with it."""
    parts = graph.parts_by_attribute(layer)
    if isinstance(layer, TiedLogits):
        parts["embedding"] = getattr(parts["embedding"], "token_embedding", parts["embedding"])
    return parts


def _own_weights(layer):
    """The weights of a layer that are no part's and no adapter's, in order."""
    inside = {id(weight) for part in graph.direct_parts(layer) for weight in part.weights}
    return [weight for weight in adapters.own_weights(layer) if id(weight) not in inside]


def _kind(operation):
    return _KINDS.get(type(operation), type(operation))


def _options(options):
    """What is to be alike of a config or of the options of a call, in which Keras may put down that there was no mask, or not."""
    options = options if isinstance(options, dict) else options.get_config()
    free = {name for name in options if name in _FREE or name.endswith(_FREE_ENDINGS) or options[name] is None}
    return {name: value for name, value in options.items() if name not in free}


def _compare(value, known, what, waiting=None, path=""):
    """Compares two values, of which `path` is the key; two tensors wait to be compared by what they come from."""
    place = f"{what}, with {path}" if path else what
    if isinstance(value, graph.Origin) and isinstance(known, graph.Origin):
        waiting.append((value, known))
    elif isinstance(value, dict) and isinstance(known, dict):
        if value.keys() != known.keys():
            raise Difference(f"{what}, with {', '.join(sorted(value.keys() ^ known.keys()))} changed")
        for key in value:
            _compare(value[key], known[key], what, waiting, f"{path}.{key}" if path else key)
    elif isinstance(value, (list, tuple)) and isinstance(known, (list, tuple)) and len(value) == len(known):
        for each, other in zip(value, known, strict=True):
            _compare(each, other, what, waiting, path)
    elif type(value) is not type(known) or value != known:
        raise Difference(f"{place}={value!r}" if path and not isinstance(value, graph.Origin) else what)
