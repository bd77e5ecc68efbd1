"""The private names of Keras that the package uses, looked up in one place, so that a Keras without them says so at import."""

import keras

# `make test-oldest` ran with the first of these, the tests of every change run with the last.
TRIED = "3.14 to 3.15"

try:
    from keras.src.backend import get_keras_mask, set_keras_mask
    from keras.src.backend.common.global_state import get_global_attribute, set_global_attribute
    from keras.src.backend.common.symbolic_scope import in_symbolic_scope
    from keras.src.backend.common.variables import AutocastScope
    from keras.src.models.functional import Functional

    for _owner, _names in (
        (keras.Layer, ("_flatten_layers", "_set_mask_metadata")),
        (Functional, ("_standardize_inputs",)),
        (keras.Variable, ("_deferred_initialize", "_initialize")),
    ):
        for _name in _names:
            getattr(_owner, _name)
except (ImportError, AttributeError) as error:
    raise ImportError(
        f"keras_tx uses private names of Keras, and was tried with Keras {TRIED}. Received: Keras {keras.__version__}, where one "
        f"is missing: {error}. Install a Keras that it was tried with."
    ) from error

__all__ = [
    "AutocastScope",
    "get_global_attribute",
    "get_keras_mask",
    "in_symbolic_scope",
    "set_global_attribute",
    "set_keras_mask",
]
