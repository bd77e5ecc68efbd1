"""The loop over new tokens: choose, append, step, until every row has stopped. Made of `keras.ops`, so it compiles."""

from typing import Any, NamedTuple

from keras import ops

from .logits import logits_step

CHUNK = 32  # tokens of the prompt that go through the model at once
PADDING = -1  # stands in the tokens after a row has stopped


class State(NamedTuple):
    """All that one token's step hands to the next. A pytree.

    Attributes:
        caches: list of tensors: the model's caches, flat.
        logits: float32 (B, V), of the token to be chosen next.
        tokens: int32 (B, N), what was generated, `PADDING` beyond.
        count: int32 scalar, how many tokens were generated.
        tail: int32 (B, M), the last generated tokens, -1 before the first.
        done: boolean (B,), which rows have stopped.
        seen: boolean (B, V), tokens in the prompt and generated; (B, 0) where no rule asks.
        failed: boolean scalar, whether a logit was NaN.
    """

    caches: Any
    logits: Any
    tokens: Any
    count: Any
    tail: Any
    done: Any
    seen: Any
    failed: Any


def flat(caches):
    """Returns the tensors of a cache structure as a list, dicts by sorted key; empty places (`None`) are left out."""
    if caches is None:
        return []
    if isinstance(caches, dict):
        return [leaf for name in sorted(caches) for leaf in flat(caches[name])]
    if isinstance(caches, (list, tuple)):
        return [leaf for part in caches for leaf in flat(part)]
    return [caches]


def like(structure, leaves):
    """Returns the structure with its tensors replaced by those of the list, in the order of `flat`."""
    return _filled(structure, iter(leaves))


def _filled(structure, leaves):
    if structure is None:
        return None
    if isinstance(structure, dict):
        return {name: _filled(structure[name], leaves) for name in sorted(structure)}
    if isinstance(structure, (list, tuple)):
        parts = [_filled(part, leaves) for part in structure]
        return type(structure)(*parts) if hasattr(structure, "_fields") else type(structure)(parts)
    return next(leaves)


def prefill(model, caches, prompt, lengths, chunks, chunk=CHUNK):
    """Runs the prompts through the model, chunk after chunk.

    Args:
        model: functional `keras.Model`.
        caches: dict as from `init_caches`.
        prompt: int32 (B, S), each row's tokens at the end of the first `chunks * chunk` columns.
        lengths: int32 (B,), how many tokens each row has; rows of length 0 are left out.
        chunks: int32 scalar.
        chunk: int, how many tokens go through the model at once.

    Returns:
        The logits after the last token, float32 (B, V), and the caches, in which those tensors that no step changes are
        the ones that came in.
    """
    batch = ops.shape(prompt)[0]
    columns = ops.arange(chunk, dtype="int32")
    end = chunks * chunk
    before = flat(caches)
    unchanged = [False] * len(before)

    def body(index, logits, leaves):
        first = index * chunk
        ids = ops.take(prompt, first + columns, axis=1)
        mask = (first + columns)[None, :] >= (end - lengths)[:, None]
        logits, new = logits_step(model, ids, like(caches, leaves), mask, last=True)
        unchanged[:] = [old is each for old, each in zip(leaves, flat(new), strict=True)]
        return index + 1, logits, flat(new)

    vocabulary_size = model.output_shape[-1]
    start = (ops.zeros((), "int32"), ops.zeros((batch, vocabulary_size), "float32"), before)
    _, logits, leaves = ops.while_loop(lambda index, *rest: index < chunks, body, start)
    leaves = [old if same else new for old, new, same in zip(before, leaves, unchanged, strict=True)]
    return logits, like(caches, leaves)


def seen_tokens(prompt, lengths, chunks, vocabulary_size, chunk=CHUNK):
    """Returns the boolean (B, V) of the tokens in each row's prompt."""
    columns = ops.arange(prompt.shape[1], dtype="int32")[None, :]
    end = chunks * chunk
    real = ops.logical_and(columns >= (end - lengths)[:, None], columns < end)
    # Ids that are not real go to a column of their own, which is cut off.
    ids = ops.where(real, prompt, vocabulary_size)
    batch = ops.shape(prompt)[0]
    rows = ops.broadcast_to(ops.arange(batch, dtype="int32")[:, None], ops.shape(ids))
    places = ops.stack([ops.reshape(rows, (-1,)), ops.reshape(ids, (-1,))], axis=-1)
    counts = ops.scatter(places, ops.ones_like(places[:, 0]), (batch, vocabulary_size + 1))
    return counts[:, :vocabulary_size] > 0


def stopped(tail, stops):
    """Returns which rows end with a stop sequence.

    Args:
        tail: int32 (B, M), the last tokens of each row.
        stops: int32 (K, M), stop sequences at the right end, -2 to their left; a row of -3 stands for none.

    Returns:
        A boolean (B,).
    """
    fits = ops.logical_or(stops[None] == -2, stops[None] == tail[:, None])  # (B, K, M)
    return ops.any(ops.all(fits, axis=-1), axis=-1)


def begin(logits, caches, capacity, tail_length, lengths, seen):
    """Returns the state before the first token; rows with an empty prompt are done from the start."""
    batch = ops.shape(logits)[0]
    return State(
        caches=flat(caches),
        logits=logits,
        tokens=ops.full((batch, capacity), PADDING, dtype="int32"),
        count=ops.zeros((), "int32"),
        tail=ops.full((batch, tail_length), -1, dtype="int32"),
        done=lengths == 0,
        seen=seen,
        failed=ops.zeros((), "bool"),
    )


def advance(model, caches, state, sampler, settings, limit, stops, seed):
    """Generates until `limit` tokens stand in the state or every row has stopped.

    Args:
        model: functional `keras.Model`.
        caches: the structure of the caches.
        state: `State`.
        sampler: `Sampler`, not `Beam`.
        settings: dict of float scalars, `sampler.settings()`.
        limit: int32 scalar.
        stops: int32 (K, M), see `stopped`.
        seed: int32 scalar.

    Returns:
        The new `State`.
    """
    vocabulary = ops.arange(state.seen.shape[1], dtype="int32")[None, :]

    def unfinished(*values):
        state = State(*values)
        return ops.logical_and(state.count < limit, ops.logical_not(ops.logical_or(ops.all(state.done), state.failed)))

    def body(*values):
        state = State(*values)
        going = ops.logical_not(state.done)
        failed = ops.any(ops.logical_and(going[:, None], ops.isnan(state.logits)))
        chosen = sampler.choose(state.logits, settings, state.seen, ops.stack([seed, state.count]))
        chosen = ops.where(state.done, 0, ops.cast(chosen, "int32"))
        tail = ops.concatenate([state.tail[:, 1:], chosen[:, None]], axis=-1)
        seen = ops.logical_or(state.seen, ops.logical_and(chosen[:, None] == vocabulary, going[:, None]))
        logits, new = logits_step(model, chosen[:, None], like(caches, state.caches), going[:, None], last=True)
        return State(
            caches=flat(new),
            logits=logits,
            tokens=ops.slice_update(
                state.tokens,
                ops.stack([ops.zeros_like(state.count), state.count]),
                ops.where(state.done, PADDING, chosen)[:, None],
            ),
            count=state.count + 1,
            tail=tail,
            done=ops.logical_or(state.done, stopped(tail, stops)),
            seen=seen,
            failed=failed,
        )

    return State(*ops.while_loop(unfinished, body, tuple(state)))
