"""Which docstring is nearest to another, by the words that both have."""

import numpy as np
import summary_texts

_NAMES = 3  # times that a name counts
_COMMON = 0.02  # words of a larger share of the texts are left out: the search takes a fiftieth of the time
_TRIED = 40  # nearest texts, of which the first of another file is taken


def named(pair):
    """Returns the words of a pair, those of its name more often."""
    return " ".join([*[summary_texts.own_name(pair)] * _NAMES, *summary_texts.fields(pair)])


class Neighbors:
    """Finds the nearest of some pairs by TF-IDF, sublinear in how often a word occurs.

    Args:
        known: list of pairs, among which is searched.
        form: function from a pair to the text that is compared.
        every_word: bool, whether to compare by all words, and not only by those that are in few of the texts.
    """

    def __init__(self, known, form=named, every_word=False):
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.form, self.known = form, known
        common = 1.0 if every_word else min(1.0, max(_COMMON, 10 / len(known)))
        self.vectorizer = TfidfVectorizer(sublinear_tf=True, dtype=np.float32, max_df=common)
        self.words = self.vectorizer.fit_transform([form(pair) for pair in known]).T.tocsr()  # (words, known)

    def nearest(self, pairs, batch=200):
        """Returns for each pair the place of the nearest known one of another file, or `None` where no word is in common."""
        return [place for first in range(0, len(pairs), batch) for place in self._of(pairs[first : first + batch])]

    def _of(self, pairs):
        near = (self.vectorizer.transform([self.form(pair) for pair in pairs]) @ self.words).toarray()
        tried = min(_TRIED, len(self.known))
        best = np.argpartition(-near, tried - 1, axis=1)[:, :tried]
        for pair, scores, places in zip(pairs, near, best, strict=True):
            ranked = places[np.argsort(-scores[places], kind="stable")]
            fitting = (
                int(place) for place in ranked if scores[place] > 0 and self._another_file(pair, self.known[place])
            )
            yield next(fitting, None)

    @staticmethod
    def _another_file(pair, known):
        own = getattr(pair, "file", None)
        return own is None or own != known.file
