"""Weights set from a checkpoint and written into one, by one table of rules."""

import keras
import numpy as np

from .folder import Checkpoint
from .header import shown
from .rules import match
from .writer import Tensor, write_folder

_FLOAT16_MAX = 65504.0
_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64"}


def load_weights(weights, checkpoint, rules, ignored=(), assign=None) -> None:
    """Sets weights from the tensors of a checkpoint, after accounting for every one of both.

    Under a `keras.distribution` each device is sent its part of a tensor, and none the whole of one that is split.

    Args:
        weights: dict from path to `keras.Variable`, such as `{w.path: w for w in model.weights}`.
        checkpoint: a `Checkpoint`, or its folder; or another object with its `shapes` and `read`.
        rules: list of `Rule`; the first that is for a tensor is used.
        ignored: list of name templates of tensors that may be left unused.
        assign: function `(variable, array)` that sets a value; `None` for `variable.assign`.

    Raises:
        ValueError: as `match` and `Checkpoint` do, before any weight is changed; for a tensor that holds no floats, and
            for a number that a float16 weight cannot hold.

    Example:

    ```python
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3, name="dense")(inputs))
    weights = {weight.path: weight for weight in model.weights}
    rules = [
        keras_tx.checkpoints.Rule("linear.weight", "dense/kernel", "in out -> out in"),
        keras_tx.checkpoints.Rule("linear.bias", "dense/bias"),
    ]
    keras_tx.checkpoints.save_weights(weights, folder, rules)
    keras_tx.checkpoints.load_weights(weights, folder, rules)
    ```
    """
    checkpoint = checkpoint if hasattr(checkpoint, "shapes") else Checkpoint(checkpoint)
    shapes = {path: tuple(variable.shape) for path, variable in weights.items()}
    for tensors, paths, rule in match(rules, checkpoint.shapes, shapes, ignored):
        parts = rule.to_weights([checkpoint.read(name) for name in tensors], [shapes[path] for path in paths])
        for path, part in zip(paths, parts, strict=True):
            variable = weights[path]
            _check_range(tensors[0], part, variable)
            # A copy: a backend may keep the array as the weight's memory, which must not be the mapped file.
            value = _placed(np.array(part, dtype=np.promote_types(part.dtype, np.float32), order="C"), variable)
            if assign is None:
                variable.assign(value)
            else:
                assign(variable, value)


def save_weights(weights, folder, rules, files=None, max_shard_bytes=None, prefix="", value=None) -> None:
    """Writes weights into a safetensors folder, by the rules that read it.

    A save that is killed half-way leaves what was in the folder before.

    Args:
        weights: dict from path to `keras.Variable`, of floats.
        folder: str or path; made if it is not there.
        rules: list of `Rule`; the first that is for a weight is used.
        files: dict from name to bytes, of other files to write with it.
        max_shard_bytes: int, above which the tensors go into several files with an index; `None` for one file.
        prefix: str, put before the names of the tensors.
        value: function `variable -> array` of the numbers to write, in the variable's shape and dtype; `None` for its own.

    Raises:
        ValueError: for a weight that no rule is for, a tensor of which only some weights are there, weights that are
            no floats, a `folder` that is a file, and a `max_shard_bytes` that is no positive integer.

    Example:

    ```python
    weights = {"scale": keras.Variable([1.0, 2.0])}
    keras_tx.checkpoints.save_weights(weights, folder, [keras_tx.checkpoints.Rule("norm.weight", "scale")])
    ```
    """
    holders = {}  # tensor names: rule, {place: path}
    for path in weights:
        rule, held = next(((rule, held) for rule in rules if (held := rule.of_weight(path))), (None, None))
        if rule is None:
            raise ValueError(f"A weight must have a rule to be saved. Received: {path}, for which there is none.")
        holders.setdefault(held[0], (rule, {}))[1][held[1]] = path
    tensors = []
    for names, (rule, paths) in holders.items():
        if len(paths) < len(rule.weights):
            raise ValueError(
                f"A tensor must get all its weights. Received: {', '.join(paths.values())} alone for tensor {names[0]!r}."
            )
        variables = [weights[paths[place]] for place in range(len(paths))]
        value = value or keras.ops.convert_to_numpy
        tensors += [_tensor(prefix + name, variables, rule, place, value) for place, name in enumerate(names)]
    write_folder(folder, tensors, files, max_shard_bytes)


def _tensor(name, variables, rule, place, value):
    dtypes = {keras.backend.standardize_dtype(variable.dtype) for variable in variables}
    shape = rule.tensor_shape([tuple(variable.shape) for variable in variables])
    received = ", ".join(f"{each.path} of shape {tuple(each.shape)} in {each.dtype}" for each in variables)
    if len(dtypes) > 1 or not dtypes <= set(_DTYPES):
        raise ValueError(
            f"The weights of a tensor must be in {', '.join(_DTYPES)}, all in the same one, to be saved. Received: {received} "
            f"for tensor {name!r}."
        )
    if shape is None:
        raise ValueError(
            f"Weights must fit their rule to be saved. Received: {received} for tensor {name!r}, whose rule has the pattern "
            f"{rule.pattern!r}."
        )

    def make():
        return rule.to_tensor([value(variable) for variable in variables], place)

    return Tensor(name, _DTYPES[dtypes.pop()], shape, make)


def _placed(array, variable):
    """Returns the array, or a tensor of which each device was given its part alone where weights are distributed."""
    distribution = keras.distribution.distribution()
    if distribution is None or keras.backend.backend() != "jax":
        return array
    return keras.distribution.distribute_tensor(array, distribution.get_variable_layout(variable))


def _check_range(name, array, variable):
    if keras.backend.standardize_dtype(variable.dtype) != "float16" or array.dtype == np.float16:
        return
    largest = np.max(np.abs(array), initial=0.0, where=np.isfinite(array))
    if largest > _FLOAT16_MAX:
        raise ValueError(
            f"A number must fit the dtype of its weight. Received: {largest:.6g} in tensor {shown(name)} for {variable.path}, "
            "in float16."
        )
