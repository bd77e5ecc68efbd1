"""TensorFlow functions that a SavedModel serves: text -> text, and the two halves of decoding for a server of one's own."""

import functools

import numpy as np
from keras import ops

from ..decoding import loop, speculation
from ..decoding.request import CHUNK, Request, cache_size, room_beside, settings_of
from ..decoding.step import empty_caches, logits_step
from ..decoding.stops import PADDING, single_stops
from .tokenizers import tokens_of


def continue_texts(tf, run, tokenizer, max_prompt_length, max_new_tokens, draft=None):
    """Returns the function strings (B,) -> strings (B,): each prompt with its continuation, as `generate` gives it.

    The last `max_prompt_length` tokens of a prompt are read, and continued by `run`, which `runner` made.
    """
    capacity = cache_size(max_prompt_length, room_beside(draft, max_new_tokens), CHUNK)

    def serve(texts):
        ids = tf.cast(tokens_of(tf, tokenizer.tokenize, texts), tf.int32)[:, -max_prompt_length:]
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        chunks = -(-tf.reduce_max(tf.concat([lengths, [1]], 0)) // CHUNK)
        # Right-aligned at the end of the last chunk.
        columns = tf.range(capacity)[None] - (chunks * CHUNK - lengths)[:, None]
        real = (columns >= 0) & (columns < lengths[:, None])
        dense = ids.to_tensor(0, shape=(None, capacity))
        prompt = tf.where(real, tf.gather(dense, tf.clip_by_value(columns, 0, capacity - 1), batch_dims=1), 0)
        return tokenizer.detokenize(tf.concat([ids, run(prompt, lengths, chunks, {})], axis=1))

    return serve


def answer_texts(tf, run, tokenizer, target_tokenizer, max_text_length, text_input, start, pad_id):
    """Returns the function strings (B,) -> strings (B,): what `generate` gives with each text as the model's context.

    The first `max_text_length` tokens of a text are read, into the input named `text_input`. `start` is a `Request` of one
    row, whose prompt begins each answer and is not part of it.
    """

    def serve(texts):
        ids = tf.cast(tokens_of(tf, tokenizer.tokenize, texts), tf.int32)[:, :max_text_length]
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        dense = ids.to_tensor(pad_id)
        dense = tf.pad(dense, [[0, 0], [0, tf.maximum(1 - tf.shape(dense)[1], 0)]], constant_values=pad_id)
        prompts = tf.repeat(start.prompt, tf.shape(lengths)[0], axis=0)
        # A text without tokens has nothing to be answered from: its row is done before it starts.
        counts = tf.where(lengths > 0, start.lengths, 0)
        return target_tokenizer.detokenize(run(prompts, counts, start.chunks, {text_input: dense}))

    return serve


def runner(tf, decoder, sampler, stops, seed, max_new_tokens, chunk, draft=None, cache_dtype=None):
    """Returns the function (prompt, lengths, chunks, conditioning) -> ragged new ids, without what stopped them."""
    # As `generate` compiles it. A tokenizer may need AutoGraph, so the rest has it.
    program = loop.generate if draft is None else functools.partial(speculation.generate, draft=draft)
    program = tf.autograph.experimental.do_not_convert(program)
    settings = settings_of(sampler)

    def run(prompt, lengths, chunks, conditioning):
        limit = tf.constant(max_new_tokens, tf.int32)
        request = Request(prompt, lengths, chunks, limit, stops, seed, settings, conditioning)
        tokens, _, failed, *_ = program(decoder, request, sampler, chunk, cache_dtype=cache_dtype)
        numbers = tf.debugging.Assert(tf.logical_not(failed), ["The model's logits are NaN."])
        with tf.control_dependencies([numbers]):
            new = tokens[:, 0, :max_new_tokens]
        kept = (
            (new != PADDING)
            & (lengths[:, None] > 0)
            & ~tf.reduce_any(new[..., None] == tf.constant(single_stops(stops), tf.int32), axis=-1)
        )
        return tf.ragged.boolean_mask(new, kept)

    return run


def cache_endpoints(decoder, max_length, cache_dtype=None):
    """Returns the functions behind the endpoints `prefill` and `step`, and the signature of the latter.

    `prefill(token_ids, mask)`, with `context_ids` where a model is given a text, starts caches with the prompts;
    `step(token_ids, **caches)` goes on with the next tokens. Both give a dict: "logits" float (B, T, V), and the caches as
    tensors "cache_000", "cache_001", ... Both fail when run, with a message, if tokens come for which the caches have no
    room: `max_length` tokens, padding included, and no more than the position table. The signature is a dict from name to
    `tf.TensorSpec` of the caches.
    """
    import tensorflow as tf

    max_length, inputs = int(min(max_length, decoder.longest_sequence or max_length)), decoder.conditioning
    # Of two lengths: where they differ, the caches depend on the length of the text.
    structure, other = (
        empty_caches(decoder, 1, max_length, {name: np.ones((1, length), "int32") for name in inputs}, cache_dtype)
        for length in (2, 3)
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
        conditioning = dict(zip(decoder.conditioning, context_ids, strict=True))
        caches = empty_caches(decoder, ops.shape(token_ids)[0], max_length, conditioning, cache_dtype)
        return result(*logits_step(decoder, token_ids, caches, mask))

    def one_step(token_ids, **caches):
        return result(*logits_step(decoder, token_ids, loop.like(structure, [caches[name] for name in names])))

    return prefill, one_step, specs
