"""Beam search with a finished set: a sequence that has stopped is set aside with its score and collects nothing more."""

import dataclasses
import math
from typing import Any, NamedTuple

import keras
from keras import ops

from ... import arguments
from ..stops import PADDING, stopped
from .sampler import Sampler

NONE = -1e30
_LARGEST_DIVISOR = 1e30  # a score divided by more may be 0 in float32, and equal to any other


class BeamState(NamedTuple):
    """All that one step of the search hands to the next. A pytree. W is the width, rows are B W for the model.

    Attributes:
        caches: list of tensors, flat.
        logits: float32 (B W, V).
        scores: float32 (B, W), log P of the unfinished sequences.
        tokens: int32 (B, W, N), what they generated.
        recent_tokens: int32 (B, W, M), their last tokens.
        finished_scores: float32 (B, W), penalized, descending; `NONE` where there is none.
        finished_tokens: int32 (B, W, N), `PADDING` beyond their end.
        count: int32 scalar.
        done: boolean (B,).
        failed: boolean scalar, whether a logit was NaN.
    """

    caches: Any
    logits: Any
    scores: Any
    tokens: Any
    recent_tokens: Any
    finished_scores: Any
    finished_tokens: Any
    count: Any
    done: Any
    failed: Any


@keras.saving.register_keras_serializable(package="keras_tx")
@dataclasses.dataclass(frozen=True)
class Beam(Sampler):
    """Keeps the `width` likeliest sequences at each step, and returns the best that have finished.

    The score of a sequence of l generated tokens (its stop included) is log P / ((o + l) / (o + 1))^length_penalty with o
    the `length_offset`. A sequence finishes if it is among the `width` likeliest of its length when it stops; at the limit
    of tokens those that are left count as finished. A row ends early when no unfinished sequence can still beat its
    finished ones.

    Args:
        width: int, how many sequences are kept for each row.
        length_penalty: float from 0 to 1e30; above 0 favours longer sequences. It may divide no score by more than 1e30.
        num_return: int, how many sequences to return for each row, at most `width`.
        length_offset: float from 0 to 1e30; 0 divides log P by l^length_penalty, as `transformers` does.

    Raises:
        ValueError: naming the argument that is out of range.

    Example:

    ```python
    sampler = keras_tx.decoding.Beam(width=4, length_penalty=0.6)
    ```

    Reference:
        Wu et al. 2016, "Google's Neural Machine Translation System", section 7 (equation 14, without the coverage
        term).
    """

    streams, gives_scores = False, True

    width: int = 4
    length_penalty: float = 0.0
    num_return: int = 1
    length_offset: float = 5.0

    def __post_init__(self):
        self._keep(**{name: arguments.positive_int(name, getattr(self, name)) for name in ("width", "num_return")})
        if self.num_return > self.width:
            raise ValueError(
                f"`num_return` must not exceed `width`. Received: num_return={self.num_return}, width={self.width}."
            )
        for name in ("length_penalty", "length_offset"):
            rule = "a number from 0 to 1e30", lambda x: 0 <= x <= 1e30
            self._keep(**{name: arguments.number(name, getattr(self, name), *rule)})

    def check_limit(self, max_new_tokens):
        """Raises `ValueError` if the scores of the longest sequences are too small for float32 to tell them apart."""
        exponent = self.length_penalty * math.log10(
            max((self.length_offset + max_new_tokens) / (self.length_offset + 1), 1)
        )
        if exponent > math.log10(_LARGEST_DIVISOR):
            raise ValueError(
                "`length_penalty` must not divide a score by more than 1e30. Received: "
                f"length_penalty={self.length_penalty}, length_offset={self.length_offset}, max_new_tokens={max_new_tokens}."
            )

    def static(self):
        """Returns what a program is compiled for: how many sequences are kept."""
        return {"width": self.width}

    def settings(self):
        """Returns the numbers that a compiled search takes as tensors."""
        return {"length_penalty": self.length_penalty, "length_offset": self.length_offset}

    def begin(self, logits, caches, seen, request, shared):
        """Returns the `BeamState` before the first token, every row's caches repeated `width` times."""
        batch, width = ops.shape(logits)[0], self.width
        only_first = ops.where(ops.arange(width) == 0, 0.0, NONE)
        tokens = ops.full((batch, width, request.prompt.shape[1]), PADDING, dtype="int32")
        return BeamState(
            caches=[_by_row(leaf, batch, lambda x: ops.repeat(x, width, axis=0)) for leaf in caches],
            logits=ops.repeat(logits, width, axis=0),
            scores=ops.broadcast_to(ops.cast(only_first, "float32")[None], (batch, width)),
            tokens=tokens,
            recent_tokens=ops.full((batch, width, request.stops.shape[1]), -1, dtype="int32"),
            finished_scores=ops.full((batch, width), NONE, dtype="float32"),
            finished_tokens=tokens,
            count=ops.zeros((), "int32"),
            done=ops.equal(request.lengths, 0),
            failed=ops.zeros((), "bool"),
        )

    def advance(self, state, step, request):
        """Returns the `BeamState` after one more token of each sequence."""
        width, vocabulary_size = self.width, state.logits.shape[-1]
        # A sequence can end in as many ways as there are stops, and `width` must be left that go on.
        num_candidates = min(width * (1 + request.stops.shape[0]), width * vocabulary_size)

        def penalty(length):
            offset = request.settings["length_offset"]
            return ((offset + ops.cast(length, "float32")) / (offset + 1.0)) ** request.settings["length_penalty"]

        failed = ops.any(
            ops.logical_and(ops.logical_not(ops.repeat(state.done, width)), ops.any(ops.isnan(state.logits), -1))
        )
        log_p = ops.reshape(ops.log_softmax(state.logits), (-1, width, vocabulary_size))
        totals = ops.reshape(state.scores[..., None] + log_p, (-1, width * vocabulary_size))
        scores, places = ops.top_k(totals, num_candidates)  # (B, C)
        parents = ops.cast(places // vocabulary_size, "int32")
        chosen = ops.cast(places % vocabulary_size, "int32")
        recent = ops.concatenate([_pick(state.recent_tokens, parents)[..., 1:], chosen[..., None]], axis=-1)
        tokens = _write(_pick(state.tokens, parents), chosen, state.count)
        length = state.count + 1
        ends = stopped(ops.reshape(recent, (-1, request.stops.shape[1])), request.stops)
        ends = ops.reshape(ends, ops.shape(scores))
        is_last = length >= request.limit

        likely = ops.logical_and(scores > NONE / 2, ops.arange(num_candidates) < width)
        can_finish = ops.logical_and(ops.logical_or(ends, is_last), likely)
        ended_scores = ops.where(can_finish, scores / penalty(length), NONE)
        all_scores = ops.concatenate([state.finished_scores, ended_scores], axis=1)
        finished_scores, best = ops.top_k(all_scores, width)
        finished_tokens = _pick(ops.concatenate([state.finished_tokens, tokens], axis=1), ops.cast(best, "int32"))

        alive_scores, alive = ops.top_k(ops.where(ends, NONE, scores), width)
        alive = ops.cast(alive, "int32")
        batch = ops.shape(scores)[0]
        rows = ops.arange(batch, dtype="int32")[:, None] * width + _pick(parents, alive)
        rows = ops.reshape(rows, (-1,))
        reordered = [
            leaf if same else _by_row(leaf, batch * width, lambda x: ops.take(x, rows, axis=0))
            for leaf, same in zip(state.caches, step.shared, strict=True)
        ]
        next_ids = ops.reshape(_pick(chosen, alive), (-1,))
        going = ops.broadcast_to(ops.logical_not(state.done)[:, None], (batch, width))
        logits, caches = step(next_ids, reordered, ops.reshape(going, (-1,)))

        # Log probabilities only fall, and the largest divisor still to come raises them most.
        bound = ops.max(alive_scores, axis=1) / penalty(request.limit)
        return BeamState(
            caches=caches,
            logits=logits,
            scores=alive_scores,
            tokens=_pick(tokens, alive),
            recent_tokens=_pick(recent, alive),
            finished_scores=finished_scores,
            finished_tokens=finished_tokens,
            count=length,
            done=ops.logical_or(state.done, ops.min(finished_scores, axis=1) >= bound),
            failed=failed,
        )

    def result(self, state):
        """Returns the finished tokens (B, W, N), best first, and their scores (B, W), -inf where there is no sequence."""
        return state.finished_tokens, ops.where(state.finished_scores > NONE / 2, state.finished_scores, -float("inf"))


def _by_row(leaf, rows, function):
    """Applies the function to a cache's tensor as (rows, what belongs to each); a scalar is shared by all of them."""
    if len(leaf.shape) == 0:
        return leaf
    return ops.reshape(function(ops.reshape(leaf, (rows, -1))), (-1, *ops.shape(leaf)[1:]))


def _pick(values, indices):
    """Returns values (B, X, ...) at indices (B, Y) as (B, Y, ...)."""
    extra = len(values.shape) - 2
    indices = ops.reshape(indices, (*ops.shape(indices), *(1,) * extra))
    if extra:
        indices = ops.broadcast_to(indices, (*ops.shape(indices)[:2], *ops.shape(values)[2:]))
    return ops.take_along_axis(values, indices, axis=1)


def _write(tokens, chosen, count):
    """Returns tokens (B, C, N) with the chosen ones (B, C) at column `count`."""
    zero = ops.zeros_like(count)
    return ops.slice_update(tokens, ops.stack([zero, zero, count]), chosen[..., None])
