"""What the plots are given: dicts by layer, and tokens."""


def by_name(name, value, what):
    """Returns a dict; raises `ValueError` for anything else.

    Args:
        name: str, of the argument.
        value: what came.
        what: str, what a right one holds.
    """
    if isinstance(value, dict):
        return value
    hint = f", whose `{name}` would do" if isinstance(getattr(value, name, None), dict) else ""
    raise ValueError(f"`{name}` must be a dict {what}. Received: {name} of type {type(value).__name__}{hint}.")


def tokens(name, value):
    """Returns tokens as a list; raises `ValueError` for one string, which is no list of tokens, and for what cannot be listed."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        raise ValueError(f"`{name}` must be a list of strings, one for each token. Received: {name}={value!r}.")
    return list(value)


def labels(value, sizes):
    """Returns labels of heads, or `None`; raises `ValueError` unless there is one for each head.

    Args:
        value: dict from layer name to a list of strings, or `None`.
        sizes: dict from the name of each layer that is drawn to how many heads it has.
    """
    if value is None:
        return None
    value = by_name("labels", value, "from layer name to a list of strings, one for each head")
    for name, count in sizes.items():
        found = value.get(name)
        if found is None or isinstance(found, str) or len(found) != count:
            raise ValueError(
                "`labels` must hold a list of strings for each layer that is drawn, one for each head. Received: "
                + (f"labels of {list(value)}" if found is None else f"{found!r} for {name}")
                + f", and maps with {count} heads of {name}."
            )
    return value
