"""Between strings and token ids, by a tokenizer that is not ours."""

import numpy as np


def ids_of(text, tokenizer, argument="prompts"):
    """Returns the token ids of a string, int32 (T,).

    Raises `ValueError` if `text` is not a string, naming the argument that it came in, or as `check_tokenizer` does.
    """
    if not isinstance(text, str):
        raise ValueError(
            f"`{argument}` must be strings, or rows of token ids, where a tokenizer is given. Received: {text!r}."
        )
    check_tokenizer(tokenizer)
    return np.asarray(tokenizer.tokenize(text)).astype("int32")


def check_tokenizer(tokenizer):
    """Raises `ValueError` if the tokenizer lacks a method or pads to a fixed length."""
    for name in ("tokenize", "detokenize"):
        if not callable(getattr(tokenizer, name, None)):
            raise ValueError(f"`tokenizer` must have a method `{name}`. Received: tokenizer={tokenizer!r}.")
    if getattr(tokenizer, "sequence_length", None):
        raise ValueError(
            "`tokenizer` must not pad to a length of its own. Received: a tokenizer with "
            f"sequence_length={tokenizer.sequence_length}."
        )


def is_row_of_ids(prompt):
    """Whether a prompt is a list or an array of one axis, and so no string."""
    return isinstance(prompt, (list, tuple)) or len(getattr(prompt, "shape", ())) == 1


def context_ids(name, value, tokenizer, vocabulary_size):
    """Returns what a model is given at an input, with rows of ids in the place of strings.

    Raises `ValueError` for strings without a tokenizer, for an input that holds no ids, and for one without a token.
    """
    rows = value.tolist() if isinstance(value, np.ndarray) and value.dtype.kind in "OU" else value
    if not isinstance(rows, (list, tuple, str)) or not any(isinstance(row, str) for row in rows):
        return value
    if isinstance(rows, str):
        raise ValueError(f"`context` must have a row for each prompt. Received: one string, {rows!r}, for {name!r}.")
    if tokenizer is None or vocabulary_size is None:
        reason = "and no tokenizer" if tokenizer is None else "which is no input of token ids"
        raise ValueError(
            "`context` must hold strings beside a `tokenizer` alone, for inputs of token ids. Received: strings for "
            f"{name!r}, {reason}."
        )
    found = [ids_of(row, tokenizer, "context") if isinstance(row, str) else row for row in rows]
    for index, (row, ids) in enumerate(zip(rows, found, strict=True)):
        if isinstance(row, str) and len(ids) == 0:
            raise ValueError(
                f"`context` must have texts of at least one token. Received: {row!r} in row {index} of {name!r}."
            )
    return found


def check_starts(prompts, ids, tokenizer, ends):
    """Raises `ValueError` for a string that nothing is generated after beside a context: it has no token, or the text's end.

    `prompts` are the prompts as they were given, `ids` their ids, and `ends` the ids that end a text.
    """
    for index, (prompt, row) in enumerate(zip(prompts, ids, strict=True)):
        if not isinstance(prompt, str):
            continue
        ended = len(row) > 0 and row[-1] in ends and row[-1:].tolist() == ids_of("", tokenizer)[-1:].tolist()
        if ended or len(row) == 0:
            what = f"which the tokenizer ends with {row[-1]}" if ended else "which has no token"
            raise ValueError(
                "`prompts` must hold what the answers start with beside a `context`, for an encoder-decoder a start token as "
                f"ids: prompts=[[start_id]] * {len(prompts)}. Received: {prompt!r} in row {index}, {what}."
            )


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
