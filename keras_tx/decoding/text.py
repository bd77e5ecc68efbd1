"""Between strings and token ids, by a tokenizer that is not ours."""

import numpy as np


def ids_of(text, tokenizer):
    """Returns the token ids of a string, int32 (T,).

    Raises `ValueError` if `text` is not a string, or the tokenizer lacks a method or pads to a fixed length.
    """
    if not isinstance(text, str):
        raise ValueError(f"`prompts` must be strings where a tokenizer is given. Received: {text!r}.")
    for name in ("tokenize", "detokenize"):
        if not callable(getattr(tokenizer, name, None)):
            raise ValueError(f"`tokenizer` must have a method `{name}`. Received: tokenizer={tokenizer!r}.")
    if getattr(tokenizer, "sequence_length", None):
        raise ValueError(
            "`tokenizer` must not pad to a length of its own. Received: a tokenizer with "
            f"sequence_length={tokenizer.sequence_length}."
        )
    return np.asarray(tokenizer.tokenize(text)).astype("int32")


def text_of(ids, tokenizer):
    """Returns the string of token ids; bytes that make no whole character become U+FFFD."""
    text = tokenizer.detokenize(np.array(ids, "int32"))
    if hasattr(text, "numpy"):
        text = text.numpy()
    return text.decode("utf-8", errors="replace") if isinstance(text, bytes) else str(text)


def text_pieces(pieces, tokenizer):
    """Yields the text of lists of ids, piece by piece: the text of all so far, less what was yielded before."""
    ids, given = [], ""
    for piece in pieces:
        ids.extend(piece)
        text = text_of(ids, tokenizer)
        # U+FFFD at the end: the bytes of a character that is not whole yet.
        whole = text.rstrip("\ufffd")
        if whole.startswith(given) and len(whole) > len(given):
            yield whole[len(given) :]
            given = whole
    text = text_of(ids, tokenizer)
    if len(text) > len(given):
        yield text[len(given) :]
