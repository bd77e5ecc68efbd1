"""Finding a layer in the graph that leads to a tensor, and what is in a layer."""

import keras


def find_layer(tensor, name) -> keras.Layer | None:
    """Finds a layer by name in the graph that leads to a symbolic tensor, also inside nested models.

    Args:
        tensor: a `KerasTensor`, or anything else, which has no graph.
        name: str, the layer's name.

    Returns:
        The layer, or `None` if there is none of that name.
    """
    seen, waiting = set(), [tensor]
    while waiting:
        history = getattr(waiting.pop(), "_keras_history", None)
        if history is None or id(history.operation) in seen:
            continue
        operation = history.operation
        seen.add(id(operation))
        for layer in operation._flatten_layers() if isinstance(operation, keras.Layer) else ():
            if layer.name == name:
                return layer
        for node in operation._inbound_nodes:
            waiting.extend(node.input_tensors)
    return None


def parts(layer, path=None):
    """Yields `(path, sublayer)` for every layer inside a layer, the path made of names joined by "/" from the layer's own on."""
    path = path or layer.name
    for part in direct_parts(layer):
        yield f"{path}/{part.name}", part
        yield from parts(part, f"{path}/{part.name}")


def direct_parts(layer) -> list[keras.Layer]:
    """Lists the layers that a layer has as attributes of its own, in the order in which it got them."""
    return layer._flatten_layers(recursive=False, include_self=False)


def parts_by_attribute(layer):
    """Dict from where a layer holds a part to the part: the name of its attribute, with "/" and the place in a list or a dict.

    Names of parts may be made anew with each copy of the layer; its attributes are those of its class.
    """
    direct, found = direct_parts(layer), {}
    attributes = {**vars(layer), **(vars(layer).get("_modules") or {})}  # where torch keeps them
    for name, value in attributes.items():
        if name not in ("_layers", "_modules") and not name.startswith(
            "_self_"
        ):  # where TensorFlow notes what it tracks
            _collect(name, value, direct, found)
    for part in direct:  # held in some other way
        if not _holds(found, part):
            number = sum(each.name == part.name for each in found.values()) + 1
            found[part.name if number == 1 else f"{part.name}#{number}"] = part
    return found


def _collect(path, value, direct, found):
    if isinstance(value, keras.Layer):
        if any(value is part for part in direct) and not _holds(found, value):
            found[path] = value
    elif isinstance(value, (list, tuple, dict)):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            _collect(f"{path}/{key}", each, direct, found)


def _holds(found, part):
    return any(each is part for each in found.values())
