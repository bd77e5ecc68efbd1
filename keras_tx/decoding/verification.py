"""One step on several tokens: the model reads the one that was chosen and those that are proposed, and each row keeps what it
would have chosen.

After each token is chosen as without proposals. As far as a proposal is what was chosen it stands; the others are taken back.
"""

from typing import Any, NamedTuple

from keras import ops

from . import loop, rewinding
from .drafts.drafter import NONE
from .step import logits_step
from .stops import stopped


class Speculation(NamedTuple):
    """All that one step hands to the next. A pytree.

    Attributes:
        caches: list of tensors: the model's caches, flat.
        kept: list of tensors, what the draft keeps.
        history: int32 (B, S), each row's tokens: the prompt, what was generated, and the token chosen next.
        start: int32 (B,), how many tokens came before the generated ones.
        count: int32 (B,), how many were generated.
        done: boolean (B,), which rows have stopped.
        seen: boolean (B, V), tokens in the prompt and generated; (B, 0) where no rule asks.
        slots: int32 scalar, how many slots of the caches are in use.
        balance: float32 scalar, how many steps proposals have saved beyond what they cost.
        totals: int32 (4,): tokens, steps, proposals, and how many of these stood.
        failed: boolean scalar, whether a logit was NaN.
    """

    caches: Any
    kept: Any
    history: Any
    start: Any
    count: Any
    done: Any
    seen: Any
    slots: Any
    balance: Any
    totals: Any
    failed: Any


class Verifier:
    """The step of one program.

    Args:
        decoder: `Decoder` of the model.
        sampler: `Sampler` that chooses.
        request: `Request` of tensors.
        caches: the structure of the caches.
    """

    def __init__(self, decoder, sampler, request, caches):
        self.decoder, self.sampler, self.request, self.caches = decoder, sampler, request, caches

    def pending(self, state):
        """Returns the token of each row that was chosen and is not read yet, int32 (B,)."""
        return ops.take_along_axis(state.history, (state.start + state.count)[:, None], axis=1)[:, 0]

    def going(self, state):
        """Returns which rows go on, boolean (B,)."""
        return ops.logical_and(ops.logical_not(state.done), state.count < self.request.limit)

    def choose(self, logits, seen, counts):
        """Returns what the sampler chooses as tokens number `counts` (B, T) of the rows, int32 (B, T), as without a draft.

        Args:
            logits: float32 (B, T, V).
            seen: list of T booleans (B, V) or (B, 0).
            counts: int32 (B, T).
        """
        batch, added, size = *ops.shape(counts), logits.shape[-1]
        rows = ops.broadcast_to(ops.arange(batch, dtype="int32")[:, None], ops.shape(counts))
        seeds = ops.stack([ops.broadcast_to(self.request.seed, ops.shape(counts)), counts, rows])
        seen = ops.reshape(ops.stack(seen, axis=1), (batch * added, seen[0].shape[-1]))
        settings = self.request.settings
        flat = ops.reshape(logits, (batch * added, size))
        chosen = self.sampler.choose(flat, settings, seen, ops.reshape(seeds, (3, batch * added)))
        if len(ops.shape(chosen)) != 1:
            raise ValueError(
                f"`choose` must return one token id for each row, (B,). Received: shape {tuple(chosen.shape)} from "
                f"{type(self.sampler).__name__}."
            )
        return ops.reshape(ops.cast(chosen, "int32"), (batch, added))

    def choose_after(self, state):
        """Returns the function (logits (B, V), list of ids (B,)) -> ids (B,), what is chosen after those and the pending one."""
        pending = self.pending(state)

        def choose(logits, before):
            seen = state.seen
            for ids in (pending, *before):
                seen = _with(seen, ids)
            return self.choose(logits[:, None], [seen], (state.count + 1 + len(before))[:, None])[:, 0]

        return choose

    def step(self, state, proposals=None):
        """Reads the pending token of each row, and proposals to follow it, int32 (B, T - 1), or `None`.

        Returns the state after it, but for what the draft keeps and what is counted, and how many proposals stand, int32 (B,).
        """
        going, ids = self.going(state), self.pending(state)[:, None]
        if proposals is not None:
            if self.decoder.inputs[self.decoder.ids].reserves_zero:
                proposals = ops.where(proposals == 0, NONE, proposals)  # padding, which takes no place
            ids = ops.concatenate([ids, proposals], axis=1)
        added = ids.shape[1]
        columns = ops.arange(added, dtype="int32")[None]
        real = ops.logical_and(going[:, None], columns < (self.request.limit - state.count)[:, None])
        before = loop.like(self.caches, state.caches)
        fed = ops.where(going[:, None], ops.where(ids == NONE, 1, ids), 0)
        logits, caches = logits_step(self.decoder, fed, before, real)
        seen = [_with(state.seen, ids[:, 0])]
        for index in range(1, added):
            seen.append(_with(seen[-1], ids[:, index]))
        follows = self.choose(logits, seen, state.count[:, None] + 1 + columns)  # (B, T)

        ends = self._ends(state, ids)
        stands = ops.logical_and(follows[:, :-1] == ids[:, 1:], real[:, 1:])
        stands = ops.logical_and(stands, ops.logical_not(ends[:, :-1]))
        accepted = ops.sum(ops.cumprod(ops.cast(stands, "int32"), axis=1), axis=1)
        accepted = ops.where(going, ops.cast(accepted, "int32"), 0)
        kept = ops.where(going, accepted + 1, 0)
        caches, freed = rewinding.take_back(before, caches, added, kept, ops.sum(ops.cast(real, "int32"), axis=1))

        ended = ops.logical_and(going, ops.take_along_axis(ends, accepted[:, None], axis=1)[:, 0])
        goes_on = ops.logical_and(ops.logical_not(ended), state.count + kept < self.request.limit)
        by_which = (
            columns < ops.where(goes_on, kept, accepted)[:, None]
        )  # the tokens after which one was chosen and taken
        is_bad = ops.logical_and(ops.any(ops.isnan(logits), axis=-1), by_which)
        now_seen = state.seen
        for index, each in enumerate(seen):
            now_seen = ops.where((kept > index)[:, None], each, now_seen)
        after = state._replace(
            caches=loop.flat(caches),
            history=_written(state, follows, kept),
            count=state.count + kept,
            done=ops.logical_or(state.done, ended),
            seen=now_seen,
            slots=state.slots + added - freed,
            failed=ops.any(ops.logical_and(going[:, None], is_bad)),
        )
        return after, accepted

    def _ends(self, state, ids):
        """Returns after which of the tokens (B, T), the pending one and those after it, a row stops, boolean (B, T)."""
        stops, added = self.request.stops, ids.shape[1]
        length = stops.shape[1]
        places = state.count[:, None] + ops.arange(-(length - 1), 0, dtype="int32")[None]
        last = ops.take_along_axis(state.history, ops.maximum(state.start[:, None] + places, 0), axis=1)
        recent = ops.concatenate([ops.where(places < 0, -1, last), ids], axis=1)  # (B, M - 1 + T)
        recent = ops.stack([recent[:, index : index + length] for index in range(added)], axis=1)
        return ops.reshape(stopped(ops.reshape(recent, (-1, length)), stops), (-1, added))


def _with(seen, ids):
    """Returns the tokens seen (B, V) with the ids (B,) among them."""
    return ops.logical_or(seen, ids[:, None] == ops.arange(seen.shape[1], dtype="int32")[None])


def _written(state, follows, kept):
    """Returns the history with what was chosen, the first `kept` tokens (B,) of each row, after the pending one."""
    place = ops.arange(state.history.shape[1], dtype="int32")[None] - (state.start + state.count)[:, None] - 1
    new = ops.take_along_axis(follows, ops.clip(place, 0, follows.shape[1] - 1), axis=1)
    return ops.where(ops.logical_and(place >= 0, place < kept[:, None]), new, state.history)
