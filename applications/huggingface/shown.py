"""Where in a functional model its settings show."""

import keras

from ... import graph

_SHORT = {
    "tokens": "TokenAndPositionEmbedding",
    "patches": "PatchEmbedding",
    "encoder": "TransformerEncoder",
    "decoder": "TransformerDecoder",
}


class Difference(Exception):
    """How a model differs from those of a type, in words."""


class Layers:
    """The layers that a functional model calls, its nested models' among them, to be asked where a setting shows.

    Args:
        model: a functional `keras.Model` or a built `keras.Sequential`; a subclassed one is a `ValueError`.
    """

    def __init__(self, model):
        self.model = model
        self.models = [model, *(part for part in model.layers if isinstance(part, keras.Model))]
        self.all = list({id(layer): layer for layer in graph.layer_calls(model).values()}.values())

    def of(self, name):
        """Lists the layers of a class, given by its name or a short one."""
        return [layer for layer in self.all if _is_a(layer, name)]

    def shown(self, where):
        """Returns what shows at a place.

        Args:
            where: str, "Class.attribute.attribute" of the first layer of that class, "Class[-1].attribute" of the last, "Class"
                alone for how many there are ("tokens", "patches", "encoder" and "decoder" are classes of ours); or a function
                of these layers.

        Raises:
            Difference: if there is no such layer, or no such attribute.
        """
        if callable(where):
            return where(self)
        place, *attributes = where.split(".")
        name = place.removesuffix("[-1]")
        found = self.of(name)
        if not attributes:
            return len(found)
        if not found:
            raise Difference(f"no {_SHORT.get(name, name)}")
        layer = value = found[0 if name == place else -1]
        for attribute in attributes:
            if not hasattr(value, attribute):
                what = f"no {attribute}" if value is layer else f"a {attributes[0]} without {attribute}"
                raise Difference(f"{what} in {layer.name}, a {type(layer).__name__}")
            value = getattr(value, attribute)
        return value

    def have(self, marks):
        """Returns whether for each "Class.attribute" of a dict there is a layer or a part with its value, or with one of which
        a function is true; `...` is any.
        """
        layers = self.all + [part for layer in self.all for _, part in graph.parts(layer)]
        wanted = [(*mark.partition(".")[::2], value) for mark, value in marks.items()]
        return all(
            any(_is_a(layer, name) and _is_marked(getattr(layer, attribute, None), value) for layer in layers)
            for name, attribute, value in wanted
        )


def _is_marked(found, mark):
    return mark is ... or (mark(found) if callable(mark) else found == mark)


def present(name):
    """Returns a function that tells whether there is a layer of a class."""
    return lambda layers: bool(layers.of(name))


def has_output(name):
    """Returns a function that tells whether a model, or one inside it, has an output of a name."""
    return lambda layers: any(isinstance(model.output, dict) and name in model.output for model in layers.models)


def last_rate(layers):
    """Returns the rate of the last dropout outside of blocks, 0 if there is none."""
    return next((layer.rate for layer in reversed(layers.of("Dropout"))), 0.0)


def padding_id(layers):
    """Returns the id that is told to be padding: the number to which a model compares its ids."""
    found = _compared_ids(layers)
    if len(found) != 1:
        raise Difference("no mask of the ids that are not padding")
    return found[0]


def no_padding_id(layers):
    """Returns `None`; a number to which a model compares its ids is a `Difference`."""
    found = _compared_ids(layers)
    if found:
        raise Difference(f"padding_id={found[0]}, which must be None: the layout mixes padding as other tokens")


def learned_length(layers):
    """Returns the length of the table of learned positions beside the tokens."""
    length = layers.shown("tokens.sequence_length")
    if length is None:
        raise Difference(f"no learned positions in {layers.of('tokens')[0].name}, which the layout needs")
    return length


def _compared_ids(layers):
    entries = [entry for model in layers.models for entry in graph.functional_of(model).get_config()["layers"]]
    nodes = [entry["inbound_nodes"][0] for entry in entries if entry["class_name"] == "NotEqual"]
    return [value for node in nodes for value in node["args"] if type(value) is int]


def _is_a(layer, name):
    return any(kind.__name__ == _SHORT.get(name, name) for kind in type(layer).__mro__)
