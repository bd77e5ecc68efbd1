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

# What a layout does not hold, or the loader chooses: how weights were drawn, in which dtype, which are frozen, what was known of
# shapes, how memory is saved, what is merged when it is written; and what the parts show, in whichever way it was said.
_FREE = {
    "name", "dtype", "trainable", "parts", "training", "seed", "batch_shape", "shape", "build_config", "compile_config",
    "recompute", "lora_rank", "lora_alpha", "reverse_dtype", "attention_dropout", "key_dim", "num_key_value_heads",
}  # fmt: skip
_FREE_ENDINGS = ("initializer", "_regularizer", "_constraint")
_TENSOR = "__keras_tensor__"
# Our forms of Keras' layers compute what Keras' do.
_KINDS = {
    Dense: keras.layers.Dense,
    EinsumDense: keras.layers.EinsumDense,
    LayerNormalization: keras.layers.LayerNormalization,
    Dropout: keras.layers.Dropout,
}


def weights_by_path(model, root=None):
    """Returns the weights of a functional model, without adapters.

    Args:
        model: a functional `keras.Model`.
        root: str, the name of a model inside it whose layers count as its own.

    Returns:
        Dict from path, the names of layer, parts and weight joined by "/", to weight.
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
    """Finds the layers of a model that stand where those of a reference stand, in nested models and inside layers too.

    Both graphs are followed from the outputs to the inputs; every operation on the way must be of the same class, with
    the same options and the same inputs. A dropout of rate 0 counts for nothing.

    Args:
        model: a functional `keras.Model`.
        reference: a functional `keras.Model`.

    Returns:
        List of `(layer, layer of the reference)`, without models.

    Raises:
        Difference: for the first difference, saying what the model has.
    """
    pairs = {}  # id of a layer of the reference: (layer, layer of the reference)
    _match_models(_Side(model), _Side(reference), pairs)
    if len({id(layer) for layer, _ in pairs.values()}) < len(pairs):
        raise Difference("one layer in place of several")
    return list(pairs.values())


class _Side:
    """One of the two graphs: its config, and its operations by their names."""

    def __init__(self, model):
        model = graph.functional_of(model)
        self.config, self.operations = model.get_config(), {each.name: each for each in model.operations}
        self.entries = {entry["name"]: entry for entry in self.config["layers"]}

    def called_twice(self):
        return [name for name, entry in self.entries.items() if len(entry["inbound_nodes"]) > 1]

    def origin(self, tensor):
        """The (operation, its call, its output) that a tensor comes from, before dropouts of rate 0."""
        name, call, output = tensor["config"]["keras_history"]
        operation = self.operations[name]
        if isinstance(operation, (Dropout, keras.layers.Dropout)) and not operation.rate:
            return self.origin(self.entries[name]["inbound_nodes"][call]["args"][0])
        return name, call, output


def _match_models(side, other, pairs):
    if side.called_twice() and not other.called_twice():
        raise Difference(f"a layer that is called twice ({side.called_twice()[0]})")
    names, waiting = {}, []  # the operation's name by that of the reference

    def tensors(one, known, what):
        (name, *place), (known_name, *known_place) = side.origin(one), other.origin(known)
        if place != known_place:
            raise Difference(what)
        waiting.append((name, known_name))

    for places in ("input_layers", "output_layers"):
        both = [_tensors(each.config[places]) for each in (side, other)]
        _compare(*both, f"other {places.replace('_layers', 's')}", tensors)
    while waiting:
        name, known_name = waiting.pop()
        if names.get(known_name, name) != name:
            raise Difference(f"{name} in place of {names[known_name]}")
        if known_name in names:
            continue
        names[known_name] = name
        operation, known = side.operations[name], other.operations[known_name]
        entry, known_entry = side.entries[name], other.entries[known_name]
        if all(isinstance(each, keras.Model) for each in (operation, known)):
            _match_models(_Side(operation), _Side(known), pairs)
        else:
            if _kind(operation) is not _kind(known):
                raise Difference(f"{type(operation).__name__} ({name}) in place of {type(known).__name__}")
            what = f"another {type(operation).__name__} ({name})"
            if isinstance(operation, keras.Layer):
                _match_layers(operation, known, what, pairs)
            else:
                _compare(_bound(entry["config"]), _bound(known_entry["config"]), what, tensors)
        _compare(entry["inbound_nodes"], known_entry["inbound_nodes"], f"other inputs of {name}", tensors)
    if len(set(names.values())) < len(names):
        raise Difference("one layer in place of several")


def _match_layers(layer, known, what, pairs, path=""):
    """Compares two layers by their options and their parts, and puts both down as a pair."""
    place = f"{what}, with {path}" if path else what
    if id(known) in pairs:
        if pairs[id(known)][0] is not layer:
            raise Difference(f"{place} not that of {pairs[id(known)][0].path}")
        return
    if _kind(layer) is not _kind(known):
        raise Difference(f"{place} a {type(layer).__name__} in place of {type(known).__name__}")
    pairs[id(known)] = (layer, known)
    parts, known_parts = _parts(layer), _parts(known)
    options, known_options = _bound(layer.get_config()), _bound(known.get_config())
    told = {*parts, *known_parts}
    for side, inside in ((options, parts), (known_options, known_parts)):
        for name in inside:
            if side.get(name) is not None:  # a slot: what stands in it says more than the layer
                told.update(inside[name].get_config())
    names = [name for name in {**options, **known_options} if name not in told]
    options, known_options = ({name: side.get(name) for name in names} for side in (options, known_options))
    _compare(options, known_options, what, None, path)
    if parts.keys() != known_parts.keys():
        raise Difference(f"{place} with other parts, {', '.join(sorted(parts.keys() ^ known_parts.keys()))} changed")
    for name, part in parts.items():
        _match_layers(part, known_parts[name], what, pairs, f"{path}.{name}" if path else name)


def _parts(layer):
    """The parts of a layer by its attributes; of tied logits the table, whether they hold it or an embedding with it."""
    parts = {name.rpartition("_names/")[2]: part for name, part in graph.parts_by_attribute(layer).items()}
    if isinstance(layer, TiedLogits):
        parts["embedding"] = getattr(parts["embedding"], "token_embedding", parts["embedding"])
    return parts


def _own_weights(layer):
    """The weights of a layer that are no part's and no adapter's, in order."""
    inside = {id(weight) for part in graph.direct_parts(layer) for weight in part.weights}
    return [weight for weight in adapters.own_weights(layer) if id(weight) not in inside]


def _kind(operation):
    return _KINDS.get(type(operation), type(operation))


def _tensors(places):
    """The inputs or outputs of a model, written as those of a node are."""
    if isinstance(places, dict):
        return {name: _tensors(place) for name, place in places.items()}
    if len(places) == 3 and isinstance(places[0], str):
        return {"class_name": _TENSOR, "config": {"keras_history": places}}
    return [_tensors(place) for place in places]


def _compare(value, known, what, tensors, path=""):
    """Compares two pieces of configs, of which `path` is the key; two tensors are handed to a function."""
    if isinstance(value, dict) and isinstance(known, dict):
        if value.get("class_name") == known.get("class_name") == _TENSOR:
            tensors(value, known, what)
            return
        value, known = _bound(value), _bound(known)
        if value.keys() != known.keys():
            raise Difference(f"{what}, with {', '.join(sorted(value.keys() ^ known.keys()))} changed")
        for key in value:
            _compare(value[key], known[key], what, tensors, f"{path}.{key}" if path else key)
    elif isinstance(value, (list, tuple)) and isinstance(known, (list, tuple)) and len(value) == len(known):
        for each, other in zip(value, known, strict=True):
            _compare(each, other, what, tensors, path)
    elif type(value) is not type(known) or value != known:
        raise Difference(f"{what}, with {path}={value!r}" if path else what)


def _bound(config):
    """What is to be alike; Keras may put down that a call had no mask, or not."""
    return {
        key: value
        for key, value in config.items()
        if key not in _FREE and not key.endswith(_FREE_ENDINGS) and (key, value) != ("mask", None)
    }
