"""Streaming: tokens or text as they are made, and a cache that lives on between turns."""

import keras
import numpy as np
from keras import ops

from . import loop, programs
from .arguments import check_lengths, check_prompts, check_seed, check_stops, cut_batch, round_up
from .check import check_decodable, input_tensors, longest_sequence
from .sampling import Greedy, Sample
from .step import init_caches
from .text import ids_of, text_of


class Session:
    """A conversation with a model: what was said so far stays in the cache, so the next turn pays for its own tokens
    alone.

    The cache is a value that the session replaces after each turn; the model holds nothing of it, and many sessions may
    share one model. A turn's prompt takes whole chunks of the cache; when many short turns have used it up, all tokens so
    far are read again, once, without the gaps.

    Args:
        model: functional `keras.Model` from token ids (B, T) to logits (B, T, V).
        max_length: int, the most tokens of all turns together; `None` for the model's position table, or 1024 where it
            has none.

    Raises:
        ValueError: if the model cannot be decoded, or `max_length` is no positive integer or exceeds the position
            table.

    Example:

    ```python
    model = keras_tx.applications.GPT(50, 64, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
    session = keras_tx.decoding.Session(model)
    first = list(keras_tx.decoding.stream(session, [3, 4, 5], max_new_tokens=4))
    second = list(keras_tx.decoding.stream(session, [6], max_new_tokens=4))  # knows the first turn
    ```
    """

    def __init__(self, model, max_length=None):
        if isinstance(model, keras.Model) and len(getattr(model, "inputs", None) or [None]) != 1:
            raise ValueError(
                "`model` must have one input, the token ids, to be streamed; `generate` takes a context for the others. "
                f"Received: {model.name} with {len(model.inputs)} inputs."
            )
        check_decodable(model)
        self.model = model
        table = longest_sequence(model)
        self.max_length = max_length if max_length is not None else (table or 1024)
        if isinstance(self.max_length, bool) or not isinstance(self.max_length, int) or self.max_length < 1:
            raise ValueError(f"`max_length` must be a positive integer. Received: max_length={max_length!r}.")
        if table is not None and self.max_length > table:
            raise ValueError(
                "`max_length` must not exceed the model's position table. Received: "
                f"max_length={max_length}, sequence_length={table}."
            )
        # Each turn's prompt is rounded up to whole chunks: room for as many as fit in a cache of twice the length.
        _, _, self.capacity = round_up(1, self.max_length, self.max_length, loop.CHUNK)
        self.reset()

    @property
    def num_tokens(self):
        """How many tokens all turns have together, an int."""
        return len(self.ids)

    def reset(self):
        """Forgets all turns."""
        self.ids, self.slots, self.turn = [], 0, None
        self.caches = init_caches(self.model, 1, self.capacity)
        self.seen = np.zeros((1, self.model.output_shape[-1]), "bool")


def stream(model, prompt, max_new_tokens, sampler=None, stop_ids=None, seed=0, tokenizer=None, tokens_per_step=8):
    """Yields a continuation piece by piece, from a compiled step of several tokens.

    Args:
        model: functional `keras.Model`, or a `Session` that goes on from its earlier turns.
        prompt: list of token ids, or a string where a tokenizer is given; at least one token.
        max_new_tokens: int of at least 0.
        sampler: `Greedy()` (the default) or `Sample(...)`.
        stop_ids: as in `generate`. The stop is the last that is yielded, and it stays in the session.
        seed: int.
        tokenizer: keras-hub tokenizer (or anything with `tokenize` and `detokenize`), or `None` for ids.
        tokens_per_step: int, how many tokens are made between two pieces.

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
    session = model if isinstance(model, Session) else Session(model)
    sampler = Greedy() if sampler is None else sampler
    if not isinstance(sampler, (Greedy, Sample)):
        raise ValueError(f"`sampler` must be Greedy or Sample to stream. Received: sampler={sampler!r}.")
    if isinstance(tokens_per_step, bool) or not isinstance(tokens_per_step, int) or tokens_per_step < 1:
        raise ValueError(
            f"`tokens_per_step` must be a positive integer. Received: tokens_per_step={tokens_per_step!r}."
        )
    if tokenizer is not None:
        prompt = ids_of(prompt, tokenizer)
    (prompt,) = check_prompts([prompt], session.model, *input_tensors(session.model))
    check_lengths(len(prompt), max_new_tokens, None)
    _check_room(session, len(prompt), max_new_tokens)
    stops, seed = check_stops(stop_ids), check_seed(seed)
    ids = _pieces(session, prompt, max_new_tokens, sampler, stops, seed, tokens_per_step)
    return ids if tokenizer is None else _texts(ids, tokenizer)


def _check_room(session, length, max_new_tokens):
    if session.num_tokens + length + max_new_tokens > session.max_length:
        raise ValueError(
            "`prompt` and `max_new_tokens` must fit into what the session has left. Received: "
            f"a prompt of {length} tokens, max_new_tokens={max_new_tokens}, {session.num_tokens} of {session.max_length} "
            "tokens in use; `Session.reset` empties it."
        )


def _pieces(session, prompt, max_new_tokens, sampler, stops, seed, tokens_per_step):
    model, settings = session.model, sampler.settings()
    _check_room(session, len(prompt), max_new_tokens)  # again: another turn may have come in between
    session.turn = turn = object()
    if session.slots + _slots(prompt) + max_new_tokens > session.capacity:
        session.caches, session.slots = init_caches(model, 1, session.capacity), 0
        _, session.caches = _read(session, session.ids)
    structure = session.caches
    logits, caches = _read(session, prompt)
    session.ids.extend(prompt.tolist())
    session.seen[0, prompt] = True
    state = loop.begin(
        logits,
        caches,
        session.capacity,
        stops.shape[1],
        ops.convert_to_tensor(np.array([len(prompt)], "int32")),
        ops.convert_to_tensor(session.seen if sampler.needs_seen() else session.seen[:, :0]),
    )
    key = (("cache", session.capacity), ("sampler", type(sampler).__name__), ("rules", tuple(sorted(settings))))
    key += (("top_k", getattr(sampler, "top_k", None)), ("stops", stops.shape))
    settings = {name: np.float32(value) for name, value in settings.items()}
    made = 0
    while made < max_new_tokens:
        if session.turn is not turn:
            raise ValueError(
                "`model`, a session, must finish or drop one stream before it begins the next. Received: a stream that goes "
                "on after another began, or after `Session.reset`."
            )
        limit = np.int32(min(made + tokens_per_step, max_new_tokens))
        state = programs.run(model, "advance", key, _advance(sampler), tuple(state), settings, limit, stops, seed)
        state = loop.State(*state)
        session.caches = loop.like(structure, state.caches)
        if bool(ops.convert_to_numpy(state.failed)):
            raise ValueError(f"`model` must give logits that are numbers. Received: NaN from {model.name}.")
        count = int(ops.convert_to_numpy(state.count))
        piece = ops.convert_to_numpy(state.tokens)[0, made:count].tolist()
        session.ids.extend(piece)
        session.seen[0, piece] = True
        session.slots += len(piece)
        made = count
        if piece:
            yield piece
        if bool(ops.convert_to_numpy(state.done)[0]):
            break
    if session.turn is turn:
        session.caches = loop.like(structure, state.caches)


def _slots(ids):
    return -(-len(ids) // loop.CHUNK) * loop.CHUNK


def _read(session, ids):
    """Returns the logits after the last of these ids, and the session's caches with them appended."""
    end = _slots(ids)
    session.slots += end
    row = cut_batch([ids], 1, session.capacity, end)
    arguments = (row, np.array([len(ids)], "int32"), np.int32(end // loop.CHUNK))
    logits, leaves = programs.run(
        session.model, "append", (("cache", session.capacity),), _append, loop.flat(session.caches), *arguments
    )
    return logits, loop.like(session.caches, leaves)


def _append(model, leaves, prompt, length, chunks):
    caches = loop.like(init_caches_like(model), leaves)
    prompt, length, chunks = (ops.convert_to_tensor(x, dtype="int32") for x in (prompt, length, chunks))
    logits, caches = loop.prefill(model, caches, prompt, length, chunks)
    return logits, loop.flat(caches)


def _advance(sampler):
    def program(model, state, settings, limit, stops, seed):
        limit, stops, seed = (ops.convert_to_tensor(x, dtype="int32") for x in (limit, stops, seed))
        settings = {name: ops.convert_to_tensor(value) for name, value in settings.items()}
        structure = init_caches_like(model)
        state = loop.State(*state)
        return tuple(loop.advance(model, structure, state, sampler, settings, limit, stops, seed))

    return program


def init_caches_like(model):
    """Returns the structure of a model's caches, with the smallest tensors in it."""
    return init_caches(model, 1, 1)


def _texts(pieces, tokenizer):
    """Yields the text of the ids so far, less what was yielded before."""
    ids, given = [], ""
    for piece in pieces:
        ids.extend(piece)
        text = text_of(ids, tokenizer)
        # U+FFFD at the end: the bytes of a character that is not whole yet.
        whole = text.rstrip("\ufffd")
        if whole.startswith(given) and len(whole) > len(given):
            yield whole[len(given) :]
            given = whole
    text = text_of(ids, tokenizer)
    if len(text) > len(given):
        yield text[len(given) :]
