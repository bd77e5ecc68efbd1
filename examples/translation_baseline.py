"""What a translator has to beat: a dictionary learned from the pairs, applied word for word."""

import collections
import re


def words(sentence):
    """Returns words, numbers and marks, each with whether a space stands before it."""
    return [(match[2], bool(match[1])) for match in re.finditer(r"(\s*)(\w+|[^\w\s])", sentence)]


class Dictionary:
    """The likeliest translation of each word.

    Args:
        best: dict from word to word.
    """

    def __init__(self, best):
        self.best = best

    def translate(self, sentence):
        """Returns the sentence with every word replaced; one that is not known stays."""
        return "".join(" " * spaced + self.best.get(word, word) for word, spaced in words(sentence))


def learn(pairs):
    """Learns a dictionary from pairs of sentences: the word of the target that most often comes with a word, for how often
    either comes at all (their Dice coefficient).

    Args:
        pairs: list of (source, target).

    Returns:
        `Dictionary`.
    """
    together, counts = collections.defaultdict(collections.Counter), (collections.Counter(), collections.Counter())
    for pair in pairs:
        sides = [{word for word, _ in words(sentence)} for sentence in pair]
        for count, side in zip(counts, sides, strict=True):
            count.update(side)
        for word in sides[0]:
            together[word].update(sides[1])
    best = {}
    for word, others in together.items():
        scores = {other: count / (counts[0][word] + counts[1][other]) for other, count in others.items()}
        best[word] = max(scores, key=lambda other: (scores[other], other == word, other))
    return Dictionary(best)
