"""Models whose weights have shapes and no values yet."""

import contextlib

import keras

from .. import private_keras


@contextlib.contextmanager
def without_values():
    """Lets models be built whose weights have shapes and no values: nothing is drawn and nothing allocated.

    Such a model can be counted and its graph can be looked at; to run it, `fill` each of its variables. (Keras' own
    scope, `keras.StatelessScope(initialize_variables=False)`, keeps a list of such variables, and the next scope that
    ends gives all of them values.)

    Example:

    ```python
    with keras_tx.graph.without_values():
        model = keras_tx.applications.GPT(**keras_tx.applications.GPT_SIZES["xl"])
    model.count_params()  # 1557611200
    ```
    """
    others = list(private_keras.get_global_attribute("uninitialized_variables") or ())
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        private_keras.set_global_attribute("uninitialized_variables", others)


def fill(variable, value=None) -> None:
    """Gives a variable that was made in `without_values` its first value.

    Args:
        variable: `keras.Variable`.
        value: array of the variable's shape, or `None` for what its initializer draws.

    Raises:
        ValueError: if the variable has a value already, or `value` has another shape.
    """
    if value is not None:
        if tuple(value.shape) != tuple(variable.shape):
            raise ValueError(
                f"`value` must have the shape of the variable. Received: value of shape {tuple(value.shape)} for "
                f"{variable.path} of shape {tuple(variable.shape)}."
            )
        variable._initializer = lambda shape, dtype=None: keras.ops.convert_to_tensor(value, dtype)
    if value is not None and keras.backend.backend() == "jax" and variable._value is None:
        # Keras would compile the initializer of a large weight that is split, and no program may hold other hosts' parts.
        variable._initialize(variable._initializer(variable.shape, variable.dtype))
        variable._initializer = None
    else:
        variable._deferred_initialize()
