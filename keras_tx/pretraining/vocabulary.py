"""What masking needs to know of a vocabulary: the ids of its special tokens, and which tokens start a word."""

import numpy as np


def special_token_ids(vocabulary, names=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")) -> dict[str, int]:
    """Looks up the ids of special tokens.

    Args:
        vocabulary: list of str, the tokens in the order of their ids, as `tokenizer.get_vocabulary()` returns them.
        names: the special tokens.

    Returns:
        A dict {name: id} in the order of `names`; its values are the `special_ids` of `mask_tokens`.

    Raises:
        ValueError: if the vocabulary lacks one.

    Example:

    ```python
    ids = keras_tx.pretraining.special_token_ids(["[PAD]", "[MASK]", "a", "##b"], names=("[PAD]", "[MASK]"))
    print(ids["[MASK]"])  # 1
    ```
    """
    vocabulary, names = _tokens("vocabulary", vocabulary), _tokens("names", names)
    ids = {token: number for number, token in reversed([*enumerate(vocabulary)])}
    missing = [name for name in names if name not in ids]
    if missing:
        raise ValueError(
            f"`vocabulary` must hold every special token. Received: a vocabulary of {len(vocabulary)} tokens without "
            f"{', '.join(map(repr, missing))}."
        )
    return {name: ids[name] for name in names}


def word_start_table(vocabulary, prefix="##") -> np.ndarray:
    """Says of each token of a WordPiece vocabulary whether it starts a word.

    Args:
        vocabulary: list of str, the tokens in the order of their ids.
        prefix: str, what every piece of a word but the first begins with.

    Returns:
        A bool array (V,).

    Raises:
        ValueError: unless the vocabulary is a list of strings and the prefix is a string that is not empty.

    Example:

    ```python
    table = keras_tx.pretraining.word_start_table(["[PAD]", "[MASK]", "play", "##ing"])
    print(table)  # [True True True False]
    ```

    Reference:
        Wu et al. 2016, "Google's Neural Machine Translation System", section 4.1.
    """
    if not isinstance(prefix, str) or not prefix:
        raise ValueError(f"`prefix` must be a string that is not empty. Received: prefix={prefix!r}.")
    return np.array([not token.startswith(prefix) for token in _tokens("vocabulary", vocabulary)], dtype=bool)


def check_word_starts(word_starts, vocabulary_size):
    """Returns the table of word starts as an array, or `None`; raises `ValueError` unless it is bool (V,)."""
    if word_starts is None:
        return None
    table = np.asarray(word_starts)
    if table.dtype != bool or table.shape != (vocabulary_size,):
        raise ValueError(
            "`word_starts` must be a bool table with an entry for every id. Received: word_starts of dtype "
            f"{table.dtype} and shape {table.shape} with vocabulary_size={vocabulary_size}."
        )
    return table


def continues_a_word(ids, candidates, word_starts):
    """Says which tokens belong to the word of the token before them; a token that may not be masked ends a word.

    Args:
        ids: int array (B, T).
        candidates: bool array (B, T), the tokens of words.
        word_starts: bool table (V,), or `None` where each token is a word.

    Returns:
        A bool array (B, T).
    """
    continues = np.zeros(ids.shape, dtype=bool)
    if word_starts is not None:
        continues[:, 1:] = candidates[:, 1:] & candidates[:, :-1] & ~word_starts[ids[:, 1:]]
    return continues


def _tokens(name, tokens):
    # A dict from token to id would be read in the order of its keys, which need not be that of its ids.
    listed = hasattr(tokens, "__iter__") and not isinstance(tokens, (str, bytes, dict))
    if not listed or not all(isinstance(token, str) for token in tokens):
        raise ValueError(f"`{name}` must be a list of strings. Received: {name}={tokens!r:.80}.")
    return [*tokens]
