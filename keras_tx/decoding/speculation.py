"""Several tokens a step: the loop in which a draft proposes, and which goes on without it where that does not pay."""

import collections

from keras import ops

from . import loop, rewinding
from .drafts.drafter import NONE, Drafter
from .samplers.sampler import Sampler
from .step import empty_caches
from .stops import PADDING
from .verification import Speculation, Verifier

# What a step on several tokens costs more than one on one token, measured with GPT-2 small on a CPU: that there are several, and
# each of them.
_SEVERAL, _EACH = 0.7, 0.1
# How many steps proposals may cost that fail, as a share of the tokens so far, and how many failures in a row may use up what was
# saved before.
_SHARE, _FAILURES = 0.03, 3.0
_MANY = 2**30

_reports = collections.defaultdict(collections.Counter)


def check_draft(draft, sampler):
    """Raises `ValueError` for an object that is no draft, and for a sampler that does not choose by `choose` alone."""
    if draft is None:
        return
    if not isinstance(draft, Drafter):
        raise ValueError(f"`draft` must be a Lookup, a Draft or None. Received: draft={draft!r}.")
    own = [
        name for name in ("begin", "advance", "result") if getattr(type(sampler), name) is not getattr(Sampler, name)
    ]
    if own:
        raise ValueError(
            "`sampler` must choose each token by `choose` alone beside a `draft`, as Greedy and Sample do and Beam does not. "
            f"Received: sampler={sampler!r}, which has a `{own[0]}` of its own, draft={draft!r}."
        )


def check_fit(draft, decoder, longest, capacity=None):
    """Raises `ValueError` unless a draft can propose to a `Decoder`'s model.

    `longest` is the most tokens that a row will have, and `capacity` the slots of the caches, where they are made already.
    """
    if draft is None:
        return
    if capacity is not None and longest + draft.num_tokens + 1 > capacity:
        raise ValueError(
            "`num_tokens` of a `draft` must leave room for what a session holds. Received: "
            f"num_tokens={draft.num_tokens}, {longest} tokens, a cache of {capacity}."
        )
    rewinding.check(decoder)
    draft.check(decoder, longest)


def draft_report() -> dict[str, dict[str, int]]:
    """Tells what became of proposals in this process.

    Returns:
        Dict from a line that names the model and the draft to counts: "tokens" that were generated, in how many "steps", how many
        tokens were "proposed", and how many of those were "accepted". Their quotient is the acceptance rate; tokens over steps
        says how many tokens a step gave. Rows of a batch share its steps.

    Example:

    ```python
    model = keras_tx.applications.GPT(50, 64, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16, name="small")
    tokens = keras_tx.decoding.generate(model, [[3, 4, 5, 3, 4]], 8, draft=keras_tx.decoding.Lookup())
    counts = keras_tx.decoding.draft_report()["small: Lookup"]
    ```
    """
    return {line: dict(counts) for line, counts in _reports.items()}


def reading_cost(rows, num_tokens):
    """Returns what it takes to read so many tokens of each row in a step, in steps on one token of each."""

    def cost(count):
        return 1.0 + ops.where(count > 1, _SEVERAL, 0.0) + _EACH * (ops.cast(count, "float32") - 1.0)

    return cost(rows * num_tokens) / cost(rows)


def report(decoder, draft, totals):
    """Adds the totals of a `Speculation`, numpy (4,), to what `draft_report` tells."""
    names = ("tokens", "steps", "proposed", "accepted")
    counts = {name: int(number) for name, number in zip(names, totals, strict=True)}
    _reports[f"{decoder.model.name}: {type(draft).__name__}"].update(counts)


def generate(decoder, request, sampler, chunk, draft, cache_dtype=None):
    """Does what `loop.generate` does, with a draft, and returns the totals of the `Speculation` too."""
    request = request.as_tensors()
    batch, capacity = ops.shape(request.prompt)[0], request.prompt.shape[1]
    empty = empty_caches(decoder, batch, capacity, request.conditioning, cache_dtype)
    empty = rewinding.with_spare_slots(empty, draft.num_tokens)
    seen = ops.zeros((batch, 0), "bool")
    if sampler.needs_seen():
        seen = loop.seen_tokens(request, decoder.model.output_shape[-1], chunk)
    logits, caches = loop.prefill(decoder, empty, request, chunk)
    shared = [old is new for old, new in zip(loop.flat(empty), loop.flat(caches), strict=True)]
    steps = Steps(decoder, sampler, draft, request, caches, shared)
    end = request.chunks * chunk
    columns = ops.arange(capacity, dtype="int32")[None] + (end - request.lengths)[:, None]
    history = ops.take_along_axis(request.prompt, ops.minimum(columns, capacity - 1), axis=1)
    state = steps.begin(logits, loop.flat(caches), seen, history, request.lengths, end)
    state = steps.advance(state, request.limit)
    return steps.tokens(state)[:, None], ops.zeros((batch, 1), "float32"), state.failed, state.totals


class Steps:
    """The steps of one program.

    Args:
        decoder: `Decoder` of the model.
        sampler: `Sampler` that chooses.
        draft: `Drafter` that proposes.
        request: `Request` of tensors.
        caches: the structure of the caches.
        shared: list of bools, which of their tensors no step changes, or `None`.
    """

    def __init__(self, decoder, sampler, draft, request, caches, shared=None):
        self.verifier, self.limit = Verifier(decoder, sampler, request, caches), request.limit
        self.caches, self.shared, self.lengths = caches, shared, request.lengths
        self.batch, self.capacity = ops.shape(request.prompt)[0], request.prompt.shape[1]
        self.proposer = draft.proposer(decoder, self.batch, self.capacity, request.conditioning)
        self.most = 1 + draft.num_tokens
        # Of a step with proposals, in steps without.
        self.cost = reading_cost(ops.convert_to_tensor(self.batch, dtype="int32"), self.most) + draft.cost(decoder)

    def begin(self, logits, leaves, seen, history, start, slots):
        """Returns the `Speculation` before the first token.

        Args:
            logits: float32 (B, V), after the prompts.
            leaves: list of tensors, the caches.
            seen: boolean (B, V), or (B, 0).
            history: int32 (B, S), the tokens of each row from the left.
            start: int32 (B,), how many these are.
            slots: int32 scalar, how many slots of the caches are in use.
        """
        done, zeros = ops.equal(self.lengths, 0), ops.zeros((self.batch,), "int32")
        chosen = self.verifier.choose(logits[:, None], [seen], zeros[:, None])
        here = ops.arange(self.capacity, dtype="int32")[None] == start[:, None]
        return Speculation(
            caches=rewinding.without_constants(leaves, self.limit),
            kept=rewinding.without_constants(self.proposer.begun(), self.limit),
            history=ops.where(here, chosen, history),
            start=start,
            count=zeros,
            done=done,
            seen=seen,
            slots=slots,
            balance=ops.zeros((), "float32"),
            totals=ops.zeros((4,), "int32"),
            failed=ops.any(ops.logical_and(ops.logical_not(done)[:, None], ops.isnan(logits))),
        )

    def advance(self, state, pause):
        """Goes on until each row has `pause` tokens or more, or has stopped, or a logit is NaN."""

        def is_unfinished(state):
            going = ops.logical_and(ops.logical_not(state.done), state.count < pause)
            return ops.logical_and(ops.any(going), ops.logical_not(state.failed))

        def condition(proposes, needed):
            def holds(*values):
                state = Speculation(*values)
                wanted = self._proposes(state)
                wanted = wanted if proposes else ops.logical_not(wanted)
                has_room = state.slots + needed <= self.capacity
                return ops.logical_and(is_unfinished(state), ops.logical_and(wanted, has_room))

            return holds

        def body(*values):
            state = Speculation(*values)
            most = ops.max(state.start + state.count)
            free = self.most, self.capacity, self.shared
            slots, leaves = rewinding.make_room(self.caches, state.slots, state.caches, most, *free)
            values = tuple(state._replace(caches=leaves, slots=slots))
            # Of two loops in a row one or the other has turns: a branch would have XLA copy the caches.
            values = ops.while_loop(condition(True, self.most), self._with_proposals, tuple(values))
            return tuple(ops.while_loop(condition(False, 1), self._alone, tuple(values)))

        return Speculation(*ops.while_loop(lambda *values: is_unfinished(Speculation(*values)), body, tuple(state)))

    def tokens(self, state):
        """Returns the generated tokens (B, S), `PADDING` beyond."""
        columns = ops.arange(self.capacity, dtype="int32")[None]
        places = ops.minimum(state.start[:, None] + columns, self.capacity - 1)
        return ops.where(columns < state.count[:, None], ops.take_along_axis(state.history, places, axis=1), PADDING)

    def _proposes(self, state):
        """Whether the next step has proposals: there are some, and it may cost what it costs if they fail."""
        sure = state.balance < self.cost - 1.0  # not yet paid for by those before
        ready = self.proposer.is_ready(state.history, state.start + state.count + 1, sure)
        ready = ops.any(ops.logical_and(ready, self.verifier.going(state)))
        return ops.logical_and(ready, state.balance >= 0.0)

    def _with_proposals(self, *values):
        state = Speculation(*values)
        going, length = self.verifier.going(state), state.start + state.count + 1
        rows = state.history, length, going, state.start + self.limit
        proposals, settle = self.proposer.propose(state.kept, *rows, self.verifier.choose_after(state))
        after, accepted = self.verifier.step(state, proposals)
        proposed = ops.cast(ops.logical_and(going[:, None], proposals != NONE), "int32")
        after = self._counted(state, after, self.cost, ops.sum(proposed), ops.sum(accepted))
        return tuple(after._replace(kept=settle(accepted)))

    def _alone(self, *values):
        state = Speculation(*values)
        after, _ = self.verifier.step(state)
        return tuple(self._counted(state, after, 1.0, 0, 0))

    def _counted(self, state, after, cost, proposed, accepted):
        """Returns the state with its totals, and the balance: a step may cost as much as the slowest row gained by it."""
        going = self.verifier.going(state)
        before, now = (ops.min(ops.where(going, each.count, _MANY)) for each in (state, after))
        gained = ops.cast(now - before, "float32") * (1.0 + _SHARE)
        tokens = ops.sum(after.count - state.count)
        new = [ops.cast(each, "int32") for each in (tokens, 1, proposed, accepted)]
        return after._replace(
            balance=ops.minimum(state.balance + gained - cost, _FAILURES * (self.cost - 1.0)),
            totals=state.totals + ops.stack(new),
        )
