"""TensorFlow functions that a SavedModel serves: text -> text, and the two halves of decoding for a server of one's own."""

import numpy as np
from keras import ops

from ..decoding import loop
from ..decoding.inputs import longest_sequence
from ..decoding.logits import logits_step
from ..decoding.request import Request, cache_size
from ..decoding.step import init_caches
from ..decoding.stops import single_stops
from .tokenizers import tokens_of


def continue_texts(tf, run, tokenizer, max_prompt_length, max_new_tokens):
    """Returns the function strings (B,) -> strings (B,): each prompt with its continuation, as `generate` gives it.

    Args:
        tf: the module tensorflow.
        run: function from `runner`.
        tokenizer: keras-hub tokenizer without a `sequence_length`.
        max_prompt_length: int, how many tokens of a prompt are read, its last ones.
        max_new_tokens: int.
    """
    capacity = cache_size(max_prompt_length, max_new_tokens, loop.CHUNK)

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


def answer_texts(tf, run, tokenizer, target_tokenizer, max_text_length, text_input, start, pad_id):
    """Returns the function strings (B,) -> strings (B,): what `generate` gives with each text as the model's context.

    Args:
        tf: the module tensorflow.
        run: function from `runner`.
        tokenizer: keras-hub tokenizer of the texts, without a `sequence_length`.
        target_tokenizer: keras-hub tokenizer that spells the answers.
        max_text_length: int, how many tokens of a text are read, its first ones. An empty text gives an empty string.
        text_input: str, the name of the input that takes the text's ids.
        start: `Request` of one row, whose prompt begins each answer and is not part of it.
        pad_id: int, what fills up the shorter texts of a batch.
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


def runner(tf, model, sampler, stops, seed, max_new_tokens, chunk):
    """Returns the function (prompt, lengths, chunks, context) -> ragged new ids, without what stopped them."""
    # As `generate` compiles it. A tokenizer may need AutoGraph, so the rest has it.
    program = tf.autograph.experimental.do_not_convert(loop.generate)
    settings = {name: np.float32(value) for name, value in sampler.settings().items()}

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


def cache_endpoints(model, max_length, given=()):
    """Returns the functions behind the endpoints `prefill` and `step`, and the signature of the latter.

    `prefill(token_ids, mask)`, with `context_ids` where a model is given a text, starts caches with the prompts;
    `step(token_ids, **caches)` goes on with the next tokens. Both give a dict: "logits" float (B, T, V), and the caches as
    tensors "cache_000", "cache_001", ... Both fail when run, with a message, if tokens come for which the caches have no room.

    Args:
        model: functional `keras.Model` of one output.
        max_length: int, the size of the caches in tokens, padding included; no more than the position table, if there is one.
        given: tuple of the name of the input that takes `context_ids`, or an empty one.

    Returns:
        The two functions, and a dict from name to `tf.TensorSpec` of the caches.
    """
    import tensorflow as tf

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
