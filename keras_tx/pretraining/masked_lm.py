"""Masked language modelling: some tokens of a text are hidden, and are to be told from the rest."""

import numpy as np

from . import rates_and_ids
from .replacement import checked, make_examples
from .vocabulary import check_word_starts, continues_a_word


def mask_tokens(
    token_ids,
    seed,
    vocabulary_size,
    mask_id,
    num_predictions,
    special_ids=(0,),
    rate=0.15,
    word_starts=None,
    mask_rate=0.8,
    random_rate=0.1,
) -> dict:
    """Hides tokens of each row, chosen at random, and returns which they were.

    Of a row with n tokens that are not special, max(1, round(rate n)) are chosen, at most M. Each becomes the mask with chance
    0.8, a random token with chance 0.1 (perhaps itself), and else stays. With `word_starts` whole words are chosen: in random
    order, each that the budget still has room for, so that a row of long words may stay below its budget, or get none.
    Special tokens are never chosen and never put in, nor is the mask; they end a word.

    Args:
        token_ids: integer array or tensor of TensorFlow, (B, T) or (T,).
        seed: int, integer scalar tensor, or a tuple of those. The same seed gives the same example of the whole batch, on numpy
            and in tf.data. Keep to tuples of one length: (1,) and (1, 0) are the same seed.
        vocabulary_size: int, V.
        mask_id: int, the id that hides a token.
        num_predictions: int, M: the size of the outputs, of which a row may leave some unused.
        special_ids: ids that are never chosen: padding, start, end, unknown.
        rate: float above 0, the share that is chosen.
        word_starts: bool table (V,) that says which ids start a word, as `word_start_table` makes it.
        mask_rate: float, the share of the chosen that becomes the mask.
        random_rate: float, the share of the chosen that becomes a random token.

    Returns:
        A dict of arrays; of tensors where `token_ids` or the seed is one. Without the first axis if the ids have none.

        `token_ids`: int32 (B, T), with the chosen tokens replaced.
        `mask_positions`: int32 (B, M), where the chosen tokens are, ascending; 0 where unused.
        `mask_ids`: int32 (B, M), what they were; 0 where unused.
        `mask_weights`: float32 (B, M), 1 for a chosen token, 0 where unused.

    Raises:
        ValueError: if M is greater than T; for a mask id that is `None`, or ids out of the vocabulary; for rates out of range or
            of a sum above 1; for ids that are no integers or have another rank; for a table of another length; if every id is
            special. What only the values tell is raised inside tf.data as its `InvalidArgumentError`.

    Example:

    ```python
    import tensorflow as tf

    def example(i, ids):
        return keras_tx.pretraining.mask_tokens(ids, (0, i), vocabulary_size=1000, mask_id=4, num_predictions=5)

    texts = np.random.default_rng(0).integers(5, 1000, (64, 32))
    dataset = tf.data.Dataset.from_tensor_slices(texts).batch(16)
    dataset = dataset.enumerate().map(example, num_parallel_calls=2)
    first = example(0, texts[:16])  # The same as numpy arrays.
    ```

    Reference:
        Devlin et al. 2019, "BERT", section 3.1 and appendix A.1. Whole words: the code published with it.
    """
    replacement = checked(vocabulary_size, mask_id, special_ids, mask_rate, random_rate)
    rate = rates_and_ids.rate("rate", rate, zero=False)
    word_starts = check_word_starts(word_starts, vocabulary_size)

    def choose(generator, ids, candidates):
        counts = candidates.sum(axis=1)
        budgets = np.where(counts, np.clip(np.round(rate * counts), 1, num_predictions), 0)
        if word_starts is None:
            chosen = _choose_tokens(generator, candidates, budgets)
        else:
            chosen = _choose_words(generator, candidates, continues_a_word(ids, candidates, word_starts), budgets)
        rows, columns = np.nonzero(chosen)
        return rows, columns, generator.random(len(rows)), {}

    return make_examples(choose, token_ids, seed, replacement, num_predictions)


def _choose_tokens(generator, candidates, budgets):
    order = _random_order(generator, candidates)
    chosen = np.zeros_like(candidates)
    np.put_along_axis(chosen, order, np.arange(order.shape[1]) < budgets[:, None], axis=1)
    return chosen


def _choose_words(generator, candidates, continues, budgets):
    starts = candidates & ~continues
    # Where the word of each token starts, and its length there.
    columns = np.broadcast_to(np.arange(starts.shape[1]), starts.shape)
    owner = np.maximum.accumulate(np.where(continues, 0, columns), axis=1)
    lengths = np.zeros(starts.shape, dtype=int)
    np.add.at(lengths, (np.nonzero(candidates)[0], owner[candidates]), 1)
    order = _random_order(generator, starts)
    ordered = np.take_along_axis(lengths, order, axis=1)
    taken = np.zeros_like(starts)
    room = budgets.copy()
    # All rows at once, word by word; places without a word have length 0 and come last.
    for turn in range(starts.sum(axis=1).max(initial=0)):
        taken[:, turn] = (ordered[:, turn] <= room) & (ordered[:, turn] > 0)
        room -= np.where(taken[:, turn], ordered[:, turn], 0)
        if not room.any():
            break
    chosen = np.zeros_like(starts)
    np.put_along_axis(chosen, order, taken, axis=1)
    return candidates & np.take_along_axis(chosen, owner, axis=1)


def _random_order(generator, candidates):
    """The columns of each row in random order, candidates first."""
    return np.argsort(np.where(candidates, generator.random(candidates.shape), 1.0), axis=1)
