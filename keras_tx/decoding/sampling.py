"""Rules for choosing the next token: each is a function logits -> logits, usable alone, and a sampler lines them up."""

import dataclasses

import keras
from keras import ops

from .. import arguments
from ..ops import random_bits

_EXCLUDED = -3.4028234e38  # the lowest float32
_LEAST, _MOST = 1e-30, 1e30  # XLA takes what is below the smallest normal float32 (1.2e-38) for 0


def temperature(logits, value):
    """Divides the logits (B, V) by a temperature above 0: below 1 the likely tokens gain, above 1 the others.

    A temperature outside [1e-30, 1e30] works as the nearest of these.
    """
    logits = ops.convert_to_tensor(logits)
    value = ops.clip(ops.cast(value, "float32"), _LEAST, _MOST)
    return ops.cast(ops.cast(logits, "float32") / value, logits.dtype)


def top_k(logits, k):
    """Keeps the k largest logits of each row (B, V), and those equal to the k-th; the others become the lowest float."""
    logits = ops.convert_to_tensor(logits)
    kth = ops.min(ops.top_k(logits, k, sorted=False)[0], axis=-1, keepdims=True)
    return ops.where(logits >= kth, logits, _EXCLUDED)


def top_p(logits, p):
    """Keeps the most likely tokens of each row (B, V) that together reach probability p, at least one (nucleus
    sampling).

    Reference:
        Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration", section 3.1.
    """
    logits = ops.convert_to_tensor(logits)
    descending = -ops.sort(-logits, axis=-1)
    probabilities = ops.softmax(descending, axis=-1)
    before = ops.cumsum(probabilities, axis=-1) - probabilities  # the mass of the tokens ahead of each
    # The first whatever p rounds to, and with p = 1 all whatever their sum rounds to.
    first = ops.arange(logits.shape[-1]) == 0
    keeps = ops.logical_or(ops.logical_or(before < p, first), ops.cast(p, "float32") >= 1.0)
    kept = ops.where(keeps, descending, -_EXCLUDED)
    return ops.where(logits >= ops.min(kept, axis=-1, keepdims=True), logits, _EXCLUDED)


def min_p(logits, p):
    """Keeps the tokens of each row (B, V) at least p times as likely as its likeliest.

    Reference:
        Nguyen et al. 2024, "Turning Up the Heat: Min-p Sampling", section 3.
    """
    logits = ops.convert_to_tensor(logits)
    probabilities = ops.softmax(logits, axis=-1)
    return ops.where(probabilities >= p * ops.max(probabilities, axis=-1, keepdims=True), logits, _EXCLUDED)


def repetition_penalty(logits, seen, penalty):
    """Makes tokens that were seen less likely: positive logits (B, V) are divided by the penalty, negative ones
    multiplied.

    Args:
        logits: float (B, V).
        seen: boolean (B, V), the tokens in the prompt and in what was generated.
        penalty: float above 0; 1 changes nothing. One outside [1e-30, 1e30] works as the nearest of these.

    Reference:
        Keskar et al. 2019, "CTRL", section 4.1.
    """
    logits = ops.convert_to_tensor(logits)
    penalty = ops.cast(ops.clip(ops.cast(penalty, "float32"), _LEAST, _MOST), logits.dtype)
    return ops.where(seen, ops.where(logits > 0, logits / penalty, logits * penalty), logits)


def draw(logits, seed):
    """Draws a token of each row from softmax(logits), by the Gumbel trick; equal seeds give equal tokens everywhere.

    Args:
        logits: float32 (B, V); a token whose logit is the lowest float is never drawn.
        seed: int32 (2,), such as a `Sampler` is given.

    Returns:
        The drawn ids, int32 (B,).
    """
    bits = ops.cast(random_bits.top_bits(ops.shape(logits), seed, 24), "float32")
    # Below 1, to which the largest would round: its token would be drawn whatever its logit, even one that was excluded.
    uniform = ops.minimum((bits + 0.5) * 2.0**-24, 1.0 - 2.0**-24)
    return ops.cast(ops.argmax(logits - ops.log(-ops.log(uniform)), axis=-1), "int32")


@dataclasses.dataclass(frozen=True)
class Sampler:
    """How the next token is chosen: a frozen dataclass of Python numbers, which Keras can serialize.

    A subclass with a `choose` of its own, which is made of `keras.ops` and is compiled into the loop, is taken wherever
    `Sample` is. It knows the logits of this step, which tokens were seen, and a seed; it keeps nothing from step to step.

    Example:

    ```python
    import dataclasses


    @keras.saving.register_keras_serializable(package="mine")
    @dataclasses.dataclass(frozen=True)
    class SecondBest(keras_tx.decoding.Sampler):
        def choose(self, logits, settings, seen, seed):
            return keras.ops.cast(keras.ops.top_k(logits, 2)[1][:, 1], "int32")
    ```
    """

    def settings(self):
        """Returns the numbers that a compiled loop takes as float32 tensors, by name: other values need no other compilation."""
        return {}

    def static(self):
        """Returns, by name, the hashable values that a program is compiled for: the fields that are no settings."""
        settings = self.settings()
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        static = {name: value for name, value in fields.items() if name not in settings}
        for name, value in static.items():
            try:
                hash(value)
            except TypeError as error:
                raise ValueError(
                    f"`{name}` of a sampler must be hashable, such as a number or a tuple, or among its `settings`. Received: "
                    f"{name}={value!r}."
                ) from error
        return static

    def needs_seen(self):
        """Returns whether `choose` asks which tokens were seen."""
        return False

    def choose(self, logits, settings, seen, seed):
        """Returns the chosen ids, int32 (B,).

        Args:
            logits: float32 (B, V), of the token to be chosen.
            settings: dict of float32 scalars, those of `settings()`.
            seen: boolean (B, V), tokens of the prompt and generated ones; (B, 0) unless `needs_seen()`.
            seed: int32 (2,), another at each step; `decoding.draw(logits, seed)` draws by it.
        """
        raise NotImplementedError(f"{type(self).__name__} has no `choose`.")

    def get_config(self):
        """Returns the arguments that make an equal sampler."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config):
        """Returns the sampler of a config."""
        return cls(**config)

    def _keep(self, **values):
        """Sets fields of the frozen value to what they were checked to be."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


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
        rules = {
            "temperature": ("a number of at least 0", lambda x: 0 <= x < float("inf"), False),
            "top_p": ("a number in (0, 1] or None", lambda x: 0 < x <= 1, True),
            "min_p": ("a number in [0, 1] or None", lambda x: 0 <= x <= 1, True),
            "repetition_penalty": ("a number above 0 or None", lambda x: 0 < x < float("inf"), True),
        }
        self._keep(**{name: arguments.number(name, getattr(self, name), *rule) for name, rule in rules.items()})
        self._keep(top_k=arguments.positive_int("top_k", self.top_k, optional=True))

    def settings(self):
        """Returns the numbers that a compiled loop takes as tensors, so that other values need no other compilation."""
        values = {name: getattr(self, name) for name in ("temperature", "top_p", "min_p", "repetition_penalty")}
        if self.temperature == 0:
            values = {"repetition_penalty": self.repetition_penalty}
        return {name: min(value, _MOST) for name, value in values.items() if value is not None}

    def static(self):
        """Returns what a program is compiled for: how many tokens `top_k` keeps, where it is set."""
        return {} if self.top_k is None else {"top_k": self.top_k}

    def needs_seen(self):
        """Returns whether the rules ask which tokens were seen."""
        return self.repetition_penalty is not None

    def choose(self, logits, settings, seen, seed):
        """Returns the chosen ids, int32 (B,), from float32 logits (B, V)."""
        if "repetition_penalty" in settings:
            logits = repetition_penalty(logits, seen, settings["repetition_penalty"])
        if "temperature" not in settings:
            return Greedy().choose(logits, settings, seen, seed)
        # The largest at 0, however large: with the coldest temperature it alone is left.
        logits = ops.minimum(logits, -_EXCLUDED)
        logits = logits - ops.maximum(ops.max(logits, axis=-1, keepdims=True), _EXCLUDED)
        logits = temperature(logits, settings["temperature"])
        if self.top_k is not None:
            logits = top_k(logits, min(self.top_k, logits.shape[-1]))
        if "top_p" in settings:
            logits = top_p(logits, settings["top_p"])
        if "min_p" in settings:
            logits = min_p(logits, settings["min_p"])
        return draw(logits, seed)
