"""Generation for any functional model whose layers keep the cache protocol: ids in, ids out."""

import functools

import numpy as np
from keras import ops

from ..layers import cache_protocol
from . import loop, programs, speculation
from .check import check
from .conditioning import check_conditioning, check_names
from .decoder import Decoder
from .request import Request, as_lists, check_lengths, check_pad, check_prompts, check_seed
from .samplers import check_sampler
from .stops import PADDING, check_stops, single_stops
from .text import check_starts, check_tokenizer, ids_of, is_row_of_ids, text_of


def generate(
    model,
    prompts,
    max_new_tokens,
    sampler=None,
    stop_ids=None,
    seed=0,
    pad_id=0,
    return_scores=False,
    tokenizer=None,
    context=None,
    output=None,
    draft=None,
    cache_dtype=None,
):
    """Continues prompts with tokens that the model predicts.

    The whole loop is one compiled program (XLA on TensorFlow and JAX), with a cache of fixed size that is updated in
    place. Programs are kept: batch and cache sizes are rounded up, and prompts, stops, limits and sampling settings are
    passed as tensors, so calls that differ in them share a compilation (`trace_report` counts).

    A model of several inputs is given all but the ids as `context`. What depends on it alone is computed once for each
    row: an encoder runs once, and keys and values of attention to it are made once.

    Args:
        model: functional `keras.Model` or built `keras.Sequential` from token ids (B, T), and inputs (B, ...) beside them if
            it has any, to logits (B, T, V). Where it ends in a softmax, the logits before it are taken, or the logarithms of
            its probabilities.
        prompts: list of lists of ids, an integer array (B, T) or a `tf.RaggedTensor`. Rows may differ in length; each has at
            least one token. They must not be padded, as every id is taken as real. With a tokenizer, a list of strings,
            or of lists of ids, which are not spelled, such as the start token of a translator; a string without a token has
            nothing that can be continued, and gives an empty string.
        max_new_tokens: int, at least 0: how many tokens each row gets at most.
        sampler: `Greedy()` (the default), `Sample(...)`, `Beam(...)` or a `Sampler` of your own.
        stop_ids: int, or list of ints and of lists of ints (sequences), or `None` for the `stop_ids` of the tokenizer, where
            it has some (see `keras_tx.applications.load_tokenizer`). A row stops when what it *generated* ends with one of
            them, which is kept. The padding id may be among them; an id outside the vocabulary never stops.
        seed: int: equal seeds give equal tokens, on every backend to rounding of the logits.
        pad_id: int, what stands after a row has stopped, and what fills up the shorter rows of `context`.
        return_scores: bool, for `Beam` alone: whether to return the scores of the sequences too.
        tokenizer: keras-hub tokenizer, or any object with `tokenize` (a str to a sequence of ints) and `detokenize` (an int32
            numpy array (T,) to a str), or `None`.
        context: dict from the name of each input but the ids to an array (B, ...), or, for an input of ids or a mask, to a
            list of B lists or a `tf.RaggedTensor`; with a tokenizer, for an input of ids to B strings too, which are given the
            special tokens that it adds. Rows may differ in length, and be shorter than an input of fixed length, where the
            model ignores `pad_id` at their ends (it is tried out). Inputs that the model puts together, such as ids and a
            mask of them, have one length. `None` for a model of one input.
        output: which output of a model of several holds the logits: str, its key in a dict of outputs or the name of the
            layer that gives it, or int, its index. `None` for a model of one output.
        draft: `Lookup(...)` or `Draft(...)`, which propose several tokens for the model to read at once, or `None`. The tokens
            are those that come without a draft, to rounding of the logits, sampled ones too; `draft_report` counts how many
            proposals were right. Not with `Beam`, nor with a sampler that has an `advance` of its own.
        cache_dtype: "int8", to hold keys and values in the caches as integers of eight bits, each vector of a position and a head
            beside its largest number. At long contexts that is about half of the memory of half floats, and a quarter of
            float32's. Logits change by the rounding. Caches of layers whose `init_cache` takes no `cache_dtype`, and those of a
            `Draft`'s model, stay as they are. `None` for the dtype that a layer computes in.

    Returns:
        int32 array (B, T + max_new_tokens), T the longest prompt: each row is its prompt, what was generated, and
        padding. With `Beam(num_return=R)` and R above 1, (B, R, T + max_new_tokens), best first. With `return_scores` a
        pair of that and float32 scores (B, R); where fewer than R sequences exist, the rest have the score -inf and
        nothing behind the prompt. With a tokenizer, strings in place of rows of ids (lists of R strings for R above 1): prompt
        and continuation, or the continuation alone where the prompt is ids, without the token that stopped it.

    Raises:
        ValueError: if a prompt is empty, a token lies outside the vocabulary, the longest prompt and `max_new_tokens`
            exceed the position table, the model cannot be decoded (see `check_decodable`), has outputs of which `output`
            names none, or gives something else than logits and probabilities, or its logits are NaN; if a string beside a
            context has no token, or ends with a stop that the tokenizer adds, so that nothing could follow; if
            `context` lacks an input, has rows that are empty or not one for each prompt, does not fit its input, or holds
            lengths for which the model itself raises; for a `draft` that does not fit the model or the sampler; and for another
            `cache_dtype`, or one in which no layer of the model holds its cache.

    Example:

    ```python
    ids = keras.Input((None,), dtype="int32")
    embedding = keras_tx.layers.TokenAndPositionEmbedding(50, 16, 8)
    x = keras_tx.layers.TransformerDecoder(16, 2)(embedding(ids))
    model = keras.Model(ids, keras_tx.layers.TiedLogits(embedding)(x))
    tokens = keras_tx.decoding.generate(model, [[3, 4], [5, 6, 7]], max_new_tokens=4)  # (2, 7)
    ```
    """
    context = check_names(context)
    decoder = Decoder.of(model, output, context)
    sampler = check_sampler(sampler)
    speculation.check_draft(draft, sampler)
    cache_protocol.check_dtype(cache_dtype)
    if return_scores and not sampler.gives_scores:
        raise ValueError(f"`return_scores` must be False unless the sampler is Beam. Received: sampler={sampler!r}.")
    num_return, pad_id, prompts = sampler.num_return, check_pad(pad_id), as_lists(prompts)
    if isinstance(prompts, (str, bytes)) or not hasattr(prompts, "__iter__") or getattr(prompts, "ndim", 1) == 0:
        raise ValueError(f"`prompts` must be a list of prompts, not one. Received: {prompts!r}.")
    given, texts = list(prompts), set()
    if tokenizer is not None:
        check_tokenizer(tokenizer)
        texts = {index for index, prompt in enumerate(given) if not is_row_of_ids(prompt)}
    prompts = [ids_of(prompt, tokenizer) if index in texts else prompt for index, prompt in enumerate(given)]
    prompts = check_prompts(prompts, decoder.inputs[decoder.ids], may_be_empty=texts)
    lengths = np.array([len(row) for row in prompts], "int32")
    max_new_tokens = check_lengths(int(lengths.max(initial=0)), max_new_tokens, decoder.longest_sequence)
    sampler.check_limit(max_new_tokens)
    stops, seed = check_stops(stop_ids, tokenizer), check_seed(seed)
    if context and texts:
        check_starts(given, prompts, tokenizer, single_stops(stops))
    conditioning = check_conditioning(decoder, context, len(prompts), pad_id, tokenizer)
    if not lengths.any() or max_new_tokens == 0:
        new = np.zeros((len(prompts), num_return, 0), "int32")
        scores = np.repeat(np.where(lengths > 0, 0.0, -np.inf).astype("float32")[:, None], num_return, axis=1)
    else:
        check(decoder)
        speculation.check_fit(draft, decoder, int(lengths.max()) + max_new_tokens)
        request, chunk = Request.rounded(prompts, max_new_tokens, stops, seed, sampler, conditioning, draft)
        new, scores = _run(decoder, request, sampler, chunk, draft, cache_dtype)
        new, scores = new[: len(prompts), :, :max_new_tokens], scores[: len(prompts)]
    if tokenizer is None:
        rows = _rows(prompts, new, max_new_tokens, pad_id)
        rows = rows if num_return > 1 else rows[:, 0]
    else:
        rows = [
            [_text(prompt if index in texts else prompt[:0], ids, stops, tokenizer) for ids in several]
            for index, (prompt, several) in enumerate(zip(prompts, new, strict=True))
        ]
        rows = rows if num_return > 1 else [row[0] for row in rows]
    return (rows, scores) if return_scores else rows


def _run(decoder, request, sampler, chunk, draft, cache_dtype):
    """Returns the new tokens (B, R, N), `PADDING` after a stop, and scores (B, R) as numpy arrays."""
    key, others = request.key(sampler, chunk=1 if chunk == 1 else None, cache_dtype=cache_dtype), []
    given = {"sampler": sampler, "chunk": chunk, "cache_dtype": cache_dtype}
    program = functools.partial(loop.generate, **given)
    if draft is not None:
        program = functools.partial(speculation.generate, **given, draft=draft)
        key, others = key + tuple(draft.static().items()), draft.decoders(decoder)
    tokens, scores, failed, *totals = programs.run(decoder, "generate", key, program, request, others=others)
    if totals:
        speculation.report(decoder, draft, ops.convert_to_numpy(totals[0]))
    if bool(ops.convert_to_numpy(failed)):
        raise ValueError(f"`model` must give logits that are numbers. Received: NaN from {decoder.model.name}.")
    begun = (request.lengths > 0)[:, None]
    new, scores = (ops.convert_to_numpy(each)[:, : sampler.num_return] for each in (tokens, scores))
    return np.where(begun[..., None], new, PADDING), np.where(begun, scores, -np.inf)


def _rows(prompts, new, max_new_tokens, pad_id):
    """Returns int32 (B, R, T + max_new_tokens): each prompt followed by its new tokens (R, N), padded to one length."""
    longest = max((len(row) for row in prompts), default=0) + max_new_tokens
    rows = np.full((*new.shape[:2], longest), pad_id, "int32")
    for row, prompt, tokens in zip(rows, prompts, new, strict=True):
        row[:, : len(prompt)] = prompt
        row[:, len(prompt) : len(prompt) + tokens.shape[-1]] = np.where(tokens == PADDING, pad_id, tokens)
    return rows


def _text(prompt, new, stops, tokenizer):
    """Returns the string of a prompt and its new tokens; a single token that stopped them is left out."""
    new = new[new != PADDING]
    if len(new) and new[-1] in single_stops(stops):
        new = new[:-1]
    ids = np.concatenate([prompt, new])
    return text_of(ids, tokenizer) if len(ids) else ""  # some tokenizers spell no empty list
