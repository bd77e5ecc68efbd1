"""The loop over new tokens: choose, append, step, until every row has stopped. Made of `keras.ops`, so it compiles."""

import keras
from keras import ops

from .samplers import Beam, Greedy, Sample
from .step import empty_caches, logits_step


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
    leaves = iter(leaves)
    if structure is None:
        return None
    if isinstance(structure, dict):
        return {name: like(structure[name], leaves) for name in sorted(structure)}
    if isinstance(structure, (list, tuple)):
        parts = [like(part, leaves) for part in structure]
        return type(structure)(*parts) if hasattr(structure, "_fields") else type(structure)(parts)
    return next(leaves)


class Step:
    """The function by which a sampler runs the model on the tokens it has chosen, see `Sampler.advance`.

    `instead` is how a loop has the model read other tokens: a function (ids (B,), real (B,)) -> (ids, real), or `None`.
    """

    def __init__(self, decoder, caches, shared=()):
        self.decoder, self.caches, self.shared, self.instead = decoder, caches, shared, None

    def __call__(self, ids, caches, real):
        if self.instead is not None:
            ids, real = self.instead(ids, real)
        logits, new = logits_step(self.decoder, ids[:, None], like(self.caches, caches), real[:, None], last=True)
        return logits, flat(new)


def generate(decoder, request, sampler, chunk, cache_dtype=None):
    """Generates for a whole request: returns what `sampler.result` does, and whether a logit was NaN, a boolean scalar."""
    request = request.as_tensors()
    batch, capacity = ops.shape(request.prompt)[0], request.prompt.shape[1]
    empty = empty_caches(decoder, batch, capacity, request.conditioning, cache_dtype)
    seen = ops.zeros((batch, 0), "bool")
    if sampler.needs_seen():
        seen = seen_tokens(request, decoder.model.output_shape[-1], chunk)
    if chunk == 1 and _begins_within(sampler):
        state = _from_one_token(decoder, empty, request, sampler, seen)
    else:
        logits, caches = prefill(decoder, empty, request, chunk)
        shared = _unchanged(empty, caches)
        state = sampler.begin(logits, flat(caches), seen, request, shared)
        state = advance(sampler, state, Step(decoder, caches, shared), request)
    return *sampler.result(state), state.failed


def _begins_within(sampler):
    """Returns whether the loop can read the prompts' only tokens itself: where something is compiled, and by a sampler that is
    known to take zeros for logits before there are any.
    """
    return type(sampler) in (Beam, Greedy, Sample) and keras.backend.backend() != "torch"


def _unchanged(before, after):
    """Returns for each tensor of caches whether a step left it as it was, a list of bools."""
    return [old is new for old, new in zip(flat(before), flat(after), strict=True)]


def _from_one_token(decoder, empty, request, sampler, seen):
    """Returns the last state for prompts of one token each. The first pass of the loop reads them, so that the model stands in
    the program, and is compiled, once.
    """
    prompt, real = request.prompt[:, 0], request.lengths > 0
    shared, rows = [False] * len(flat(empty)), 1
    logits = ops.zeros((ops.shape(prompt)[0], decoder.model.output_shape[-1]), "float32")
    if type(sampler) is Beam:  # which asks what is shared, and one step shows it; nothing of that step is computed
        _, caches = logits_step(decoder, prompt[:, None], empty, real[:, None], last=True)
        shared, rows = _unchanged(empty, caches), sampler.width
    state, step = sampler.begin(logits, flat(empty), seen, request, shared), Step(decoder, empty, shared)
    make = type(state)
    prompt, real = ops.repeat(prompt, rows), ops.repeat(real, rows)

    def body(is_first, *values):
        step.instead = lambda ids, going: (ops.where(is_first, prompt, ids), ops.where(is_first, real, going))
        before = make(*values)
        after = sampler.advance(before, step, request)
        # What was chosen before there were logits is forgotten.
        others = [name for name in make._fields if name not in ("caches", "logits")]
        kept = {name: ops.where(is_first, getattr(before, name), getattr(after, name)) for name in others}
        return ops.zeros((), "bool"), *after._replace(**kept)

    def condition(is_first, *values):
        return is_unfinished(make(*values), request)

    _, *values = ops.while_loop(condition, body, (ops.ones((), "bool"), *state))
    return make(*values)


def prefill(decoder, caches, request, chunk):
    """Runs the prompts through the model, `chunk` tokens of each at once; rows of length 0 are left out.

    Returns the logits after the last token, float32 (B, V), and the caches, in which those tensors that no step changes are
    the ones that came in.
    """
    columns = ops.arange(chunk, dtype="int32")
    end = request.chunks * chunk
    before = flat(caches)
    unchanged = [False] * len(before)

    def body(index, logits, leaves):
        first = index * chunk
        ids = ops.take(request.prompt, first + columns, axis=1)
        mask = (first + columns)[None, :] >= (end - request.lengths)[:, None]
        logits, new = logits_step(decoder, ids, like(caches, leaves), mask, last=True)
        unchanged[:] = [old is each for old, each in zip(leaves, flat(new), strict=True)]
        return index + 1, logits, flat(new)

    logits = ops.zeros((ops.shape(request.prompt)[0], decoder.model.output_shape[-1]), "float32")
    start = (ops.zeros((), "int32"), logits, before)
    _, logits, leaves = ops.while_loop(lambda index, *rest: index < request.chunks, body, start)
    leaves = [old if same else new for old, new, same in zip(before, leaves, unchanged, strict=True)]
    return logits, like(caches, leaves)


def seen_tokens(request, vocabulary_size, chunk):
    """Returns the boolean (B, V) of the tokens in each row's prompt."""
    prompt, end = request.prompt, request.chunks * chunk
    columns = ops.arange(prompt.shape[1], dtype="int32")[None, :]
    real = ops.logical_and(columns >= (end - request.lengths)[:, None], columns < end)
    # Ids that are not real go to a column of their own, which is cut off.
    ids = ops.where(real, prompt, vocabulary_size)
    batch = ops.shape(prompt)[0]
    rows = ops.broadcast_to(ops.arange(batch, dtype="int32")[:, None], ops.shape(ids))
    places = ops.stack([ops.reshape(rows, (-1,)), ops.reshape(ids, (-1,))], axis=-1)
    counts = ops.scatter(places, ops.ones_like(places[:, 0]), (batch, vocabulary_size + 1))
    return counts[:, :vocabulary_size] > 0


def advance(sampler, state, step, request):
    """Has a sampler choose until there are `request.limit` tokens, every row has stopped or a logit is NaN."""
    make = type(state)

    def body(*values):
        return tuple(sampler.advance(make(*values), step, request))

    return make(*ops.while_loop(lambda *values: is_unfinished(make(*values), request), body, tuple(state)))


def is_unfinished(state, request):
    """Returns whether a sampler has more to choose, a boolean scalar."""
    stopped = ops.logical_or(ops.all(state.done), state.failed)
    return ops.logical_and(state.count < request.limit, ops.logical_not(stopped))
