"""The vectors at some positions of a sequence."""

import keras

from ..ops import positions as places
from ..ops import token_ids
from . import input_checks
from .traced_subclasses import TracedSubclasses


@keras.saving.register_keras_serializable(package="keras_tx")
class GatherPositions(TracedSubclasses, keras.layers.Layer):
    """Takes the vectors at the given positions out of each sequence.

    y_m = x_{p_m}. What follows it, such as a product with the whole vocabulary, is then paid for these positions alone.
    A position outside the sequence is an error wherever values are known (eager calls, on every backend). Inside a
    compiled function, where nothing can be raised, it gives zeros.

    Args:
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, T, D), or (..., T, D): axes before the last two are batch, and stand for B below.
        positions: integer tensor (B, M), counted from 0; whole numbers in floats are cast.

    Returns:
        A float tensor (B, M, D). It carries no mask: how many of a row's positions count is for the loss to say, by
        sample weights.

    Raises:
        ValueError: for inputs of another rank, and positions that are no whole numbers, out of range, of another
            rank or of another batch size.

    Example:

    ```python
    x = keras.ops.reshape(keras.ops.arange(6, dtype="float32"), (1, 3, 2))
    y = keras_tx.layers.GatherPositions()(x, keras.ops.array([[2, 0]], dtype="int32"))  # [[[4, 5], [0, 1]]]
    ```

    Reference:
        Devlin et al. 2019, "BERT", section 3.1 (Task #1): only the masked tokens are predicted.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.autocast = False  # positions must reach the check as they came

    def build(self, inputs_shape, positions_shape=None):
        input_checks.hidden_size("inputs", inputs_shape, least=3)

    def call(self, inputs, positions):
        (positions,) = check(inputs, positions=positions)
        return places.gather(keras.ops.cast(inputs, self.compute_dtype), positions)

    def compute_mask(self, inputs, previous_mask):
        return None

    def compute_output_shape(self, inputs_shape, positions_shape):
        return (*inputs_shape[:-2], positions_shape[-1], inputs_shape[-1])

    def compute_output_spec(self, inputs, positions):
        check(inputs, positions=positions)
        shape = self.compute_output_shape(inputs.shape, positions.shape)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)


def check(inputs, **named_positions):
    """Returns each argument as integers; raises `ValueError` unless it holds positions (..., M) in the inputs (..., T, D)."""
    input_checks.check_float("inputs", inputs)
    if len(inputs.shape) < 3:
        raise ValueError(f"`inputs` must have at least 3 axes. Received: inputs of shape {tuple(inputs.shape)}.")
    found, (length, rank) = [], (inputs.shape[-2], len(inputs.shape) - 1)
    for name, positions in named_positions.items():
        found.append(token_ids.check(name, positions, length, rank, size_name="length", what="positions"))
        input_checks.check_same_batch(name, positions, "inputs", inputs, kept=1)
    return found
