"""What a sampler is: how the next token is chosen, and what is kept from token to token."""

import dataclasses
from typing import Any, NamedTuple

from keras import ops

from ..stops import PADDING, stopped


class TokenState(NamedTuple):
    """All that one token's step hands to the next. A pytree, as every state of a sampler is.

    Attributes:
        caches: list of tensors: the model's caches, flat.
        logits: float32 (B, V), of the token to be chosen next.
        tokens: int32 (B, N), what was generated, `PADDING` beyond.
        count: int32 scalar, how many tokens were generated.
        recent_tokens: int32 (B, M), the last generated tokens, -1 before the first.
        done: boolean (B,), which rows have stopped.
        seen: boolean (B, V), tokens in the prompt and generated; (B, 0) where no rule asks.
        failed: boolean scalar, whether a logit was NaN.
    """

    caches: Any
    logits: Any
    tokens: Any
    count: Any
    recent_tokens: Any
    done: Any
    seen: Any
    failed: Any


@dataclasses.dataclass(frozen=True)
class Sampler:
    """How the next token is chosen: a frozen dataclass of Python numbers, which Keras can serialize.

    A subclass with a `choose` of its own, which is made of `keras.ops` and is compiled into the loop, is taken wherever
    `Sample` is. It knows the logits of this step, which tokens were seen, and a seed. One that keeps more from step to step
    has a state of its own: a `NamedTuple` of tensors, made by `begin`, handed on by `advance` and read by `result`, with
    `count`, `done` and `failed` as in `TokenState`, and with its `tokens` where it `streams`.

    Attributes:
        streams: bool, whether a token stays once it is chosen, so that `stream` can yield it.
        gives_scores: bool, whether `generate` may return scores.
        num_return: int, R, how many sequences there are for each row.

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

    streams, gives_scores, num_return = True, False, 1

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
            seed: int32 (2,), another at each step; `decoding.draw(logits, seed)` draws by it. Beside a `draft` (3, B): the
                same in a column for each row, which are at steps of their own then, and the row's place in the batch.
        """
        raise NotImplementedError(f"{type(self).__name__} has no `choose`.")

    def check_limit(self, max_new_tokens):
        """Raises `ValueError` if the sampler cannot choose as many tokens."""

    def begin(self, logits, caches, seen, request, shared):
        """Returns the state before the first token; rows with an empty prompt are done from the start.

        Args:
            logits: float32 (B, V), after the prompts.
            caches: list of tensors, whose first axis is B times a size of their own, or scalars.
            seen: boolean (B, V), or (B, 0) unless `needs_seen()`.
            request: `Request` of arrays or tensors.
            shared: list of bools, which of the caches no step changes.
        """
        batch = ops.shape(logits)[0]
        return TokenState(
            caches=caches,
            logits=logits,
            tokens=ops.full((batch, request.prompt.shape[1]), PADDING, dtype="int32"),
            count=ops.zeros((), "int32"),
            recent_tokens=ops.full((batch, request.stops.shape[1]), -1, dtype="int32"),
            done=ops.equal(request.lengths, 0),
            seen=seen,
            failed=ops.zeros((), "bool"),
        )

    def advance(self, state, step, request):
        """Returns the state after one more token.

        Args:
            state: as from `begin`, or from the step before.
            step: function (ids (B,), caches, real (B,)) -> (logits (B, V), caches) that runs the model on the chosen tokens;
                ids that are not real take no place in the caches. `step.shared` is what `begin` is told.
            request: `Request` of tensors.
        """
        going = ops.logical_not(state.done)
        failed = ops.any(ops.logical_and(going[:, None], ops.isnan(state.logits)))
        chosen = self.choose(state.logits, request.settings, state.seen, ops.stack([request.seed, state.count]))
        if len(ops.shape(chosen)) != 1:
            raise ValueError(
                f"`choose` must return one token id for each row, (B,). Received: shape {tuple(chosen.shape)} from "
                f"{type(self).__name__}."
            )
        chosen = ops.where(state.done, 0, ops.cast(chosen, "int32"))
        recent_tokens = ops.concatenate([state.recent_tokens[:, 1:], chosen[:, None]], axis=-1)
        vocabulary = ops.arange(state.seen.shape[1], dtype="int32")[None, :]
        seen = ops.logical_or(state.seen, ops.logical_and(chosen[:, None] == vocabulary, going[:, None]))
        logits, caches = step(chosen, state.caches, going)
        return state._replace(
            caches=caches,
            logits=logits,
            tokens=ops.slice_update(
                state.tokens,
                ops.stack([ops.zeros_like(state.count), state.count]),
                ops.where(state.done, PADDING, chosen)[:, None],
            ),
            count=state.count + 1,
            recent_tokens=recent_tokens,
            done=ops.logical_or(state.done, stopped(recent_tokens, request.stops)),
            seen=seen,
            failed=failed,
        )

    def result(self, state):
        """Returns tokens (B, R, N), `PADDING` after a stop, and their scores (B, R), -inf where there is no sequence."""
        return state.tokens[:, None], ops.zeros((ops.shape(state.tokens)[0], 1), "float32")

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
