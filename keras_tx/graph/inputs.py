"""The inputs of a functional model: their names, their structure, and what stands for one that is not there."""

import keras


class Missing:
    """What stands in a walk for a tensor that is not there."""

    def __repr__(self):
        return "MISSING"


class Origin:
    """What stands for a tensor where a walk asks what made it.

    Attributes:
        operation: the layer or the operation that made it, `None` for an input of the model.
        path: str, its path as in `walk`, or the input's name.
        args, kwargs: the arguments of that call, origins in place of tensors.
    """

    def __init__(self, operation, path, args=(), kwargs=None):
        self.operation, self.path, self.args, self.kwargs = operation, path, args, kwargs or {}


MISSING = Missing()
STANDS = (Missing, Origin, frozenset)


def input_names(model) -> list[str]:
    """Lists the names of a functional model's inputs: the keys where they are a dict, else the names of the tensors."""
    functional = functional_of(model)
    if functional is None:
        raise no_graph(model)
    if isinstance(functional.input, dict):
        return list(functional.input)
    return [tensor.name for tensor in functional.inputs]


def pack_inputs(model, values):
    """Returns values, a dict from `input_names`, in the structure of a functional model's inputs; `MISSING` where none is."""
    functional = functional_of(model)
    if isinstance(functional.input, dict):
        return {name: values.get(name, MISSING) for name in functional.input}
    flat = [values.get(tensor.name, MISSING) for tensor in functional.inputs]
    return keras.tree.pack_sequence_as(functional.input, flat)


def no_graph(model):
    """Returns the error for a model without a graph, which says what the model is."""
    if isinstance(model, keras.Sequential):
        return ValueError(
            "`model` must be built to be walked: give the Sequential a keras.Input first, or call it once. Received: "
            f"{model.name} of class {type(model).__name__}, which is not built."
        )
    return ValueError(
        "`model` must be a functional model or a built Sequential: a subclassed model has no graph to walk. Received: "
        f"{getattr(model, 'name', model)} of class {type(model).__name__}."
    )


def functional_of(model):
    """Returns the `Functional` behind a model, or `None` if there is none."""
    if isinstance(model, keras.Sequential):
        return model._functional
    return model if isinstance(model, keras.Model) and hasattr(model, "_nodes_by_depth") else None
