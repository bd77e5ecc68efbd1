"""Endpoints that generate: text in, text out, with the loop inside."""

from . import folder


def export(tf, model, path, tokenizer, target_tokenizer, options):
    """Writes a SavedModel with the endpoints `serve`, `prefill` and `step`; see `export_saved_model` for the options.

    Raises:
        ValueError: for options that are unknown or missing, and tokenizers that cannot spell what is generated.
    """
    from ..decoding import endpoints
    from ..decoding.outputs import decoded_model
    from ..decoding.request import check_lengths

    for each in (tokenizer, target_tokenizer):
        if each is None or not callable(getattr(each, "detokenize", None)):
            raise ValueError(
                "`tokenizer` must be one with `tokenize` and `detokenize` where `generate` is given. Received: "
                f"tokenizer={each!r}."
            )
    known = {"max_new_tokens", "max_prompt_length", "sampler", "stop_ids", "seed", "output"}
    needed = {"max_new_tokens"}
    if "text_input" in options:
        known |= {"text_input", "prompt", "pad_id"}
        needed |= {"prompt"}
    if needed - set(options) or set(options) - known:
        raise ValueError(
            f"`generate` must hold {', '.join(map(repr, sorted(needed)))}, and nothing but {sorted(known)}. Received: "
            f"generate={options!r}."
        )
    if getattr(tokenizer, "sequence_length", None):
        raise ValueError(
            "`tokenizer` must not pad to a length of its own where `generate` is given. Received: a tokenizer with "
            f"sequence_length={tokenizer.sequence_length}."
        )
    options["max_new_tokens"] = check_lengths(0, options["max_new_tokens"], None)
    whole, model = model, decoded_model(model, options.pop("output", None))
    if target_tokenizer is not tokenizer:
        _check_speller(model, target_tokenizer, options.get("text_input"))
    module = folder.tracking_module(tf, whole, [tokenizer, target_tokenizer])
    ids = tf.TensorSpec((None, None), tf.int32, name="token_ids")
    signature = [ids, tf.TensorSpec((None, None), tf.bool, name="mask")]
    if "text_input" in options:
        serve, given = (
            endpoints.answer_endpoint(model, tokenizer, target_tokenizer, **options),
            (options["text_input"],),
        )
        signature.append(tf.TensorSpec((None, None), tf.int32, name="context_ids"))
        prompt_length = len(options["prompt"])
    else:
        serve, given = endpoints.text_endpoint(model, tokenizer, **options), ()
        prompt_length = options.get("max_prompt_length") or endpoints.longest_sequence(model) or 512
    prefill, step, caches = endpoints.cache_endpoints(model, prompt_length + options["max_new_tokens"], given)
    module.serve = tf.function(serve, input_signature=[tf.TensorSpec((None,), tf.string, name="texts")])
    module.prefill = tf.function(prefill, input_signature=signature, autograph=False)
    module.step = tf.function(step, autograph=False)
    signatures = {
        "serve": module.serve,
        "prefill": module.prefill,
        "step": module.step.get_concrete_function(ids, **caches),
    }
    folder.save_whole(tf, module, signatures, path)
    return path


def _check_speller(model, tokenizer, text_input):
    """Raises `ValueError` if the tokenizer has tokens that the model never gives, or cannot spell one that it may give."""
    from ..decoding.inputs import vocabulary_size
    from ..decoding.step import decoded_input
    from ..decoding.text import text_of

    rows = vocabulary_size(model, decoded_input(model, () if text_input is None else (text_input,)))
    size = getattr(tokenizer, "vocabulary_size", None)
    if rows is not None and callable(size) and size() > rows:
        raise ValueError(
            "`target_tokenizer` must have no more tokens than the model's target vocabulary. Received: vocabulary of "
            f"{size()} tokens, embedding of {rows} rows."
        )
    last = model.output_shape[-1] - 1
    try:
        text_of([last], tokenizer)  # in no graph: a tokenizer may keep what its first call makes
    except Exception as error:  # whatever its author chose to raise
        raise ValueError(
            "`target_tokenizer` must spell each token of the model's target vocabulary. Received: "
            f"target_tokenizer={tokenizer!r}, which fails for id {last}: {error}"
        ) from error
