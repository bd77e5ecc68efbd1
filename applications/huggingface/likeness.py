"""Whether a functional model is another one under names of its own, told from their configs."""

import keras

# What a layout does not hold, or the loader chooses: how weights were drawn, in which dtype, which are frozen, what was known of
# shapes, how memory is saved, what is merged when it is written.
_FREE = {
    "name",
    "dtype",
    "trainable",
    "parts",
    "training",
    "seed",
    "batch_shape",
    "shape",
    "build_config",
    "compile_config",
    "recompute",
    "lora_rank",
    "lora_alpha",
}
_FREE_ENDINGS = ("initializer", "_regularizer", "_constraint")
_TENSOR = "__keras_tensor__"
_MODEL = "Functional"


class Difference(Exception):
    """What is not alike, in words."""


def pairs(model, reference):
    """Finds the layers of a model that stand where those of a reference stand, going into nested models.

    Both graphs are followed from the outputs to the inputs; every operation on the way must be of the same class, with
    the same options and the same inputs.

    Args:
        model: a functional `keras.Model`.
        reference: a functional `keras.Model`.

    Returns:
        List of `(layer, layer of the reference)`, without models.

    Raises:
        Difference: for the first difference, saying what the model has.
    """
    found, names = [], {}  # the model's name by the reference's
    mine, theirs = model.get_config(), reference.get_config()
    entries, known_entries = ({entry["name"]: entry for entry in config["layers"]} for config in (mine, theirs))
    again, known_again = (
        [name for name, entry in side.items() if len(entry["inbound_nodes"]) > 1] for side in (entries, known_entries)
    )
    if again and not known_again:
        raise Difference(f"a layer that is called twice ({again[0]})")
    waiting = []
    for side in ("input_layers", "output_layers"):
        _compare(_tensors(mine[side]), _tensors(theirs[side]), f"other {side.replace('_layers', 's')}", waiting)
    while waiting:
        name, other = waiting.pop()
        if names.get(other, name) != name:
            raise Difference(f"{name} in place of {names[other]}")
        if other in names:
            continue
        names[other] = name
        entry, known = entries[name], known_entries[other]
        if _kind(entry) != _kind(known):
            raise Difference(f"{entry['class_name']} ({name}) in place of {known['class_name']}")
        operation, known_operation = _operation(model, name), _operation(reference, other)
        if entry["class_name"] == _MODEL:
            found += pairs(operation, known_operation)
        else:
            _compare(entry["config"], known["config"], f"another {entry['class_name']} ({name})", waiting)
            found += [(operation, known_operation)] * isinstance(operation, keras.Layer)
        _compare(entry["inbound_nodes"], known["inbound_nodes"], f"other inputs of {name}", waiting)
    if len(set(names.values())) < len(names):
        raise Difference("one layer in place of several")
    return found


def _kind(entry):
    """What an operation computes: our forms of Keras' layers compute what Keras' do."""
    ours = entry["registered_name"] in ("keras_tx>Dense", "keras_tx>LayerNormalization")
    return entry["class_name"], None if ours else entry["registered_name"]


def _operation(model, name):
    return next(operation for operation in model.operations if operation.name == name)


def _tensors(places):
    """The inputs or outputs of a model, written as those of a node are."""
    if isinstance(places, dict):
        return {name: _tensors(place) for name, place in places.items()}
    if len(places) == 3 and isinstance(places[0], str):
        return {"class_name": _TENSOR, "config": {"keras_history": places}}
    return [_tensors(place) for place in places]


def _compare(value, known, what, waiting):
    """Compares two pieces of configs, and puts down the operations that must be alike for these to be."""
    if isinstance(value, dict) and isinstance(known, dict):
        if value.get("class_name") == known.get("class_name") == _TENSOR:
            (name, *place), (other, *known_place) = (piece["config"]["keras_history"] for piece in (value, known))
            if place != known_place:
                raise Difference(what)
            waiting.append((name, other))
            return
        value, known = _bound(value), _bound(known)
        if value.keys() != known.keys():
            raise Difference(f"{what}, with {', '.join(sorted(value.keys() ^ known.keys()))} changed")
        for key in value:
            simple = not isinstance(value[key], (dict, list, tuple)) and not isinstance(known[key], (dict, list, tuple))
            _compare(value[key], known[key], f"{what}, with {key}={value[key]!r}" if simple else what, waiting)
    elif isinstance(value, (list, tuple)) and isinstance(known, (list, tuple)):
        if len(value) != len(known):
            raise Difference(what)
        for each, other in zip(value, known, strict=True):
            _compare(each, other, what, waiting)
    elif type(value) is not type(known) or value != known:
        raise Difference(what)


def _bound(config):
    """What is to be alike; Keras may put down that a call had no mask, or not, and a block that its attention has its rate."""
    if {"attention", "dropout", "attention_dropout"} <= config.keys():
        rate = config["attention_dropout"]
        config = {**config, "attention_dropout": config["dropout"] if rate is None else rate}
        if config["attention"] is not None:
            del config["attention_dropout"]  # it is said there
    return {
        key: value
        for key, value in config.items()
        if key not in _FREE and not key.endswith(_FREE_ENDINGS) and (key, value) != ("mask", None)
    }
