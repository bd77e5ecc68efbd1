"""Tokenizers that are served with a model: whether they fit it, and how they are called."""

from ..decoding.inputs import inputs_of
from ..decoding.text import text_of
from ..graph import input_names


def tokens_of(tf, tokenize, texts):
    """Returns what a tokenizer gives for strings (B,), B of at least 0, of which all may be empty.

    One more text goes in, whose row is dropped: some tokenizers fail where no text of the batch has a token.
    """
    return tokenize(tf.concat([texts, ["a"]], axis=0))[:-1]


def check_tokenizer(tf, tokenizer, model, text_input=None):
    """Raises `ValueError` unless the tokenizer gives integers that the model's embeddings have rows for.

    Else the folder would be written, and every request to it fail or, worse, be answered.
    """
    if not callable(tokenizer):
        raise ValueError(f"`tokenizer` must be callable. Received: tokenizer={tokenizer!r}.")
    if len(model.inputs) != 1 and text_input is None:
        raise ValueError(
            "`model` must have one input to be served with a tokenizer. Received: a model of the inputs "
            f"{', '.join(map(repr, input_names(model)))}. An encoder-decoder is served by `export_generator` with a `text_input`."
        )
    inputs = inputs_of(model)
    known = next(iter(inputs.values())) if text_input is None else inputs.get(text_input)
    rows = known and known.vocabulary_size
    _check_size("`tokenizer` must have no more tokens than the model's embedding has rows", tokenizer, rows)
    try:
        # In a graph, as it will be served: keras-hub's tokenizers give lists outside of one.
        ids = tf.function(tokenizer)(tf.constant(["text"]))
    except Exception as error:  # whatever its author chose to raise
        raise ValueError(
            "`tokenizer` must map a string tensor to ids; a TextVectorization must be adapted first. Received: "
            f"tokenizer={tokenizer!r}, which fails: {error}"
        ) from error
    if not getattr(getattr(ids, "dtype", None), "is_integer", False):
        raise ValueError(
            f"`tokenizer` must give integer ids. Received: tokenizer={tokenizer!r}, which gives "
            f"{getattr(ids, 'dtype', type(ids))}."
        )


def check_speller(decoder, tokenizer):
    """Raises `ValueError` if the tokenizer has tokens that the model never gives, or cannot spell one that it may give."""
    rule = "`target_tokenizer` must have no more tokens than the model's target vocabulary"
    _check_size(rule, tokenizer, decoder.inputs[decoder.ids].vocabulary_size)
    last = decoder.model.output_shape[-1] - 1
    try:
        text_of([last], tokenizer)  # in no graph: a tokenizer may keep what its first call makes
    except Exception as error:  # whatever its author chose to raise
        raise ValueError(
            "`target_tokenizer` must spell each token of the model's target vocabulary. Received: "
            f"target_tokenizer={tokenizer!r}, which fails for id {last}: {error}"
        ) from error


def _check_size(rule, tokenizer, rows):
    size = getattr(tokenizer, "vocabulary_size", None)
    if rows is not None and callable(size) and size() > rows:
        raise ValueError(f"{rule}. Received: vocabulary of {size()} tokens, embedding of {rows} rows.")
