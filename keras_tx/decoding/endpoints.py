"""TensorFlow functions that a SavedModel serves: text -> text, and the two halves of decoding for a server of one's own."""

import numpy as np
from keras import ops

from .. import arguments
from . import loop
from .check import check_decodable
from .inputs import longest_input, longest_sequence
from .logits import logits_step
from .outputs import decoded_model
from .request import Request, cache_size, check_lengths, check_pad, check_prompts, check_seed
from .samplers import Greedy
from .step import decoded_input, init_caches
from .stops import check_stops, single_stops
from .trials import ignores_padding

_LONGEST_TEXT = 512  # where no table says how many tokens of a text may be read


def tokens_of(tf, tokenize, texts):
    """Returns what a tokenizer gives for strings (B,), B of at least 0, of which all may be empty.

    One more text goes in, whose row is dropped: some tokenizers fail where no text of the batch has a token.
    """
    return tokenize(tf.concat([texts, ["a"]], axis=0))[:-1]


def text_endpoint(
    model, tokenizer, max_new_tokens, max_prompt_length=None, sampler=None, stop_ids=None, seed=0, output=None
):
    """Returns the function strings (B,) -> strings (B,): each prompt with its continuation, as `generate` gives it.

    Args:
        model: functional `keras.Model` from token ids (B, T) to logits (B, T, V).
        tokenizer: keras-hub tokenizer without a `sequence_length`.
        max_new_tokens: int.
        max_prompt_length: int, how many tokens of a prompt are read, its last ones; `None` for what the position table
            leaves beside `max_new_tokens`, or 512 where there is no table. An empty prompt gives an empty string.
        sampler: `Greedy()` (the default), `Sample(...)`, `Beam(...)` or a `Sampler` of your own.
        stop_ids: as in `generate`.
        seed: int.
        output: str or int, which of several outputs is decoded (see `generate`).

    Returns:
        A function of a string tensor made of TensorFlow operations, to be traced.

    Raises:
        ValueError: as `generate` does.
    """
    import tensorflow as tf

    model = decoded_model(model, output)
    check_decodable(model)
    table = longest_sequence(model)
    if max_prompt_length is None:
        max_prompt_length = _LONGEST_TEXT if table is None else table - max_new_tokens
    max_prompt_length = _check_length("max_prompt_length", max_prompt_length, max_new_tokens)
    max_new_tokens = check_lengths(max_prompt_length, max_new_tokens, table)
    capacity = cache_size(max_prompt_length, max_new_tokens, loop.CHUNK)
    run = _runner(tf, model, sampler, stop_ids, seed, max_new_tokens, loop.CHUNK)

    def serve(texts):
        ids = tf.cast(tokens_of(tf, tokenizer.tokenize, texts), tf.int32)[:, -max_prompt_length:]
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        chunks = -(-tf.reduce_max(tf.concat([lengths, [1]], 0)) // loop.CHUNK)
        # Right-aligned at the end of the last chunk.
        columns = tf.range(capacity)[None] - (chunks * loop.CHUNK - lengths)[:, None]
        real = (columns >= 0) & (columns < lengths[:, None])
        dense = ids.to_tensor(0, shape=(None, capacity))
        prompt = tf.where(real, tf.gather(dense, tf.clip_by_value(columns, 0, capacity - 1), batch_dims=1), 0)
        return tokenizer.detokenize(tf.concat([ids, run(prompt, lengths, chunks, {})], axis=1))

    return serve


def answer_endpoint(
    model,
    tokenizer,
    target_tokenizer,
    max_new_tokens,
    text_input,
    prompt,
    max_prompt_length=None,
    sampler=None,
    stop_ids=None,
    seed=0,
    pad_id=0,
    output=None,
):
    """Returns the function strings (B,) -> strings (B,): what `generate` gives with each text as the model's context.

    Args:
        model: functional `keras.Model` of two inputs: the ids that are decoded, and those of a text.
        tokenizer: keras-hub tokenizer of the texts, without a `sequence_length`.
        target_tokenizer: keras-hub tokenizer that spells the answers.
        max_new_tokens: int.
        text_input: str, the name of the input that takes the text's ids.
        prompt: list of ids, with which each answer starts and which is not part of it, such as a start token.
        max_prompt_length: int, how many tokens of a text are read, its first ones; `None` for the position table, or 512
            where there is none. An empty text gives an empty string.
        sampler: `Greedy()` (the default), `Sample(...)`, `Beam(...)` or a `Sampler` of your own.
        stop_ids: as in `generate`.
        seed: int.
        pad_id: int, what fills up the shorter texts of a batch.
        output: str or int, which of several outputs is decoded (see `generate`).

    Returns:
        A function of a string tensor made of TensorFlow operations, to be traced.

    Raises:
        ValueError: as `generate` does.
    """
    import tensorflow as tf

    model, given = decoded_model(model, output), (text_input,)
    check_decodable(model, given)
    if not ignores_padding(model, given, check_pad(pad_id)):
        raise ValueError(f"`pad_id` must be padding that the model ignores. Received: pad_id={pad_id}.")
    (prompt,) = check_prompts([prompt], model, decoded_input(model, given))
    max_new_tokens = check_lengths(len(prompt), max_new_tokens, longest_sequence(model, given))
    table = longest_input(model, text_input)
    if max_prompt_length is None:
        max_prompt_length = table or _LONGEST_TEXT
    max_prompt_length = _check_length("max_prompt_length", max_prompt_length, max_new_tokens)
    if table is not None and max_prompt_length > table:
        raise ValueError(
            "`max_prompt_length` must not exceed the model's position table. Received: "
            f"max_prompt_length={max_prompt_length}, sequence_length={table}."
        )
    chunk = loop.chunk_of(len(prompt))
    start = Request.of([prompt], cache_size(len(prompt), max_new_tokens, chunk), chunk)
    run = _runner(tf, model, sampler, stop_ids, seed, max_new_tokens, chunk)

    def serve(texts):
        ids = tf.cast(tokens_of(tf, tokenizer.tokenize, texts), tf.int32)[:, :max_prompt_length]
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        dense = ids.to_tensor(pad_id)
        dense = tf.pad(dense, [[0, 0], [0, tf.maximum(1 - tf.shape(dense)[1], 0)]], constant_values=pad_id)
        prompts = tf.repeat(start.prompt, tf.shape(lengths)[0], axis=0)
        # A text without tokens has nothing to be answered from: its row is done before it starts.
        counts = tf.where(lengths > 0, len(prompt), 0)
        return target_tokenizer.detokenize(run(prompts, counts, start.chunks, {text_input: dense}))

    return serve


def _check_length(name, length, max_new_tokens):
    """Returns the length as an int; raises `ValueError` unless it is an integer of at least 1."""
    hint = f"; without it, it is the position table less `max_new_tokens`, {max_new_tokens} here"
    return arguments.integer(name, length, least=1, hint=hint)


def _runner(tf, model, sampler, stop_ids, seed, max_new_tokens, chunk):
    """Returns the function (prompt, lengths, chunks, context) -> ragged new ids, without what stopped them."""
    sampler = Greedy() if sampler is None else sampler
    if sampler.num_return > 1:
        raise ValueError(f"`sampler` must return one text for each prompt to be served. Received: sampler={sampler!r}.")
    sampler.check_limit(max_new_tokens)
    stops, seed = check_stops(stop_ids), check_seed(seed)
    # As `generate` compiles it. A tokenizer may need AutoGraph, so the rest has it.
    program = tf.autograph.experimental.do_not_convert(loop.generate)
    settings = {name: np.float32(value) for name, value in sampler.settings().items()}
    max_new_tokens = int(max_new_tokens)  # no slice of TensorFlow takes numpy's

    def run(prompt, lengths, chunks, context):
        limit = tf.constant(max_new_tokens, tf.int32)
        request = Request(prompt, lengths, chunks, limit, stops, seed, settings, context)
        tokens, _, failed = program(model, request, sampler, chunk)
        numbers = tf.debugging.Assert(tf.logical_not(failed), ["The model's logits are NaN."])
        with tf.control_dependencies([numbers]):
            new = tokens[:, 0, :max_new_tokens]
        kept = (
            (new != loop.PADDING)
            & (lengths[:, None] > 0)
            & ~tf.reduce_any(new[..., None] == tf.constant(single_stops(stops), tf.int32), axis=-1)
        )
        return tf.ragged.boolean_mask(new, kept)

    return run


def cache_endpoints(model, max_length, given=(), output=None):
    """Returns the functions behind the endpoints `prefill` and `step`, and the signature of the latter.

    `prefill(token_ids, mask)`, with `context_ids` where a model is given a text, starts caches with the prompts;
    `step(token_ids, **caches)` goes on with the next tokens. Both give a dict: "logits" float (B, T, V), and the caches as
    tensors "cache_000", "cache_001", ... Both fail when run, with a message, if tokens come for which the caches have no room.

    Args:
        model: functional `keras.Model`.
        max_length: int, the size of the caches in tokens, padding included; no more than the position table, if there is one.
        given: tuple of the name of the input that takes `context_ids`, or an empty one.
        output: str or int, which of several outputs is decoded (see `generate`).

    Returns:
        The two functions, and a dict from name to `tf.TensorSpec` of the caches.
    """
    import tensorflow as tf

    model = decoded_model(model, output)
    max_length = int(min(max_length, longest_sequence(model, given) or max_length))
    # Of two lengths: where they differ, the caches depend on the length of the text.
    structure, other = (
        init_caches(model, 1, max_length, {name: np.ones((1, length), "int32") for name in given}) for length in (2, 3)
    )
    shapes = [
        [size if size == again else None for size, again in zip(one.shape, two.shape, strict=True)]
        for one, two in zip(loop.flat(structure), loop.flat(other), strict=True)
    ]
    names = [f"cache_{index:03}" for index in range(len(shapes))]
    specs = {
        name: tf.TensorSpec((None, *shape[1:]) if shape else (), leaf.dtype, name=name)
        for name, shape, leaf in zip(names, shapes, loop.flat(structure), strict=True)
    }

    def result(logits, caches):
        return {"logits": logits, **dict(zip(names, loop.flat(caches), strict=True))}

    def prefill(token_ids, mask, *context_ids):
        context = dict(zip(given, context_ids, strict=True))
        caches = init_caches(model, ops.shape(token_ids)[0], max_length, context)
        return result(*logits_step(model, token_ids, caches, mask))

    def one_step(token_ids, **caches):
        return result(*logits_step(model, token_ids, loop.like(structure, [caches[name] for name in names])))

    return prefill, one_step, specs
