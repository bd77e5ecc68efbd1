"""The part of a layer's call that is computed again in the backward pass, with the layer's variables as plain values."""

import keras

from ..ops.recompute import recompute
from ..private_keras import AutocastScope


def recomputed(layer, function, tensors):
    """Returns `function(**tensors)`, computed again in the backward pass; the state that it changes is changed once.

    Args:
        layer: the built layer all of whose variables the function may use. Its random seeds move on as ever, and are those of
            the forward pass when it runs again.
        function: tensors by name -> tensor.
        tensors: dict of tensors, or `None`s.

    Returns:
        The tensor.
    """
    variables = list(layer.variables)
    names = [name for name, tensor in tensors.items() if tensor is not None]
    changed = []
    with AutocastScope(None):  # a part of the layer may compute in a wider dtype than the layer does
        values = [variable.value for variable in variables]

    def pure(*flat):
        given = {**tensors, **dict(zip(names, flat[len(variables) :], strict=True))}
        mapping = list(zip(variables, flat, strict=False))
        with AutocastScope(None):  # in another one the scope would round the weights of such a part
            scope = keras.StatelessScope(mapping, collect_losses=True)
        # The backward pass runs outside of the layer's call, which would open the scope of its dtype.
        with scope, AutocastScope(layer.compute_dtype):
            before = [scope.get_current_value(variable) for variable in variables]
            outputs = function(**given)
            after = [scope.get_current_value(variable) for variable in variables]
        changed[:] = [index for index, value in enumerate(after) if value is not before[index]]
        return (outputs, *(after[index] for index in changed), *scope.losses)

    outputs, *rest = recompute(pure, *values, *(tensors[name] for name in names))
    for index, value in zip(changed, rest, strict=False):
        variables[index].assign(value)
    for loss in rest[len(changed) :]:
        layer.add_loss(loss)
    return outputs
