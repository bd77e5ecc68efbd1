"""A layer made of layers, whose config tells what has become of them since they were made."""

import keras

from .. import graph
from . import calibration
from .traced_subclasses import TracedSubclasses

# In the paths of parts in configs that were written on TensorFlow before attributes alone were named.
_TENSORFLOW_NOTE = "_self_unconditional_dependency_names/"


class Composite(TracedSubclasses):
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
        for part in graph.direct_parts(layer):
            if not part.trainable:  # Keras makes the parts of a frozen layer anew as if it were not
                set_trainable(part, False)
        if told:
            layer.tell({path.replace(_TENSORFLOW_NOTE, ""): state for path, state in told.items()})
        return layer

    def tell(self, told):
        """Gives the parts at these paths what a config tells of them: those that are there now, and the others when they come."""
        self._keep(_introduce_all(self, told))

    def _keep(self, told):
        object.__setattr__(self, "_told", told or None)  # neither Keras nor its backend is to track it

    def __setattr__(self, name, value):
        if name == "trainable":
            _set_flags(self, value)
            state = {"trainable": bool(value), "frozen_bias": False}
            self._keep({path: {**told, **state} for path, told in (self._told or {}).items()})
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
        # A layer of Keras that was frozen by its constructor has no frozen parts, and an optimizer would get theirs.
        if not self.trainable or (not part.trainable and all(each.trainable for _, each in graph.parts(part))):
            set_trainable(part, False)
        if self._told:
            key = next((key for key, each in graph.parts_by_attribute(self).items() if each is part), None)
            self._keep(_introduce(part, key, self._told))

    def get_config(self):
        config, told = super().get_config(), dict(_differences(self))
        return {**config, "parts": told} if told else config


def set_trainable(layer, value):
    """Freezes or thaws a layer and all that is in it.

    TensorFlow skips the setting of an attribute that has the value already, and would not reach what is in such a layer.
    """
    if isinstance(layer, Composite):
        layer.trainable = value
    else:
        _set_flags(layer, value)


def _set_flags(layer, value):
    type(layer).trainable.fset(layer, value)
    for part in graph.direct_parts(layer):
        set_trainable(part, value)


def _differences(layer, prefix=""):
    """Yields `(path, what it has)` for each part that differs from one made new; the path is made of attributes."""
    for key, part in graph.parts_by_attribute(layer).items():
        state = {}
        if part.trainable != layer.trainable:
            state["trainable"] = part.trainable
        if part.trainable and _is_frozen(part, "bias"):  # with adapters, which are merged into the kernels of a file
            state["frozen_bias"] = True
        policy = _policy(part, part.path)
        if calibration.is_awaited(part):
            policy = calibration.float_policy(policy)
        elif part.quantization_mode is not None:
            state["dtype"] = keras.dtype_policies.serialize(policy)
            state["quantization_config"] = _quantization_config(part)
        if not state.get("dtype") and not _is_map(part.dtype_policy) and policy != _policy(layer, part.path):
            state["dtype"] = keras.dtype_policies.serialize(policy)
        if state:
            yield prefix + key, state
        yield from _differences(part, f"{prefix}{key}/")


def _is_frozen(part, name):
    weight = getattr(part, name, None)
    return isinstance(weight, keras.Variable) and not weight.trainable


def _is_map(policy):
    return isinstance(policy, keras.dtype_policies.DTypePolicyMap)


def _policy(layer, path):
    """Returns the dtype policy that a layer has for a layer at that path."""
    policy = layer.dtype_policy
    if not _is_map(policy):
        return policy
    return policy[path] if path else policy.default_policy


def _quantization_config(part):
    config = calibration.without_data(getattr(part, "quantization_config", None))
    return keras.saving.serialize_keras_object(config)


def _introduce_all(layer, told):
    """Gives the parts that a layer has now what is told of them, and returns what is told of others."""
    told = dict(told)
    for key, part in graph.parts_by_attribute(layer).items():
        told = _introduce(part, key, told)
    return told


def _introduce(part, key, told):
    """Gives a part what is told of it and of its own parts, and returns what is told of others."""
    inside = {path[len(key) + 1 :]: state for path, state in told.items() if path.startswith(f"{key}/")}
    if key in told:
        _give(part, told[key])
    rest = {path: state for path, state in told.items() if path != key and not path.startswith(f"{key}/")}
    if told.get(key, {}).get("frozen_bias") and not part.built:  # it has no bias yet
        rest[key] = {"frozen_bias": True}
    if inside and isinstance(part, Composite):
        part.tell(inside)
    elif inside:  # it may make other parts when it is built
        rest.update({f"{key}/{path}": state for path, state in _introduce_all(part, inside).items()})
    return rest


def _unfold(layer, told):
    """Gives the parts inside parts of other classes, which came when those were built, what is told of them."""
    for path, state in told.items():
        part = _find(layer, path)
        if part is not None:
            _give(part, state)


def _find(layer, path):
    """Returns the part at a path of attributes, each of which may hold a list or a dict and so have "/" in it; or `None`."""
    for key, part in graph.parts_by_attribute(layer).items():
        if path == key:
            return part
        if path.startswith(f"{key}/"):
            found = _find(part, path[len(key) + 1 :])
            if found is not None:
                return found
    return None


def _give(part, state):
    if "quantization_config" in state:
        config = keras.saving.deserialize_keras_object(state["quantization_config"])
        policy = keras.dtype_policies.deserialize(state["dtype"])
        if not part.built:
            part.quantization_config, part.dtype_policy = config, policy
        elif part.quantization_mode is None:
            part.quantize(policy.quantization_mode, config=config)
        else:
            part.quantization_config = config
    elif "dtype" in state:
        part.dtype_policy = keras.dtype_policies.deserialize(state["dtype"])
    if "trainable" in state:
        set_trainable(part, state["trainable"])
    if state.get("frozen_bias") and isinstance(getattr(part, "bias", None), keras.Variable):
        part.bias.trainable = False
