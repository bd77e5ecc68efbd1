"""How good translations are, and what they have to beat."""

import interface_text
import numpy as np
import translation_baseline

CHOOSING = 500  # pairs to choose baselines by where no others are held out for that


def score(found, pairs, language):
    """Returns BLEU (Papineni et al. 2002) and chrF (Popović 2015) as sacrebleu has them, and the share that is exactly right.

    Where sources have placeholders, "kept" is the share of such translations whose placeholders are those of the source.
    """
    import sacrebleu

    expected = [pair.target for pair in pairs]
    split = "char" if language in ("ja", "zh", "ko", "th") else "13a"
    scores = {
        "BLEU": sacrebleu.corpus_bleu(found, [expected], tokenize=split).score,
        "chrF": sacrebleu.corpus_chrf(found, [expected]).score,
        "exact": float(np.mean([a == b for a, b in zip(found, expected, strict=True)])),
    }
    held = [(interface_text.placeholders(pair.source), text) for pair, text in zip(pairs, found, strict=True)]
    held = [interface_text.placeholders(text) == own for own, text in held if own]
    return scores | ({"kept": float(np.mean(held))} if held else {})


class Baselines:
    """What a translator has to beat, the best of each kind: which one that is was chosen on pairs that are not reported.

    Args:
        training: list of `cldr_pairs.Pair`.
        choosing: list of `cldr_pairs.Pair` to choose by, or `None` for the last of the training pairs.
        form: how texts are prepared: `interface_text`, or `translation_pairs.AsTheyAre`.
        language: str, the code of the target.
    """

    def __init__(self, training, choosing, form, language):
        self.form, known = form, training
        if choosing is None:
            held = min(CHOOSING, len(training) // 5)
            known, choosing = training[:-held], training[-held:]
        self._learn(known)
        self.best = {}
        for kind, candidates in self._candidates().items():
            scores = {
                name: score(translate([pair.source for pair in choosing]), choosing, language)["BLEU"]
                for name, translate in candidates.items()
            }
            self.best[kind] = max(scores, key=scores.get)
        if known is not training:
            self._learn(training)

    def _learn(self, pairs):
        rows = [row for pair in pairs for row in self.form.training_rows(*pair[:2])]
        self.whole = [interface_text.number(*pair[:2])[0] for pair in pairs]
        self.rows = list(dict.fromkeys(rows))
        self.dictionaries = {
            "by Dice coefficients": translation_baseline.learn(self.rows),
            "by IBM model 1": translation_baseline.learn_by_alignment(self.rows),
        }

    def _candidates(self):
        nearest = {}
        for how in translation_baseline.NEARNESS:
            nearest[f"whole, by {how}"] = lambda texts, how=how: self._nearest_texts(texts, how)
            if self.form is interface_text:
                nearest[f"by {how}"] = lambda texts, how=how: self._by_sentence(
                    texts, lambda asked: self._nearest_rows(asked, how)
                )
        by_word = {
            name: lambda texts, own=own: self._by_sentence(texts, lambda asked: [own.translate(each) for each in asked])
            for name, own in self.dictionaries.items()
        }
        return {"copying the source": {"": list}, "nearest training pair": nearest, "word for word": by_word}

    def _nearest_texts(self, texts, how):
        asked = [interface_text.number(text) for text in texts]
        places = translation_baseline.nearest([pair[0] for pair in self.whole], [text for (text,), _ in asked], how)
        return [
            interface_text.name(self.whole[place][1], names) for place, (_, names) in zip(places, asked, strict=True)
        ]

    def _nearest_rows(self, sentences, how):
        places = translation_baseline.nearest([source for source, _ in self.rows], sentences, how)
        return [self.rows[place][1] for place in places]

    def _by_sentence(self, texts, translate):
        return by_sentence(self.form, texts, translate)

    def translate(self, texts):
        """Returns a dict from the name of a baseline to its translations."""
        rows = {}
        for kind, candidates in self._candidates().items():
            how = self.best[kind]
            rows[f"{kind} ({how})" if how else kind] = candidates[how](texts)
        return rows


def by_sentence(form, texts, translate):
    """Returns texts of which the sentences are translated, all at once, by a function from a list to a list."""
    prepared = [form.prepare(text) for text in texts]
    found = iter(translate([sentence for sentences, _ in prepared for sentence in sentences]))
    return [form.restore([next(found) for _ in sentences], names) for sentences, names in prepared]
