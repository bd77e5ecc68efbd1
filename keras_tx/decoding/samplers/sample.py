"""Drawing each token from what the model predicts."""

import dataclasses

import keras
from keras import ops

from ... import arguments
from . import rules
from .greedy import Greedy
from .sampler import Sampler


@keras.saving.register_keras_serializable(package="keras_tx")
@dataclasses.dataclass(frozen=True)
class Sample(Sampler):
    """Draws each token from the distribution that the model predicts, after the rules that are set, in this order.

    Args:
        temperature: float, 0 or above; 0 takes the likeliest token, as `Greedy` does.
        top_k: int, keep this many of the likeliest tokens, or `None`.
        top_p: float in (0, 1], keep the likeliest tokens that together reach this probability, or `None`.
        min_p: float in [0, 1], keep the tokens at least this many times as likely as the likeliest, or `None`.
        repetition_penalty: float above 0, applied first, to tokens of the prompt and those generated, or `None`.

    Raises:
        ValueError: naming the argument that is out of range.

    Example:

    ```python
    sampler = keras_tx.decoding.Sample(temperature=0.8, top_p=0.9)
    ```
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None

    def __post_init__(self):
        ranges = {
            "temperature": ("a number of at least 0", lambda x: 0 <= x < float("inf"), False),
            "top_p": ("a number in (0, 1] or None", lambda x: 0 < x <= 1, True),
            "min_p": ("a number in [0, 1] or None", lambda x: 0 <= x <= 1, True),
            "repetition_penalty": ("a number above 0 or None", lambda x: 0 < x < float("inf"), True),
        }
        self._keep(**{name: arguments.number(name, getattr(self, name), *rule) for name, rule in ranges.items()})
        self._keep(top_k=arguments.positive_int("top_k", self.top_k, optional=True))

    def settings(self):
        """Returns the numbers that a compiled loop takes as tensors, so that other values need no other compilation."""
        values = {name: getattr(self, name) for name in ("temperature", "top_p", "min_p", "repetition_penalty")}
        if self.temperature == 0:
            values = {"repetition_penalty": self.repetition_penalty}
        return {name: min(value, rules.LARGEST) for name, value in values.items() if value is not None}

    def static(self):
        """Returns what a program is compiled for: how many tokens `top_k` keeps, where it is set."""
        return {} if self.top_k is None else {"top_k": self.top_k}

    def needs_seen(self):
        """Returns whether the rules ask which tokens were seen."""
        return self.repetition_penalty is not None

    def choose(self, logits, settings, seen, seed):
        """Returns the chosen ids, int32 (B,), from float32 logits (B, V)."""
        if "repetition_penalty" in settings:
            logits = rules.repetition_penalty(logits, seen, settings["repetition_penalty"])
        if "temperature" not in settings:
            return Greedy().choose(logits, settings, seen, seed)
        # The largest at 0, however large: with the coldest temperature it alone is left.
        logits = ops.minimum(logits, -rules.EXCLUDED)
        logits = logits - ops.maximum(ops.max(logits, axis=-1, keepdims=True), rules.EXCLUDED)
        logits = rules.temperature(logits, settings["temperature"])
        if self.top_k is not None:
            logits = rules.top_k(logits, min(self.top_k, logits.shape[-1]))
        if "top_p" in settings:
            logits = rules.top_p(logits, settings["top_p"])
        if "min_p" in settings:
            logits = rules.min_p(logits, settings["min_p"])
        return rules.draw(logits, seed)
