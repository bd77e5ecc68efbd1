"""What generation is given, checked, and rounded up to the few sizes that programs are compiled for."""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from .. import arguments

CHUNK = 32  # tokens of a longer prompt that go through the model at once
_SMALLEST_CACHE, _SMALLEST_CACHE_AFTER_ONE = 256, 32


def check_prompts(prompts, known, may_be_empty=()):
    """Returns the prompts as int32 arrays; raises `ValueError` for ids that their `Input` has not, and for an empty prompt.

    `may_be_empty` are the indices of those that may.
    """
    size, checked = known.vocabulary_size, []
    for index, row in enumerate(prompts):
        if isinstance(row, str):
            raise ValueError(
                "`prompts` must be rows of at least one token id, or strings beside a `tokenizer`. "
                f"Received: {row!r} in row {index}, and no tokenizer."
            )
        ids = np.asarray(ops.convert_to_numpy(row) if ops.is_tensor(row) else row)
        if ids.shape == (0,) and index in may_be_empty:
            checked.append(ids.astype("int32"))
            continue
        if ids.ndim != 1 or ids.size == 0:
            raise ValueError(f"`prompts` must be rows of at least one token id. Received: {row!r} in row {index}.")
        if ids.dtype.kind not in "iu":
            raise ValueError(f"`prompts` must hold integer token ids. Received: dtype {ids.dtype} in row {index}.")
        if ids.min() < 0 or (size is not None and ids.max() >= size):
            raise ValueError(
                "`prompts` must hold token ids in [0, vocabulary_size). Received: ids from "
                f"{ids.min()} to {ids.max()} in row {index}, with vocabulary_size={size}."
            )
        if known.reserves_zero and (ids == 0).any():
            raise ValueError(
                "`prompts` must hold no padding, id 0 in a model with mask_zero=True: give rows of unequal length as lists. "
                f"Received: 0 in row {index}."
            )
        checked.append(ids.astype("int32"))
    return checked


def check_lengths(longest_prompt, max_new_tokens, longest_sequence):
    """Returns `max_new_tokens` as an int; raises `ValueError` unless prompts and new tokens fit the position table."""
    max_new_tokens = arguments.integer("max_new_tokens", max_new_tokens, least=0)
    if longest_sequence is not None and longest_prompt + max_new_tokens > longest_sequence:
        raise ValueError(
            "`max_new_tokens` and the longest prompt together must not exceed the model's position table. Received: "
            f"max_new_tokens={max_new_tokens}, a prompt of {longest_prompt} tokens, sequence_length={longest_sequence}."
        )
    return max_new_tokens


def check_seed(seed):
    """Returns the seed as an int32; raises `ValueError` unless it is an integer."""
    return np.uint32(arguments.integer("seed", seed) % 2**32).astype("int32")


def check_pad(pad_id):
    """Returns the padding id; raises `ValueError` unless it is an integer of 32 bits."""
    return arguments.integer("pad_id", pad_id, least=-(2**31), most=2**31 - 1)


class Request(NamedTuple):
    """What one call of generation asks of a model, rounded up to a few sizes: a pytree, all of it tensors of a program.

    Attributes:
        prompt: int32 (B, S), S the size of the caches: each row's tokens at the end of the first `chunks` chunks.
        lengths: int32 (B,), how many tokens each row's prompt has.
        chunks: int32 scalar, how many chunks of the prompt go through the model, one after the other.
        limit: int32 scalar, the most new tokens of a row.
        stops: int32 (K, M), stop sequences as from `check_stops`.
        seed: int32 scalar.
        settings: dict of float32 scalars, the sampler's numbers.
        conditioning: dict from the name of each other input to what the model is given there, (B, ...).
    """

    prompt: Any
    lengths: Any
    chunks: Any
    limit: Any = ()
    stops: Any = ()
    seed: Any = ()
    settings: Any = {}
    conditioning: Any = {}

    @classmethod
    def rounded(cls, prompts, max_new_tokens, stops, seed, sampler, conditioning, draft=None):
        """Returns the request of a whole batch of prompts, and how many of their tokens go through the model at once."""
        longest = max(len(prompt) for prompt in prompts)
        rows, chunk = 1 if len(prompts) == 1 else next_multiple(len(prompts), 4), chunk_of(longest)
        fields = {"limit": np.int32(max_new_tokens), "stops": stops, "seed": seed, "settings": settings_of(sampler)}
        fields["conditioning"] = {
            name: np.concatenate([array, np.repeat(array[-1:], rows - len(array), axis=0)])
            for name, array in conditioning.items()
        }
        held = cache_size(longest, room_beside(draft, max_new_tokens, rows), chunk)
        return cls.of(prompts, held, chunk, rows, **fields), chunk

    @classmethod
    def of(cls, prompts, capacity, chunk=CHUNK, rows=1, **fields):
        """Returns the request for prompts, arrays of ids (T,), and as many empty ones as fill `rows` up."""
        lengths = np.array([len(prompt) for prompt in prompts] + [0] * (rows - len(prompts)), "int32")
        chunks = -(-int(lengths.max()) // chunk)
        array = np.zeros((rows, capacity), "int32")
        for row, prompt in zip(array, prompts, strict=False):
            row[chunks * chunk - len(prompt) : chunks * chunk] = prompt
        return cls(array, lengths, np.int32(chunks), **fields)

    def key(self, sampler, **options):
        """Returns what a program for this request and sampler depends on beside the values in it: pairs of name and value, those
        of the options that are not `None` among them.
        """
        batch, cache = self.prompt.shape
        sizes = ("batch", batch), ("cache", cache), ("sampler", type(sampler)), ("rules", tuple(sorted(self.settings)))
        options = ((name, value) for name, value in options.items() if value is not None)
        return (*sizes, *sampler.static().items(), ("stops", self.stops.shape), *shapes_of(self.conditioning), *options)

    def as_tensors(self):
        """Returns the request with tensors in place of arrays and numbers."""
        integers = (ops.convert_to_tensor(value, dtype="int32") for value in self[:-2])
        dicts = ({name: ops.convert_to_tensor(value) for name, value in values.items()} for values in self[-2:])
        return Request(*integers, *dicts)


def shapes_of(conditioning):
    """Returns what programs depend on of a conditioning: pairs of name and shape, a tuple."""
    return tuple((name, array.shape) for name, array in sorted(conditioning.items()))


def settings_of(sampler):
    """Returns a sampler's numbers as float32, by name."""
    return {name: np.float32(value) for name, value in sampler.settings().items()}


def chunk_of(longest_prompt):
    """Returns how many tokens of prompts no longer than this go through the model at once."""
    return 1 if longest_prompt == 1 else CHUNK


def cache_size(longest_prompt, max_new_tokens, chunk):
    """Returns how many tokens the caches hold, padding included: a power of two."""
    # Where all start from one token, a program for each power of two pays: most of a large cache would stay empty.
    size = _SMALLEST_CACHE_AFTER_ONE if chunk == 1 else _SMALLEST_CACHE
    while size < -(-int(longest_prompt) // chunk) * chunk + max_new_tokens:
        size *= 2
    return size


def room_beside(draft, max_new_tokens, rows=None):
    """Returns for how many new tokens caches need room: those that a draft proposes take slots until they are taken back."""
    if draft is None:
        return max_new_tokens
    # Rows that go on at their own pace leave gaps: with so much room they are seldom filled.
    return max_new_tokens + (1 if rows == 1 else 4) * (draft.num_tokens + 1)


def as_lists(value):
    """Returns a ragged tensor, or anything else that has a `to_list`, as a list; any other value comes back as it is."""
    if callable(getattr(value, "to_list", None)):
        return value.to_list()
    return list(value.unbind()) if getattr(value, "is_nested", False) else value


def next_multiple(number, step):
    """Returns the least multiple of a step that is at least `number` and at least one step."""
    return max(1, -(-int(number) // step)) * step
