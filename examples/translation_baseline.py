"""What a translator has to beat: the pair whose source is nearest, and dictionaries learned from the pairs, word for word."""

import collections
import re

import numpy as np

# How nearness may be measured: arguments of scikit-learn's TfidfVectorizer.
NEARNESS = {
    "words": {"analyzer": "word", "token_pattern": r"\w+|[^\w\s]"},
    "words and pairs of words": {"analyzer": "word", "token_pattern": r"\w+|[^\w\s]", "ngram_range": (1, 2)},
    "2 to 4 characters of words": {"analyzer": "char_wb", "ngram_range": (2, 4)},
    "3 to 6 characters": {"analyzer": "char", "ngram_range": (3, 6)},
}


def words(sentence):
    """Returns words, numbers, placeholders in braces and marks, each with whether a space stands before it."""
    return [(match[2], bool(match[1])) for match in re.finditer(r"(\s*)(\w+|\{\w+\}|[^\w\s])", sentence)]


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


def learn_by_alignment(pairs, rounds=5):
    """Learns a dictionary from pairs of sentences by IBM model 1 in both directions: the e with the highest t(e | f) t(f | e).

    t(e | f), how likely f is translated by e, is found by expectation maximization; each word of a target comes from one word
    of its source, or from none.

    Args:
        pairs: list of (source, target).
        rounds: int, how often the probabilities are estimated anew.

    Returns:
        `Dictionary`.

    Reference:
        Brown et al. 1993, "The Mathematics of Statistical Machine Translation: Parameter Estimation", section 4.1.
    """
    known, rows = ({None: 0}, {None: 0}), []
    for pair in pairs:
        found = [[word for word, _ in words(sentence)] for sentence in pair]
        rows.append(
            [[side.setdefault(word, len(side)) for word in row] for side, row in zip(known, found, strict=True)]
        )
    likely, back = (_likely(rows, side, len(known[1 - side]), rounds) for side in (0, 1))
    spelled, best, highest = [list(side) for side in known], {}, {}
    for (given, found), value in likely.items():
        if given and found and back.get((found, given)):
            word, other = spelled[0][given], spelled[1][found]
            how_good = (round(value * back[found, given], 9), other == word, other)  # of two alike, what stays as it is
            if how_good > highest.get(word, (0.0,)):
                highest[word], best[word] = how_good, other
    return Dictionary(best)


def _likely(rows, side, size, rounds):
    """Returns t(e | f) as a dict from (f, e), f a word of that side of the rows or 0, for none."""
    beside = [([0, *row[side]], row[1 - side]) for row in rows if row[1 - side]]
    if not beside:
        return {}
    given = np.concatenate([np.tile(ours, len(theirs)) for ours, theirs in beside])
    found = np.concatenate([np.repeat(theirs, len(ours)) for ours, theirs in beside])
    lengths = np.concatenate([[len(ours)] * len(theirs) for ours, theirs in beside])
    owners = np.repeat(np.arange(len(lengths)), lengths)  # which word of a target each meeting belongs to
    meetings, places = np.unique(given * size + found, return_inverse=True)
    likely = np.ones(len(meetings))
    for _ in range(rounds):
        share = likely[places]
        share /= np.bincount(owners, share)[owners]
        likely = np.bincount(places, share)
        likely /= np.bincount(meetings // size, likely)[meetings // size]
    return {divmod(int(meeting), size): value for meeting, value in zip(meetings, likely.tolist(), strict=True)}


def nearest(known, asked, how="words"):
    """Returns for each sentence the place of the known one that is nearest by TF-IDF, a list of int.

    Args:
        known: list of str.
        asked: list of str.
        how: one of `NEARNESS`.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **NEARNESS[how])
    table, places = vectorizer.fit_transform(known).T.tocsc(), []
    for first in range(0, len(asked), 256):  # the products of all with all need not be there at once
        likeness = vectorizer.transform(asked[first : first + 256]) @ table
        places += np.asarray(likeness.argmax(axis=1)).ravel().tolist()
    return places
