"""Rows of unequal length: in whatever form they come, and the few sizes that they are rounded up to."""


def as_lists(value):
    """Returns a ragged tensor, or anything else that has a `to_list`, as a list; any other value comes back as it is."""
    if callable(getattr(value, "to_list", None)):
        return value.to_list()
    return list(value.unbind()) if getattr(value, "is_nested", False) else value


def next_multiple(number, step):
    """Returns the least multiple of a step that is at least `number` and at least one step."""
    return max(1, -(-int(number) // step)) * step
