"""A layer made of layers, whose config tells what has become of them since they were made."""

import keras

from .. import graph


class Composite:
    """Stands before `keras.Layer` among the bases of a layer made of layers.

    Parts are made anew on reload, most of them only when the layer is built. What a caller did to them is in no constructor's
    argument: `model.quantize` gives each `Dense` a dtype policy and a quantization config, and any part may be frozen. The
    layer's config tells of it under "parts", and a part gets it when it becomes part of the copy, before it is built.

    A part of a frozen layer is frozen with it, whether the layer made it or found it in a slot.
    """

    _told = None  # path of a part -> what the config tells of it, as long as there is no such part

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        told = config.pop("parts", None)
        layer = super().from_config(config)
        if told:
            layer.tell(told)
        return layer

    def tell(self, told):
        """Gives the parts at these paths what a config tells of them: those that are there now, and the others when they come."""
        told = dict(told)
        for key, part in named_parts(self).items():
            told = _introduce(part, key, told)
        self._keep(told)

    def _keep(self, told):
        object.__setattr__(self, "_told", told or None)  # neither Keras nor its backend is to track it

    def __setattr__(self, name, value):
        if name == "trainable":
            # TensorFlow skips the setting of an attribute that has the value already, and would not reach the parts.
            keras.Layer.trainable.fset(self, value)
            self._keep({path: {**state, "trainable": bool(value)} for path, state in (self._told or {}).items()})
            return
        super().__setattr__(name, value)
        if name == "built" and value and self._told:
            _unfold(self, self._told)
            self._keep(None)
        elif isinstance(value, keras.Layer) or (isinstance(value, (list, tuple)) and not name.startswith("_")):
            for part in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(part, keras.Layer):
                    self._adopt(part)

    def _adopt(self, part):
        if not self.trainable:
            part.trainable = False
        if self._told:
            key = next((key for key, each in named_parts(self).items() if each is part), None)
            self._keep(_introduce(part, key, self._told))

    def get_config(self):
        config, told = super().get_config(), dict(_differences(self))
        return {**config, "parts": told} if told else config


def named_parts(layer):
    """Dict from name to part; a second part of the same name has "#2" appended, and so on."""
    found = {}
    for part in graph.direct_parts(layer):
        count = sum(each.name == part.name for each in found.values()) + 1
        found[part.name if count == 1 else f"{part.name}#{count}"] = part
    return found


def _differences(layer, prefix=""):
    """Yields `(path, what it has)` for each part that differs from one made new."""
    for key, part in named_parts(layer).items():
        state = {}
        if part.trainable != layer.trainable:
            state["trainable"] = part.trainable
        if part.quantization_mode is not None:
            state["dtype"] = keras.dtype_policies.serialize(_own_policy(part))
            state["quantization_config"] = _quantization_config(part)
        if state:
            yield prefix + key, state
        yield from _differences(part, f"{prefix}{key}/")


def _own_policy(part):
    policy = part.dtype_policy
    return policy[part.path] if isinstance(policy, keras.dtype_policies.DTypePolicyMap) else policy


def _quantization_config(part):
    config = keras.saving.serialize_keras_object(getattr(part, "quantization_config", None))
    if config is not None and "quantization_layer_structure" in config["config"]:
        config["config"]["quantization_layer_structure"] = None  # layers of the model, which has done its work
    return config


def _introduce(part, key, told):
    """Gives a part what is told of it and of its own parts, and returns what is told of others."""
    inside = {path[len(key) + 1 :]: state for path, state in told.items() if path.startswith(f"{key}/")}
    if key in told:
        _give(part, told[key])
    if inside and isinstance(part, Composite):
        part.tell(inside)
    rest = {path: state for path, state in told.items() if path != key and not path.startswith(f"{key}/")}
    if inside and not isinstance(part, Composite):  # it may make its parts when it is built
        rest.update({f"{key}/{path}": state for path, state in inside.items()})
    return rest


def _unfold(layer, told):
    """Sets the flags that are told of parts inside parts of other classes, which came when those were built."""
    for path, state in told.items():
        part = layer
        for key in path.split("/"):
            part = part and named_parts(part).get(key)
        if part is not None and "trainable" in state:
            part.trainable = state["trainable"]


def _give(part, state):
    if "dtype" in state:
        part.quantization_config = keras.saving.deserialize_keras_object(state["quantization_config"])
        if not part.built:
            part.dtype_policy = keras.dtype_policies.deserialize(state["dtype"])
    if "trainable" in state:
        part.trainable = state["trainable"]
