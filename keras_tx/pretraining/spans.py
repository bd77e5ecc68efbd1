"""Span masking: runs of tokens are hidden whole, and are to be told from the rest and from the tokens at their ends."""

import numpy as np

from .. import arguments
from . import rates_and_ids
from .replacement import checked, make_examples
from .vocabulary import check_word_starts, continues_a_word

# How many lengths are tried in place of one that fits nowhere.
ATTEMPTS = 10


def mask_spans(
    token_ids,
    seed,
    vocabulary_size,
    mask_id,
    num_predictions,
    special_ids=(0,),
    padding_id=0,
    rate=0.15,
    word_starts=None,
    span_rate=0.2,
    max_span_length=10,
    max_span_tokens=20,
    mask_rate=0.8,
    random_rate=0.1,
) -> dict:
    """Hides spans of each row, chosen at random, and returns which tokens they were and what stands at their ends.

    Lengths are drawn from p(l) ~ q (1 - q)^(l - 1), l = 1 ... 10, q = 0.2, of mean 3.80; a start from all places where the span
    fits. Spans neither overlap nor touch, and have a token on each side that is not padding: a boundary is always seen. One
    draw decides for all tokens of a span: masked with chance 0.8, each a random token with chance 0.1, or kept.

    Of a row's n tokens that are not special, rate n are hidden in expectation, and the lengths follow p(l), as long as the
    spans find room. A row's own number varies around that: a short row often gets none, and it stays below rate n +
    2 max_span_length, so that with M of that size no span is ever dropped. With `word_starts`, n and l count words: the share
    holds for words, and so nearly for tokens.

    Args:
        token_ids: integer array or tensor of TensorFlow, (B, T) or (T,).
        seed: int, integer scalar tensor, or a tuple of those. The same seed gives the same example on numpy and in tf.data.
        vocabulary_size: int, V.
        mask_id: int, the id that hides a token.
        num_predictions: int, M: the size of the outputs. A span that finds no room in it is dropped.
        special_ids: ids that are never hidden. They may stand at the end of a span, but for padding.
        padding_id: int, never hidden and never at the end of a span.
        rate: float above 0, the share that is hidden.
        word_starts: bool table (V,) that says which ids start a word, for spans of whole words.
        span_rate: float above 0, q.
        max_span_length: int, the greatest length.
        max_span_tokens: int, the most tokens that a span of words may have.
        mask_rate: float, the share of spans that becomes masks.
        random_rate: float, the share of spans that becomes random tokens.

    Returns:
        A dict of `token_ids`, `mask_positions`, `mask_ids` and `mask_weights`, as `mask_tokens` returns it, and further

        `span_left`: int32 (B, M), the position of the token before the span of each prediction; 0 where unused.
        `span_right`: int32 (B, M), the position of the token after it; 0 where unused.
        `span_offsets`: int32 (B, M), the place of the prediction in its span, counted from 0.

    Raises:
        ValueError: as `mask_tokens`, and for a span rate or a greatest length out of range.

    Example:

    ```python
    ids = np.array([[2, 21, 22, 23, 24, 25, 26, 27, 28, 3, 0, 0]])
    example = keras_tx.pretraining.mask_spans(
        ids, seed=1, vocabulary_size=50, mask_id=4, num_predictions=8, special_ids=(0, 2, 3, 4), rate=0.4
    )
    print(example["token_ids"], example["span_left"], example["span_right"])
    ```

    Reference:
        Joshi et al. 2020, "SpanBERT", section 3.1. The code published with it cuts the last span short to meet the share.
    """
    vocabulary_size = arguments.integer("vocabulary_size", vocabulary_size, 1)
    padding_id = arguments.token_id("padding_id", padding_id, vocabulary_size)
    special_ids = rates_and_ids.token_ids("special_ids", special_ids, vocabulary_size)
    replacement = checked(vocabulary_size, mask_id, [*special_ids, padding_id], mask_rate, random_rate)
    rate, q = rates_and_ids.rate("rate", rate, zero=False), rates_and_ids.rate("span_rate", span_rate, zero=False)
    word_starts = check_word_starts(word_starts, vocabulary_size)
    longest = arguments.integer("max_span_tokens", max_span_tokens, 1)
    chances = q * (1 - q) ** np.arange(arguments.integer("max_span_length", max_span_length, 1))
    chances /= chances.sum()

    def choose(generator, ids, candidates):
        continues = continues_a_word(ids, candidates, word_starts)
        lengths, kept = _draw_lengths(generator, rate * (candidates & ~continues).sum(axis=1), chances)
        spans = []
        for row in range(len(ids)):
            starts, ends, free = _words(candidates[row], continues[row], ids[row] != padding_id)
            drawn = lengths[row, kept[row]]
            found = _place(generator, drawn, starts, ends, free, longest, num_predictions, chances)
            spans.extend((row, left, right) for left, right in sorted(found))
        rows, lefts, rights = np.array(spans, dtype=int).reshape(-1, 3).T
        sizes = rights - lefts
        offsets = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        extra = {
            "span_left": np.repeat(lefts - 1, sizes),
            "span_right": np.repeat(rights, sizes),
            "span_offsets": offsets,
        }
        draws = np.repeat(generator.random(len(sizes)), sizes)
        return np.repeat(rows, sizes), np.repeat(lefts, sizes) + offsets, draws, extra

    extra = ("span_left", "span_right", "span_offsets")
    return make_examples(choose, token_ids, seed, replacement, num_predictions, extra)


def _draw_lengths(generator, budgets, chances):
    """Lengths (B, K), and which of them are kept so that the sum of those is the budget (B,) in expectation."""
    # Spans laid end to end without beginning or end, seen through a window as wide as the budget: each is kept with the share
    # of it that lies inside. A window that opened where a span starts would favour short ones. At a random place, the span it
    # opens in is of length l with chance l p(l) / mean, so every length is kept p(l) budget / mean times in expectation.
    sizes = np.arange(1, len(chances) + 1)
    rows, most = len(budgets), int(np.ceil(budgets.max(initial=0))) + 1
    lengths = generator.choice(sizes, (rows, most), p=chances)
    lengths[:, 0] = generator.choice(sizes, rows, p=chances * sizes / (chances @ sizes))
    starts = np.cumsum(lengths, axis=1) - lengths - lengths[:, :1] * generator.random((rows, 1))
    inside = np.minimum(starts + lengths, budgets[:, None]) - np.maximum(starts, 0)
    return lengths, generator.random(lengths.shape) * lengths < inside


def _words(candidates, continues, real):
    """Starts and ends of the words of a row, and which of them may be masked; a token that may not be masked is a word."""
    starts = np.flatnonzero(~continues)
    ends = np.append(starts[1:], len(real))
    edged = np.concatenate([[False], real, [False]])
    return starts, ends, candidates[starts] & edged[starts] & edged[ends + 1]


def _place(generator, lengths, starts, ends, free, longest, room, chances):
    """The spans (left, right) that found a place, right exclusive."""
    columns = np.arange(len(free))
    # How many words from each on are free in a row.
    ahead = np.minimum.accumulate(np.where(free, len(free), columns)[::-1])[::-1] - columns
    spans = []
    for length in lengths:
        for _ in range(ATTEMPTS):
            places = np.flatnonzero(ahead >= length)
            places = places[ends[places + length - 1] - starts[places] <= longest]
            if len(places):
                break
            length = 1 + generator.choice(len(chances), p=chances)
        else:
            continue
        first = places[generator.integers(len(places))]
        left, right = starts[first], ends[first + length - 1]
        if right - left > room:
            continue
        room -= right - left
        spans.append((left, right))
        before = max(first - 1, 0)
        ahead[:before] = np.minimum(ahead[:before], before - columns[:before])
        ahead[before : first + length + 1] = 0
    return spans
