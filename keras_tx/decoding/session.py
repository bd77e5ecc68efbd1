"""A cache that lives on between turns."""

import functools
from typing import Any, NamedTuple

import numpy as np

from .. import arguments
from . import programs
from .check import check
from .conditioning import check_conditioning, check_names
from .decoder import Decoder
from .request import CHUNK, cache_size, check_pad, shapes_of
from .rewinding import with_spare_slots
from .step import empty_caches


class Turns(NamedTuple):
    """What a session knows of its turns. One value: a session goes from one to the next in a single assignment.

    Attributes:
        ids: tuple of ints, the tokens of all turns.
        seen: boolean array (1, V), which tokens those are.
        caches: the model's caches, which hold the same tokens.
        slots: int, how much of the caches is in use, padding included.
        spare: int, how many tokens may be taken back of the caches at once, for drafts.
    """

    ids: tuple
    seen: Any
    caches: Any
    slots: int
    spare: int = 0

    def followed_by(self, ids, caches, slots):
        """Returns what is known when the tokens `ids` have followed, `caches` hold them, and `slots` more are in use."""
        seen = self.seen.copy()
        seen[0, ids] = True
        return Turns((*self.ids, *ids), seen, caches, self.slots + slots, self.spare)

    def with_spare(self, spare):
        """Returns the same with caches of which so many tokens may be taken back at once."""
        more = spare - self.spare
        return self if more <= 0 else self._replace(caches=with_spare_slots(self.caches, more), spare=spare)


class Session:
    """A conversation with a model: what was said so far stays in the cache, so the next turn pays for its own tokens
    alone.

    The cache is a value that the session replaces after each turn; the model holds nothing of it, and many sessions may
    share one model. A turn's prompt takes whole chunks of the cache; when many short turns have used it up, all tokens so
    far are read again, once, without the gaps.

    A turn, its prompt and its answer, is taken up whole or not at all: when its last piece is made, just before that is
    handed out. Until then `ids`, `num_tokens` and the cache are those of the turns before, and they stay so whatever ends
    the turn: an interrupt, an error of the model or of whoever takes the pieces, or a stream that is closed or dropped.

    Args:
        model: functional `keras.Model` or built `keras.Sequential` from token ids (B, T), and what else is given as `context`,
            to logits (B, T, V), or to probabilities.
        max_length: int, the most tokens of all turns together; `None` for the model's position table, or 1024 where it
            has none.
        output: str or int, which of several outputs is decoded (see `generate`).
        cache_dtype: "int8" or `None`, how keys and values are held (see `generate`).
        context: dict from the names of the other inputs to arrays, or lists, of one row, as in `generate`, or `None`. What
            depends on it alone, such as an encoder, runs when the session is made, and again only after a `reset`.
        pad_id: int, as in `generate`, for the context.
        tokenizer: keras-hub tokenizer, or anything with `tokenize` and `detokenize`, for strings in the context, or `None`.

    Raises:
        ValueError: if the model cannot be decoded, or `max_length` is no positive integer or exceeds the position
            table, and for a `cache_dtype` and a `context` as `generate` does.

    Example:

    ```python
    model = keras_tx.applications.GPT(50, 64, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
    session = keras_tx.decoding.Session(model)
    first = list(keras_tx.decoding.stream(session, [3, 4, 5], max_new_tokens=4))
    second = list(keras_tx.decoding.stream(session, [6], max_new_tokens=4))  # knows the first turn
    ```
    """

    def __init__(self, model, max_length=None, output=None, cache_dtype=None, context=None, pad_id=0, tokenizer=None):
        context = check_names(context)
        self.decoder = Decoder.of(model, output, context)
        self.conditioning = check_conditioning(self.decoder, context, 1, check_pad(pad_id), tokenizer)
        check(self.decoder)
        self.model, table = self.decoder.model, self.decoder.longest_sequence
        self.max_length = max_length if max_length is not None else (table or 1024)
        self.max_length = arguments.positive_int("max_length", self.max_length)
        if table is not None and self.max_length > table:
            raise ValueError(
                "`max_length` must not exceed the model's position table. Received: "
                f"max_length={max_length}, sequence_length={table}."
            )
        # Each turn's prompt is rounded up to whole chunks: room for as many as fit in a cache of twice the length.
        self.capacity = cache_size(self.max_length, self.max_length, CHUNK)
        self.cache_dtype = cache_dtype
        self.reset()

    @property
    def ids(self):
        """The tokens of all turns that were taken up, a list of ints."""
        return list(self.turns.ids)

    @property
    def num_tokens(self):
        """How many tokens those turns have together, an int."""
        return len(self.turns.ids)

    @property
    def slots(self):
        """How much of the cache they take, an int: prompts are rounded up to whole chunks."""
        return self.turns.slots

    def reset(self):
        """Forgets all turns."""
        self.turn, self.turns = None, self.no_turns()

    def no_turns(self):
        """Returns what is known before the first turn."""
        seen = np.zeros((1, self.model.output_shape[-1]), "bool")
        program = functools.partial(_empty, self.capacity, self.cache_dtype)
        if self.conditioning:
            caches = programs.run(self.decoder, "read context", self.key(), program, self.conditioning)
        else:
            caches = program(self.decoder, {})
        return Turns((), seen, caches, 0)

    def key(self):
        """Returns what the programs of the session depend on: pairs of name and value."""
        held = () if self.cache_dtype is None else (("cache_dtype", self.cache_dtype),)
        return (("cache", self.capacity), *shapes_of(self.conditioning), *held)


def _empty(capacity, cache_dtype, decoder, conditioning):
    return empty_caches(decoder, 1, capacity, conditioning, cache_dtype)
