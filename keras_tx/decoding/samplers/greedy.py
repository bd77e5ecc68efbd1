"""The likeliest token at each step."""

import dataclasses

import keras
from keras import ops

from .sampler import Sampler


@keras.saving.register_keras_serializable(package="keras_tx")
@dataclasses.dataclass(frozen=True)
class Greedy(Sampler):
    """Takes the likeliest token at each step.

    Example:

    ```python
    sampler = keras_tx.decoding.Greedy()
    ```
    """

    def choose(self, logits, settings, seen, seed):
        """Returns the chosen ids, int32 (B,), from float32 logits (B, V)."""
        return ops.cast(ops.argmax(logits, axis=-1), "int32")
