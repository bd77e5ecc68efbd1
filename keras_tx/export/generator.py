"""SavedModels that generate: text in, text out, with the loop inside."""

import os

import keras

from .. import arguments, graph
from ..decoding import speculation
from ..decoding.check import check
from ..decoding.decoder import Decoder
from ..decoding.drafts import Drafter
from ..decoding.request import (
    CHUNK,
    Request,
    cache_size,
    check_lengths,
    check_pad,
    check_prompts,
    check_seed,
    chunk_of,
    room_beside,
)
from ..decoding.samplers import Sampler, check_sampler
from ..decoding.stops import check_stops
from ..decoding.trials import ignores
from ..layers import cache_protocol
from . import endpoints, folder, tokenizers

_LONGEST_TEXT = 512  # where no table says how many tokens of a text may be read


def export_generator(
    model: keras.Model,
    path: str | os.PathLike,
    tokenizer,
    max_new_tokens: int,
    max_prompt_length: int | None = None,
    sampler: Sampler | None = None,
    stop_ids: int | list | None = None,
    seed: int = 0,
    output: str | int | None = None,
    target_tokenizer=None,
    text_input: str | None = None,
    prompt: list[int] | None = None,
    pad_id: int = 0,
    draft: Drafter | None = None,
    cache_dtype: str | None = None,
) -> str | os.PathLike:
    """Writes a SavedModel that generates text: its endpoint `serve` maps prompts to prompts with their continuations.

    Strings (B,) go in and out, B of any size; an empty prompt gives an empty string, as in
    `keras_tx.decoding.generate`. `serve` is also the signature "serving_default". Two more endpoints serve a loop of
    one's own: `prefill(token_ids, mask)` and `step(token_ids, cache_000, ...)`, each giving "logits" and the caches.
    Those hold `max_prompt_length + max_new_tokens` tokens, padding included, and no more than the position table; both
    endpoints fail with an `InvalidArgumentError` if more come.

    A model of two inputs, one of which is decoded, answers texts: with `text_input`, `serve` maps texts to answers, and
    `prefill` takes the text as `context_ids`.

    Args:
        model: functional `keras.Model` from token ids (B, T), and a text's ids beside them where it answers texts, to logits
            (B, T, V) or probabilities.
        path: folder to write. One that exists is replaced, when the new one is whole.
        tokenizer: keras-hub tokenizer without a `sequence_length`, which becomes part of the SavedModel.
        max_new_tokens: int, how many tokens each prompt gets at most.
        max_prompt_length: int, how many tokens of a prompt are read, its last ones; `None` for what the position table
            leaves beside `max_new_tokens`, or 512 where there is no table. Of a text that is answered, the first ones; `None`
            for the table of that input, or 512.
        sampler: `Greedy()` (the default), `Sample(...)`, `Beam(...)` or a `Sampler` of your own.
        stop_ids: as in `keras_tx.decoding.generate`.
        seed: int.
        output: str or int, which of several outputs is decoded (see `keras_tx.decoding.generate`).
        target_tokenizer: keras-hub tokenizer that spells what is generated, where it is not `tokenizer`. It may have fewer
            tokens than the model, where it spells ids beyond its own without failing.
        text_input: str, the name of the input of a text's ids, for a model that answers texts.
        prompt: list of ids with which each answer starts and which is not part of it, such as a start token.
        pad_id: int, what fills up the shorter texts of a batch.
        draft: as in `keras_tx.decoding.generate`: `serve` makes several tokens a step. The weights of a `Draft` go with it.
        cache_dtype: as in `keras_tx.decoding.generate`, of all three endpoints.

    Returns:
        The path.

    Raises:
        ValueError: if the backend is not TensorFlow; as `keras_tx.decoding.generate` does; for a tokenizer that gives no
            integers or has more tokens than the model's embedding has rows; and for a `target_tokenizer` with more tokens
            than the target's embedding, or one that fails for the last.
        ImportError: if TensorFlow is missing, with the command that installs it.

    Example:

    ```python
    import keras_hub

    letters = keras_hub.tokenizers.ByteTokenizer(dtype="int32")
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    writer = keras_tx.applications.GPT(letters.vocabulary_size(), sequence_length=32, **size)
    if keras.backend.backend() == "tensorflow":
        path = keras_tx.export.export_generator(writer, folder + "/writer", letters, max_new_tokens=8)
    ```
    """
    tf, model = folder.tensorflow(), graph.without_optional_inputs(model)
    max_new_tokens, sampler = int(check_lengths(0, max_new_tokens, None)), check_sampler(sampler)
    speculation.check_draft(draft, sampler)
    cache_protocol.check_dtype(cache_dtype)
    if sampler.num_return > 1:
        raise ValueError(f"`sampler` must return one text for each prompt to be served. Received: sampler={sampler!r}.")
    sampler.check_limit(max_new_tokens)
    target_tokenizer = target_tokenizer or tokenizer
    _check_spelling(tokenizer, target_tokenizer)
    if len(model.inputs) != 1 and text_input is None:
        raise ValueError(
            "`text_input` must name the input that takes the text, where a model has more than one, as in "
            "text_input='source_ids', prompt=[start_id]. Received: text_input=None, a model of the inputs "
            f"{', '.join(map(repr, graph.input_names(model)))}."
        )
    tokenizers.check_tokenizer(tf, tokenizer, model, text_input)
    decoder = Decoder.of(model, output, () if text_input is None else (text_input,))
    if target_tokenizer is not tokenizer:
        tokenizers.check_speller(decoder, target_tokenizer)
    check(decoder)
    table = decoder.longest_sequence
    fields = sampler, check_stops(stop_ids, target_tokenizer), check_seed(seed), max_new_tokens
    room = room_beside(draft, max_new_tokens)
    signature = [
        tf.TensorSpec((None, None), dtype, name=each) for each, dtype in (("token_ids", tf.int32), ("mask", tf.bool))
    ]
    if text_input is None:
        length = _length(max_prompt_length, _LONGEST_TEXT if table is None else table - max_new_tokens, max_new_tokens)
        check_lengths(length, max_new_tokens, table)
        run = endpoints.runner(tf, decoder, *fields, CHUNK, draft, cache_dtype)
        serve = endpoints.continue_texts(tf, run, tokenizer, length, max_new_tokens, draft)
        held = max_prompt_length or table or _LONGEST_TEXT
    else:
        if not ignores(decoder, check_pad(pad_id)):
            raise ValueError(f"`pad_id` must be padding that the model ignores. Received: pad_id={pad_id}.")
        if prompt is None:
            raise ValueError(
                "`prompt` must be the ids that each answer starts with, such as prompt=[start_id], beside a `text_input`. "
                "Received: prompt=None."
            )
        (prompt,) = check_prompts([prompt], decoder.inputs[decoder.ids])
        check_lengths(len(prompt), max_new_tokens, table)
        text_table, chunk, held = decoder.inputs[text_input].longest, chunk_of(len(prompt)), len(prompt)
        length = _length(max_prompt_length, text_table or _LONGEST_TEXT, max_new_tokens)
        if text_table is not None and length > text_table:
            raise ValueError(
                "`max_prompt_length` must not exceed the model's position table. Received: "
                f"max_prompt_length={length}, sequence_length={text_table}."
            )
        start = Request.of([prompt], cache_size(len(prompt), room, chunk), chunk)
        run = endpoints.runner(tf, decoder, *fields, chunk, draft, cache_dtype)
        serve = endpoints.answer_texts(tf, run, tokenizer, target_tokenizer, length, text_input, start, pad_id)
        signature.append(tf.TensorSpec((None, None), tf.int32, name="context_ids"))
    speculation.check_fit(draft, decoder, (length if text_input is None else held) + max_new_tokens)
    others = [] if draft is None else [each.model for each in draft.decoders(decoder)]
    module = folder.tracking_module(tf, [model, *others], [tokenizer, target_tokenizer])
    prefill, step, caches = endpoints.cache_endpoints(decoder, held + max_new_tokens, cache_dtype)
    module.serve = tf.function(serve, input_signature=[tf.TensorSpec((None,), tf.string, name="texts")])
    module.prefill = tf.function(prefill, input_signature=signature, autograph=False)
    module.step = tf.function(step, autograph=False)
    one_step = module.step.get_concrete_function(signature[0], **caches)
    folder.save_whole(tf, module, {"serve": module.serve, "prefill": module.prefill, "step": one_step}, path)
    return path


def _check_spelling(tokenizer, target_tokenizer):
    for each in (tokenizer, target_tokenizer):
        if each is None or not callable(getattr(each, "detokenize", None)):
            raise ValueError(
                "`tokenizer` must be one with `tokenize` and `detokenize` where text is generated. Received: "
                f"tokenizer={each!r}."
            )
    if getattr(tokenizer, "sequence_length", None):
        raise ValueError(
            "`tokenizer` must not pad to a length of its own where text is generated. Received: a tokenizer with "
            f"sequence_length={tokenizer.sequence_length}."
        )


def _length(max_prompt_length, longest, max_new_tokens):
    """Returns how many tokens of a text are read; raises `ValueError` unless it is an integer of at least 1."""
    hint = f"; without it, it is the position table less `max_new_tokens`, {max_new_tokens} here"
    length = longest if max_prompt_length is None else max_prompt_length
    return arguments.integer("max_prompt_length", length, least=1, hint=hint)
