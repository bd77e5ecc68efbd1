"""How good summaries are, and what a summarizer has to beat."""

import re

import summary_neighbors
import summary_texts

# Each the best of those that were tried on validation files and packages: docs/log.md.
FIRST_WORDS, WORDS_BESIDE_NAME = 14, 9
_SENTENCE = re.compile(r".+?(?:[.!?:](?=\s)|(?=\n\s*\n)|\Z)", re.DOTALL)


def rouge(expected, found):
    """Returns the F1 scores of ROUGE-1 and ROUGE-L (Lin 2004, "ROUGE", sections 2 and 3) as keras-hub measures them."""
    import keras_hub

    scores = {}
    for name, metric in (("ROUGE-1", keras_hub.metrics.RougeN(order=1)), ("ROUGE-L", keras_hub.metrics.RougeL())):
        metric.update_state(list(expected), list(found))
        scores[name] = float(metric.result()["f1_score"])
    return scores


def first_words(texts, count):
    """Returns the first `count` words of each text."""
    return [" ".join(text.split()[:count]) for text in texts]


def first_sentences(texts):
    """Returns the first sentence of each text, or its first paragraph where that ends earlier."""
    return [" ".join(_SENTENCE.match(text.strip() + "\n")[0].split()) for text in texts]


def nearest_summaries(training, pairs, form=lambda pair: f"{pair.signature} {pair.text}"):
    """Returns for each pair the summary of the training pair whose text is nearest by TF-IDF.

    Args:
        training: list of `docstring_pairs.Pair`.
        pairs: the same.
        form: function from a pair to the text that is compared.
    """
    places = summary_neighbors.Neighbors(training, form, every_word=True).nearest(pairs)
    return ["" if place is None else training[place].summary for place in places]


def name_and_words(pair):
    """Returns the name of what a pair describes and the first words of its text, each word once."""
    return " ".join(dict.fromkeys([*summary_texts.own_name(pair).split(), *pair.text.split()[:WORDS_BESIDE_NAME]]))


def of(parts, pairs):
    """Returns a dict from the name of a baseline to its summaries of the pairs."""
    texts = [pair.text for pair in pairs]
    return {
        f"the text's first {FIRST_WORDS} words": first_words(texts, FIRST_WORDS),
        "the text's first sentence": first_sentences(texts),
        f"name and first {WORDS_BESIDE_NAME} words": [name_and_words(pair) for pair in pairs],
        "nearest training text's summary": nearest_summaries(parts.training, pairs, summary_neighbors.named),
    }
