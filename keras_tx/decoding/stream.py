"""Streaming: tokens or text as they are made, and a cache that lives on between turns."""

import functools

import numpy as np
from keras import ops

from .. import arguments
from . import loop, programs, speculation
from .request import CHUNK, Request, check_lengths, check_prompts, check_seed, settings_of
from .samplers import check_sampler
from .session import Session
from .speculation import Steps, report
from .stops import check_stops, single_stops
from .text import check_starts, check_tokenizer, ids_of, is_row_of_ids, text_pieces
from .verification import Speculation


def stream(
    model,
    prompt,
    max_new_tokens,
    sampler=None,
    stop_ids=None,
    seed=0,
    tokenizer=None,
    tokens_per_step=8,
    output=None,
    draft=None,
    cache_dtype=None,
    context=None,
    pad_id=None,
):
    """Yields a continuation piece by piece, from a compiled step of several tokens.

    Args:
        model: functional `keras.Model` or built `keras.Sequential`, or a `Session` that goes on from its earlier turns, and
            takes this one up when its last piece is made.
        prompt: list of token ids, or where a tokenizer is given a string too; at least one token.
        max_new_tokens: int of at least 0.
        sampler: `Greedy()` (the default), `Sample(...)` or a `Sampler` of your own.
        stop_ids: as in `generate`. The stop is the last that is yielded, and it stays in the session.
        seed: int.
        tokenizer: keras-hub tokenizer (or anything with `tokenize` and `detokenize`), or `None` for ids.
        tokens_per_step: int, how many tokens are made between two pieces; beside a `draft` a piece has these at least.
        output: str or int, which of several outputs is decoded (see `generate`); a `Session` knows its own.
        draft: as in `generate`. A `Lookup` finds what was said in earlier turns too; the model of a `Draft` reads them anew.
        cache_dtype: as in `generate`; a `Session` knows its own.
        context: dict from the names of the other inputs to arrays, lists or strings of one row, as in `generate`; a `Session`
            knows its own.
        pad_id: int, as in `generate`, for the context, or `None` for 0; a `Session` knows its own.

    Yields:
        Lists of ids; with a tokenizer, strings, whose concatenation is the text of all the tokens. A piece that ends
        within a character is held back until the character is whole.

    Raises:
        ValueError: as `generate` does, and if the turn does not fit the session.

    Example:

    ```python
    model = keras_tx.applications.GPT(50, 64, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
    for piece in keras_tx.decoding.stream(model, [3, 4, 5], max_new_tokens=6, tokens_per_step=2):
        print(piece)  # two ids at a time
    ```
    """
    own = {"output": output, "cache_dtype": cache_dtype, "context": context, "pad_id": pad_id}
    for name, value in own.items():
        if value is not None and isinstance(model, Session):
            raise ValueError(f"`{name}` must be None for a session, which has its own. Received: {name}={value!r}.")
    own["pad_id"] = 0 if pad_id is None else pad_id
    session = model if isinstance(model, Session) else Session(model, **own, tokenizer=tokenizer)
    sampler = check_sampler(sampler, streams=True)
    tokens_per_step = arguments.positive_int("tokens_per_step", tokens_per_step)
    if tokenizer is not None:
        check_tokenizer(tokenizer)
        given, prompt = prompt, prompt if is_row_of_ids(prompt) else ids_of(prompt, tokenizer)
        if session.conditioning:
            check_starts([given], [prompt], tokenizer, single_stops(check_stops(stop_ids, tokenizer)))
    (prompt,) = check_prompts([prompt], session.decoder.inputs[session.decoder.ids])
    max_new_tokens = check_lengths(len(prompt), max_new_tokens, None)
    _check_room(session, len(prompt), max_new_tokens)
    fields = {"stops": check_stops(stop_ids, tokenizer), "seed": check_seed(seed), "settings": settings_of(sampler)}
    request = Request.of([prompt], session.capacity, conditioning=session.conditioning, **fields)
    speculation.check_draft(draft, sampler)
    speculation.check_fit(draft, session.decoder, session.num_tokens + len(prompt) + max_new_tokens, session.capacity)
    ids = _pieces(session, prompt, request, max_new_tokens, sampler, tokens_per_step, draft)
    return ids if tokenizer is None else text_pieces(ids, tokenizer)


def _check_room(session, length, max_new_tokens):
    if session.num_tokens + length + max_new_tokens > session.max_length:
        raise ValueError(
            "`prompt` and `max_new_tokens` must fit into what the session has left. Received: "
            f"a prompt of {length} tokens, max_new_tokens={max_new_tokens}, {session.num_tokens} of {session.max_length} "
            "tokens in use; `Session.reset` empties it."
        )


def _pieces(session, prompt, request, max_new_tokens, sampler, tokens_per_step, draft):
    _check_room(session, len(prompt), max_new_tokens)  # again: another turn may have come in between
    session.turn = turn = object()
    before = session.turns
    if before.slots + request.chunks * CHUNK + max_new_tokens > session.capacity:
        _, before = _read(session, session.no_turns(), before.ids)
    before = before.with_spare(0 if draft is None else draft.num_tokens)
    logits, read = _read(session, before, prompt.tolist())
    if max_new_tokens == 0:
        session.turns = read
    seen = ops.convert_to_tensor(read.seen if sampler.needs_seen() else read.seen[:, :0])
    if draft is None:
        steps = _Steps(session, request, sampler, logits, read, seen)
    else:
        request = request._replace(limit=np.int32(max_new_tokens))
        steps = _StepsWithDraft(session, request, sampler, logits, read, seen, draft)
    made, ended = 0, max_new_tokens == 0
    while not ended:
        if session.turn is not turn:
            raise ValueError(
                "`model`, a session, must finish or drop one stream before it begins the next. Received: a stream that goes "
                "on after another began, or after `Session.reset`."
            )
        new, stopped = steps.advance(min(made + tokens_per_step, max_new_tokens))
        count = len(new)
        ended = count == max_new_tokens or stopped
        if ended:
            session.turns = read.followed_by(new, loop.like(read.caches, steps.state.caches), steps.slots(read.slots))
        yield new[made:]
        made = count


class _Steps:
    """A stream's steps from piece to piece."""

    def __init__(self, session, request, sampler, logits, read, seen):
        self.session, self.request, self.sampler = session, request, sampler
        self.structure = _structure(read.caches)
        self.state = sampler.begin(logits, loop.flat(read.caches), seen, request, ())

    def advance(self, count):
        """Goes on to so many tokens; returns them, a list of ints, and whether the row has stopped."""
        make, request = type(self.state), self.request._replace(limit=np.int32(count))
        program = functools.partial(_advance, self.sampler, make, self.structure)
        key, state = request.key(self.sampler, cache_dtype=self.session.cache_dtype), tuple(self.state)
        self.state = make(*programs.run(self.session.decoder, "advance", key, program, state, request))
        self.check()
        count = int(ops.convert_to_numpy(self.state.count))
        return ops.convert_to_numpy(self.state.tokens)[0, :count].tolist(), self.has_stopped()

    def check(self):
        if bool(ops.convert_to_numpy(self.state.failed)):
            name = self.session.model.name
            raise ValueError(f"`model` must give logits that are numbers. Received: NaN from {name}.")

    def has_stopped(self):
        return bool(ops.convert_to_numpy(self.state.done)[0])

    def slots(self, before):
        """Returns how many slots of the caches the tokens have taken, of which `before` were in use."""
        return int(ops.convert_to_numpy(self.state.count))


class _StepsWithDraft(_Steps):
    """The same where a draft proposes."""

    def __init__(self, session, request, sampler, logits, read, seen, draft):
        self.session, self.request, self.sampler, self.draft = session, request, sampler, draft
        history = np.zeros((1, session.capacity), "int32")
        history[0, : len(read.ids)] = read.ids
        self.structure = _structure(read.caches)
        tensors = (history, [len(read.ids)], read.slots)
        tensors = (ops.convert_to_tensor(each, dtype="int32") for each in tensors)
        steps = Steps(session.decoder, sampler, draft, request.as_tensors(), read.caches)
        self.state = steps.begin(logits, loop.flat(read.caches), seen, *tensors)

    def advance(self, count):
        decoder, before = self.session.decoder, ops.convert_to_numpy(self.state.totals)
        key = self.request.key(self.sampler, cache_dtype=self.session.cache_dtype) + tuple(self.draft.static().items())
        program = functools.partial(_advance_with_draft, self.sampler, self.draft, self.structure)
        arguments = tuple(self.state), self.request, np.int32(count)
        others = self.draft.decoders(decoder)
        self.state = Speculation(*programs.run(decoder, "advance", key, program, *arguments, others=others))
        self.check()
        report(decoder, self.draft, ops.convert_to_numpy(self.state.totals) - before)
        first, count = (int(ops.convert_to_numpy(each)[0]) for each in (self.state.start, self.state.count))
        return ops.convert_to_numpy(self.state.history)[0, first : first + count].tolist(), self.has_stopped()

    def slots(self, before):
        return int(ops.convert_to_numpy(self.state.slots)) - before


def _read(session, turns, ids):
    """Returns the logits after the last of these ids, and the turns that they follow with them."""
    request = Request.of([ids], session.capacity)
    program = functools.partial(_append, _structure(turns.caches))
    logits, leaves = programs.run(session.decoder, "append", session.key(), program, loop.flat(turns.caches), request)
    return logits, turns.followed_by(ids, loop.like(turns.caches, leaves), int(request.chunks) * CHUNK)


def _structure(caches):
    """Returns the caches without their tensors: programs that are kept would keep those too."""
    return loop.like(caches, [True] * len(loop.flat(caches)))


def _append(structure, decoder, leaves, request):
    logits, caches = loop.prefill(decoder, loop.like(structure, leaves), request.as_tensors(), CHUNK)
    return logits, loop.flat(caches)


def _advance(sampler, make_state, structure, decoder, state, request):
    return tuple(loop.advance(sampler, make_state(*state), loop.Step(decoder, structure), request.as_tensors()))


def _advance_with_draft(sampler, draft, structure, decoder, state, request, count):
    steps = Steps(decoder, sampler, draft, request.as_tensors(), structure)
    return tuple(steps.advance(Speculation(*state), ops.convert_to_tensor(count, dtype="int32")))
