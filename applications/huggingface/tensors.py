"""Tensors: the rules that many types share, and what the headers alone tell of a folder before a model is built."""

import re

import numpy as np

from ...checkpoints import Rule
from .fields import NAME


def dense(tensor, path, pattern="in out -> out in", bias_pattern=None):
    """Returns the rules of a linear map, stored (outputs, inputs)."""
    return Rule(f"{tensor}.weight", f"{path}/kernel", pattern), Rule(f"{tensor}.bias", f"{path}/bias", bias_pattern)


def norm(tensor, path):
    """Returns the rules of a layer normalization."""
    return Rule(f"{tensor}.weight", f"{path}/gamma"), Rule(f"{tensor}.bias", f"{path}/beta")


def attention(path, tensor, query, key, value, output):
    """Returns the rules of an attention whose heads stand side by side, from the names of its four maps below `tensor`."""
    parts = {"query": query, "key": key, "value": value, "attention_output": output}
    into = ("hidden head size -> (head size) hidden", "head size -> (head size)")
    out = ("head size hidden -> hidden (head size)", None)
    return tuple(
        rule
        for part, name in parts.items()
        for rule in dense(f"{tensor}.{name}", f"{path}/{part}", *(out if name == output else into))
    )


def check_sizes(fields, arguments, config, shapes):
    """Compares the sizes in a config with those in the headers, before a model of these sizes is built.

    A field's `blocks` is how the names of a block's tensors start: "h.{i}." for a number of blocks, "stage.{i}.block.{j}."
    for a tuple of numbers. Its `axis` is a row (template of a tensor, axis), or a list of rows: that axis must be as long as
    the argument, or as a third entry, a function (argument, arguments, *numbers of the block), says.

    Raises:
        ValueError: for a size that is not that of its tensors, and a tensor or a block that is missing.
    """

    def check(field, is_right, there):
        if not is_right:
            names = config.values([name for names in field.names() for name in names])
            names = {name: value for name, value in names.items() if value is not None}
            rule = f"The sizes in {NAME} must be those of the tensors."
            raise config.fault(rule, names or {field.argument: arguments[field.argument]}, f", where {there}")

    fields = [field for field in fields if field.exists(arguments)]
    blocks = {}  # how their names start: the numbers of each block
    for field in (field for field in fields if field.blocks is not None):
        there, numbers = _blocks_in(field.blocks, shapes), []
        for each in _counted(arguments[field.argument]):
            check(field, each in there, f"no tensor starts with {_named(field.blocks, each)!r}")
            numbers.append(each)
        more = there.keys() - set(numbers)
        check(field, not more, f"there is also {there[min(more)]!r}" if more else "")
        blocks[field.blocks] = numbers
    for field in (field for field in fields if field.axis is not None):
        for template, axis, *function in field.axis if isinstance(field.axis, list) else [field.axis]:
            counted = next((blocks[start] for start in blocks if template.startswith(start)), None)
            if counted is None and "{" in template:
                raise ValueError(
                    f"A tensor of `axis` with a number in its name must start as the `blocks` of a field. Received: {template!r} "
                    f"of {field.argument!r}, with `blocks` {', '.join(map(repr, blocks)) or 'of no field'}."
                )
            for numbers in counted or [()]:
                name, size = _named(template, numbers), arguments[field.argument]
                size = function[0](size, arguments, *numbers) if function else size
                shape = shapes.get(name)
                held = f"{name!r} is missing" if shape is None else f"{name!r} has shape {shape}"
                is_right = shape is not None and axis < len(shape) and shape[axis] == size
                check(field, is_right, f"{held}, and not {size} along axis {axis}")


def check_tied(tied, checkpoint):
    """Raises `ValueError` if a tensor is there beside the one that it is tied to, a dict from one to the other, and differs."""
    for name, source in tied.items():
        held = name in checkpoint.shapes and source in checkpoint.shapes  # a source that is missing is missed later
        if held and not np.array_equal(checkpoint.read(name), checkpoint.read(source), equal_nan=True):
            raise ValueError(
                f"Tensors must be equal where the config says that they are tied. Received: {name!r} and {source!r} in "
                f"{checkpoint.folder}, which differ."
            )


def _counted(count):
    """Yields the numbers of each block."""
    for stage, each in enumerate(count if isinstance(count, tuple) else (count,)):
        yield from ((stage, number) if isinstance(count, tuple) else (number,) for number in range(each))


def _blocks_in(start, shapes):
    """Dict from the numbers of each block that there is to the name of one of its tensors."""
    pattern = re.compile(re.sub(r"\\\{\w+\\\}", "(0|[1-9][0-9]{0,9})", re.escape(start)))
    hits = {name: pattern.match(name) for name in shapes}
    return {tuple(map(int, hit.groups())): name for name, hit in hits.items() if hit}


def _named(template, numbers):
    left = iter(numbers)
    return re.sub(r"\{\w+\}", lambda _: str(next(left)), template)
