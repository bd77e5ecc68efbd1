"""Texts of an interface in the form in which they are translated, and back: sentences, without what need not be learned.

A text is cut into sentences. The placeholders of a sentence, such as {entity_name}, are numbered: {0}, {1}, ... A capital at its
begin is written as a mark and a small letter, so that a word is one token wherever it stands.
"""

import re
from collections import Counter

PLACEHOLDERS = [f"{{{number}}}" for number in range(10)]
CAPITAL = "^"
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_SENTENCE_END = re.compile(r"(?<=[.!?:])\s+(?=[\"'(¿¡{]?[A-ZÀ-ÞА-Я¿¡{])")


def sentences(text):
    """Returns the sentences of a text, list of str: whatever a space and a capital follow the end of."""
    return _SENTENCE_END.split(" ".join(text.split()))


def placeholders(text):
    """Returns how often each placeholder stands in a text, a `Counter`."""
    return Counter(_PLACEHOLDER.findall(text))


def number(*texts):
    """Returns texts with their placeholders numbered as the first has them, and the list of what stood there.

    Those that the first has not stay, and so do those above the tenth.
    """
    names = list(dict.fromkeys(_PLACEHOLDER.findall(texts[0])))[: len(PLACEHOLDERS)]
    numbers = dict(zip(names, PLACEHOLDERS, strict=False))
    return [_PLACEHOLDER.sub(lambda match: numbers.get(match[0], match[0]), text) for text in texts], names


def name(text, names):
    """Returns a text with the names of its numbered placeholders; one that has no name stays as it is."""
    known = dict(zip(PLACEHOLDERS, names, strict=False))
    return _PLACEHOLDER.sub(lambda match: known.get(match[0], match[0]), text)


def lower(sentence):
    """Returns a sentence that begins with a space, its first letter small behind a mark if it was a capital."""
    is_capital = sentence[:1].isupper() and not sentence[1:2].isupper()
    return f"{CAPITAL} {sentence[0].lower()}{sentence[1:]}" if is_capital else f" {sentence}"


def upper(sentence):
    """Undoes `lower`."""
    sentence = sentence.strip()
    if not sentence.startswith(f"{CAPITAL} "):
        return sentence
    sentence = sentence.removeprefix(f"{CAPITAL} ").strip()
    return sentence[:1].upper() + sentence[1:]


def prepare(text):
    """Returns the sentences of a text as they are translated, and the names of the placeholders of each."""
    numbered = [number(sentence) for sentence in sentences(text)]
    return [lower(sentence) for (sentence,), _ in numbered], [names for _, names in numbered]


def restore(translated, names):
    """Returns the text that translated sentences make, with the names that `prepare` gave."""
    return " ".join(name(upper(sentence), own) for sentence, own in zip(translated, names, strict=True))


def training_rows(source, target):
    """Returns pairs to train on of a text and its translation: sentence by sentence where both have as many, else whole.

    Pairs whose placeholders differ, which no rule of a translation explains, are left out.
    """
    parts = sentences(source), sentences(target)
    pairs = list(zip(*parts, strict=True)) if len(parts[0]) == len(parts[1]) else [(source, target)]
    if any(placeholders(one) != placeholders(other) for one, other in pairs):
        pairs = [(" ".join(source.split()), " ".join(target.split()))]
    rows = [number(*pair)[0] for pair in pairs if placeholders(pair[0]) == placeholders(pair[1])]
    return [(lower(one), lower(other)) for one, other in rows]
