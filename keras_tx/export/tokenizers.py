"""Tokenizers that are served with a model: whether they fit it, and how they are called."""

from ..decoding.inputs import vocabulary_size
from ..decoding.text import text_of


def tokens_of(tf, tokenize, texts):
    """Returns what a tokenizer gives for strings (B,), B of at least 0, of which all may be empty.

    One more text goes in, whose row is dropped: some tokenizers fail where no text of the batch has a token.
    """
    return tokenize(tf.concat([texts, ["a"]], axis=0))[:-1]


def dense_ids(tf, ids, length, dtype):
    """Returns ragged or dense ids as dense ones (B, length), cut or padded with 0; `None` for the longest of the batch."""
    if isinstance(ids, tf.RaggedTensor):
        ids = ids.to_tensor(0, shape=(None, length))
    elif length is not None:
        ids = ids[:, :length]
    return tf.cast(ids, dtype)


def check_tokenizer(tf, tokenizer, model, text_input=None):
    """Raises `ValueError` unless the tokenizer gives integers that the model's embeddings have rows for.

    Else the folder would be written, and every request to it fail or, worse, be answered.
    """
    if not callable(tokenizer) or (len(model.inputs) != 1 and text_input is None):
        raise ValueError(
            "`tokenizer` must be callable, and its model must have one input, or a `text_input` be named. Received: "
            f"tokenizer={tokenizer!r}, a model with {len(model.inputs)} inputs."
        )
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
    rows = vocabulary_size(model, text_input)
    size = getattr(tokenizer, "vocabulary_size", None)
    if rows is not None and callable(size) and size() > rows:
        raise ValueError(
            "`tokenizer` must have no more tokens than the model's embedding has rows. Received: vocabulary of "
            f"{size()} tokens, embedding of {rows} rows."
        )


def check_speller(model, tokenizer, name):
    """Raises `ValueError` if the tokenizer has tokens that the model never gives, or cannot spell one that it may give.

    Args:
        model: functional `keras.Model` of one output.
        tokenizer: keras-hub tokenizer.
        name: str, the name of the input of the ids that are decoded.
    """
    rows = vocabulary_size(model, name)
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
