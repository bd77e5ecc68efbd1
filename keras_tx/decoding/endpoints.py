"""TensorFlow functions that a SavedModel serves: text -> text, and the two halves of decoding for a server of one's own."""

import numpy as np
from keras import ops

from . import loop
from .arguments import check_lengths, check_seed, check_stops, round_up
from .beam import Beam
from .check import check_decodable, longest_sequence
from .generate import beam_program, sampling_program
from .sampling import Greedy
from .step import init_caches, step


def text_endpoint(model, tokenizer, max_new_tokens, max_prompt_length=None, sampler=None, stop_ids=None, seed=0):
    """Returns the function strings (B,) -> strings (B,): each prompt with its continuation, as `generate` gives it.

    Args:
        model: functional `keras.Model` from token ids (B, T) to logits (B, T, V).
        tokenizer: keras-hub tokenizer without a `sequence_length`.
        max_new_tokens: int.
        max_prompt_length: int, how many tokens of a prompt are read, its last ones; `None` for what the position table
            leaves beside `max_new_tokens`, or 512 where there is no table. An empty prompt gives an empty string.
        sampler: `Greedy()` (the default), `Sample(...)` or `Beam(...)`.
        stop_ids: as in `generate`.
        seed: int.

    Returns:
        A function of a string tensor made of TensorFlow operations, to be traced.

    Raises:
        ValueError: as `generate` does.
    """
    import tensorflow as tf

    check_decodable(model)
    sampler = Greedy() if sampler is None else sampler
    table = longest_sequence(model)
    if max_prompt_length is None:
        max_prompt_length = 512 if table is None else table - max_new_tokens
    if isinstance(max_prompt_length, bool) or not isinstance(max_prompt_length, int) or max_prompt_length < 1:
        raise ValueError(
            "`max_prompt_length` must be a positive integer; without it, the position table less `max_new_tokens`. Received: "
            f"max_prompt_length={max_prompt_length!r}, max_new_tokens={max_new_tokens}."
        )
    if isinstance(sampler, Beam) and sampler.num_return > 1:
        raise ValueError(f"`sampler` must return one text for each prompt to be served. Received: sampler={sampler!r}.")
    check_lengths(max_prompt_length, max_new_tokens, table)
    stops, seed = check_stops(stop_ids), check_seed(seed)
    single = stops[(stops[:, :-1] == -2).all(axis=1), -1]
    _, _, capacity = round_up(1, max_prompt_length, max_new_tokens, loop.CHUNK)
    program = (
        beam_program(sampler.width, capacity) if isinstance(sampler, Beam) else sampling_program(sampler, capacity)
    )
    settings = {name: np.float32(value) for name, value in sampler.settings().items()}

    def serve(texts):
        ids = tf.cast(tokenizer.tokenize(texts), tf.int32)[:, -max_prompt_length:]
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        chunks = -(-tf.reduce_max(tf.concat([lengths, [1]], 0)) // loop.CHUNK)
        # Right-aligned at the end of the last chunk.
        columns = tf.range(capacity)[None] - (chunks * loop.CHUNK - lengths)[:, None]
        real = (columns >= 0) & (columns < lengths[:, None])
        dense = ids.to_tensor(0, shape=(None, capacity))
        prompt = tf.where(real, tf.gather(dense, tf.clip_by_value(columns, 0, capacity - 1), batch_dims=1), 0)
        limit = tf.constant(max_new_tokens, tf.int32)
        tokens, _, failed = program(model, prompt, lengths, chunks, limit, stops, seed, settings)
        numbers = tf.debugging.Assert(tf.logical_not(failed), ["The model's logits are NaN."])
        with tf.control_dependencies([numbers]):
            new = tokens[:, 0, :max_new_tokens]
        kept = (new != loop.PADDING) & ~tf.reduce_any(new[..., None] == tf.constant(single, tf.int32), axis=-1)
        return tokenizer.detokenize(tf.concat([ids, tf.ragged.boolean_mask(new, kept)], axis=1))

    return serve


def cache_endpoints(model, max_length):
    """Returns the functions behind the endpoints `prefill` and `step`, and the signature of the latter.

    `prefill(token_ids, mask)` starts caches with the prompts, `step(token_ids, **caches)` goes on with the next tokens.
    Both give a dict: "logits" float (B, T, V), and the caches as tensors "cache_000", "cache_001", ...

    Args:
        model: functional `keras.Model`.
        max_length: int, the size of the caches in tokens.

    Returns:
        The two functions, and a dict from name to `tf.TensorSpec` of the caches.
    """
    import tensorflow as tf

    structure = init_caches(model, 1, max_length)
    leaves = loop.flat(structure)
    names = [f"cache_{index:03}" for index in range(len(leaves))]
    specs = {
        name: tf.TensorSpec((None, *leaf.shape[1:]) if len(leaf.shape) else (), leaf.dtype, name=name)
        for name, leaf in zip(names, leaves, strict=True)
    }

    def result(outputs, caches):
        return {"logits": ops.cast(outputs, "float32"), **dict(zip(names, loop.flat(caches), strict=True))}

    def prefill(token_ids, mask):
        caches = init_caches(model, ops.shape(token_ids)[0], max_length)
        return result(*step(model, token_ids, caches, mask))

    def one_step(token_ids, **caches):
        return result(*step(model, token_ids, loop.like(structure, [caches[name] for name in names])))

    return prefill, one_step, specs
