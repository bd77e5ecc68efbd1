"""Sets of Unicode characters as the `tokenizers` package draws them: its tables are asked, because versions of Unicode differ."""

import functools

import numpy as np

COUNT = 0x110000
PRIVATE = "\ue000"  # a character that no table of Unicode changes or makes
# Planes whose characters no rule tells apart: none is assigned in 4 to 13, and 15 and 16 are private.
_ALIKE = (range(0x40000, 0xE0000), range(0xF0000, 0x110000))
_ASKED = [*range(0xD800), *range(0xE000, 0x40001), *range(0xE0000, 0xF0001)]  # no surrogates: UTF-8 has none of them
_LATIN = 0x3000  # below it stand all characters that are a letter of ASCII in another case


def asked():
    """Returns the code points of all characters but those that are like others."""
    return _ASKED


@functools.lru_cache
def _characters(end=COUNT):
    """Returns the code points of the characters to ask about below an end, and the string of them."""
    codes = np.array([code for code in _ASKED if code < end])
    return codes, "".join(map(chr, codes))


def _spread(members):
    """Writes into the planes of characters that are alike what was found for their first ones."""
    for plane in _ALIKE:
        members[plane.start : plane.stop] = members[plane.start]
    members.flags.writeable = False
    return members


@functools.lru_cache(maxsize=256)
def matching(pattern):
    r"""Returns which characters a pattern of one character matches, a read-only bool array (1,114,112,).

    Args:
        pattern: str in the syntax of the package, such as `\p{L}` or `[^\s]`.

    Raises:
        ValueError: if the package cannot read the pattern.
    """
    import tokenizers

    result = np.zeros(COUNT, bool)
    if len(pattern) == 1:
        result[ord(pattern)] = True
        return _spread(result)
    letter = len(pattern) == len("(?i:a)") and pattern.startswith("(?i:") and pattern.isascii()
    codes, text = _characters(_LATIN if letter else COUNT)
    try:
        runs = tokenizers.Regex(f"(?:{pattern})+")
    except Exception as error:  # the package raises nothing narrower
        raise ValueError(
            f"A split must be by a pattern that `tokenizers` reads. Received: {pattern!r} ({error})."
        ) from None
    result[codes] = True
    for _, (start, end) in tokenizers.pre_tokenizers.Split(runs, "removed").pre_tokenize_str(text):
        result[codes[start:end]] = False
    return _spread(result)


@functools.lru_cache(maxsize=8)
def split_by(kind):
    """Returns which characters a pre-tokenizer takes out, and which of them it keeps as words: two bool arrays.

    Args:
        kind: str, the name of a pre-tokenizer that asks for no arguments and looks at one character at a time.
    """
    import tokenizers

    codes, _ = _characters()
    taken, kept = np.zeros(COUNT, bool), np.zeros(COUNT, bool)
    taken[codes] = True
    # Between two letters, so that what belongs to a word stands inside one.
    text = "a" + "a".join(map(chr, codes)) + "a"
    options = {"individual_digits": True} if kind == "Digits" else {}
    for word, (start, end) in getattr(tokenizers.pre_tokenizers, kind)(**options).pre_tokenize_str(text):
        if end - start > 1:
            taken[codes[start // 2 : end // 2]] = False
        elif start % 2:
            kept[ord(word)] = True
    return _spread(taken), _spread(kept)


def mapped(normalize, apart="#"):
    """Returns what a normalizer makes of each character that it changes, a dict of int to str.

    Args:
        normalize: function of a str that looks at one character at a time.
        apart: str, a character that it neither changes nor makes of others.

    Raises:
        ValueError: if it does.
    """
    codes, _ = _characters()
    codes = codes[codes != ord(apart)]
    made = normalize(apart.join(map(chr, codes))).split(apart)
    if len(made) != len(codes):
        raise ValueError(f"A normalizer must leave {apart!r} alone. Received: one that does not.")
    result = {int(code): text for code, text in zip(codes, made, strict=True) if text != chr(code)}
    for plane in _ALIKE:
        if plane.start in result and not result[plane.start]:
            result |= dict.fromkeys(plane, "")
    return result


def re2_class(members):
    """Returns the class of RE2 that has these characters, without its brackets."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], members, [False]]).astype(np.int8))).reshape(-1, 2)
    return "".join(rf"\x{{{start:x}}}-\x{{{end - 1:x}}}" for start, end in edges)
