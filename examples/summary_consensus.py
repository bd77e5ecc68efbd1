"""The summary on which many agree: minimum Bayes risk, with ROUGE-1 as what is gained (Kumar & Byrne 2004; Eikema & Aziz 2022).

A beam finds what is likeliest as a whole, which is short where the model is unsure. What has the most words in common with many
summaries that the model draws is likely to have many in common with the one that was written.
"""

import collections
import re

from keras_tx import decoding

COUNT, BATCH = 24, 240  # summaries that are drawn of a text, and that are drawn at once
SAMPLER = decoding.Sample(temperature=0.7)  # both chosen on validation docstrings: docs/log.md
_WORD = re.compile(r"[a-z0-9]+")


def summarize(module, model, tokenizer, pairs, others, count=COUNT):
    """Returns for each pair the one summary that gains most.

    Args:
        module: `summary_training` or `summary_decoder`, of which the model is.
        model: `keras.Model`.
        tokenizer: as the module's `summarize` takes.
        pairs: list of pairs.
        others: list of lists of summaries of all pairs, of which one may be taken too.
        count: int, how many to draw of each pair.
    """
    drawn = module.summarize(model, tokenizer, [pair for pair in pairs for _ in range(count)], SAMPLER, BATCH)
    rows = [drawn[first : first + count] for first in range(0, len(drawn), count)]
    return [best([*row, *more], row) for row, *more in zip(rows, *others, strict=True)]


def best(candidates, drawn):
    """Returns the candidate whose mean ROUGE-1 beside what was drawn is largest; of equals the first."""
    bags = [bag(text) for text in drawn]
    gains = {text: sum(overlap(bag(text), other) for other in bags) for text in dict.fromkeys(candidates)}
    return max(gains, key=gains.get)


def bag(text):
    """Returns how often each word stands in a text, as ROUGE counts."""
    return collections.Counter(_WORD.findall(text.lower()))


def overlap(words, others):
    """Returns the F1 score of ROUGE-1 of two bags of words."""
    common = sum((words & others).values())
    return 2 * common / (sum(words.values()) + sum(others.values())) if common else 0.0
