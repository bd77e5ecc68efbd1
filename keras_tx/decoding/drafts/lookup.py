"""Proposals from the text itself: what followed the same tokens before."""

import dataclasses

import keras
from keras import ops

from ... import arguments
from .drafter import NONE, Drafter


@keras.saving.register_keras_serializable(package="keras_tx")
@dataclasses.dataclass(frozen=True)
class Lookup(Drafter):
    """Proposes what followed the same tokens earlier in the text, in the prompt or in what was generated.

    The last tokens of a row, as many as match and at most `max_ngram`, are looked for in all that stands before them. What
    followed their latest occurrence is proposed, and where that reaches the end of the text it goes on with itself, as a text
    does that runs in a circle. It costs nothing beside the model's step, so it pays for edits, code, and answers that quote.

    Args:
        max_ngram: int, how many of the last tokens have to be the same, at most. While proposals do not pay, this many.
        num_tokens: int, how many tokens are proposed at once.

    Raises:
        ValueError: unless both are integers of at least 1.

    Example:

    ```python
    model = keras_tx.applications.GPT(50, 64, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
    tokens = keras_tx.decoding.generate(model, [[3, 4, 5, 3, 4]], 8, draft=keras_tx.decoding.Lookup(num_tokens=4))
    ```

    Reference:
        Saxena 2023, "Prompt Lookup Decoding"; Yang et al. 2023, "Inference with Reference: Lossless Acceleration of Large
        Language Models".
    """

    max_ngram: int = 3
    num_tokens: int = 10

    def __post_init__(self):
        for name in ("max_ngram", "num_tokens"):
            object.__setattr__(self, name, arguments.positive_int(name, getattr(self, name)))

    def static(self):
        """Returns what a program is compiled for: both numbers."""
        return {**super().static(), "max_ngram": self.max_ngram}

    def is_ready(self, history, lengths, sure):
        """Returns which rows have an earlier occurrence of their last tokens; of `max_ngram` of them, where `sure`."""
        _, size = self._find(history, lengths)
        return size >= ops.where(sure, self.max_ngram, 1)

    def propose(self, kept, history, lengths, going, limits, choose):
        """Returns what followed the latest of the longest occurrences, int32 (B, k); nothing is kept."""
        place, size = self._find(history, lengths)
        period = ops.maximum(lengths - 1 - place, 1)[:, None]
        places = place[:, None] + 1 + ops.mod(ops.arange(self.num_tokens, dtype="int32")[None], period)
        found = ops.take_along_axis(history, ops.minimum(places, history.shape[1] - 1), axis=1)
        return ops.where(size[:, None] > 0, found, NONE), lambda accepted: kept

    def _find(self, history, lengths):
        """Returns where the longest occurrence ends, the latest of several, and how long it is: int32 (B,) each."""
        columns, last = ops.arange(history.shape[1], dtype="int32")[None], lengths[:, None] - 1
        same, size = columns < last, ops.zeros_like(history)
        for back in range(self.max_ngram):
            token = ops.take_along_axis(history, ops.maximum(last - back, 0), axis=1)  # (B, 1)
            before = ops.pad(history, [(0, 0), (back, 0)], constant_values=NONE)[:, : history.shape[1]]
            same = ops.logical_and(same, ops.logical_and(before == token, last >= back))
            size = size + ops.cast(same, "int32")
        place = ops.argmax(size * history.shape[1] + columns, axis=1)
        place = ops.cast(place, "int32")
        return place, ops.take_along_axis(size, place[:, None], axis=1)[:, 0]

    def get_config(self):
        """Returns the arguments that make an equal lookup."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config):
        """Returns the lookup of a config."""
        return cls(**config)
