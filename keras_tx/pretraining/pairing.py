"""An exchange between documents in which nothing but the content tells what was exchanged."""

from collections import Counter

import numpy as np


def exchange(generator, pairs, owners, lengths):
    """Gives each pair a continuation of another document, of nearly the length of its own.

    Args:
        generator: numpy's.
        pairs: int array (n,), the pairs that exchange their continuations.
        owners: int array (N,), the document of every pair; there are two different ones at least.
        lengths: int array (N,), of every continuation.

    Returns:
        An int array (n,), the pair whose continuation each gets. It is a permutation of `pairs`, unless more than half of
        them are of one document: then the rest of these get ones of any other documents, which may be used twice.
    """
    order = np.lexsort((generator.random(len(pairs)), lengths[pairs]))
    if not len(order):
        return pairs
    largest, rest = _majority(owners[pairs])
    given = np.empty_like(pairs)
    if rest:
        borrowing = generator.permutation(np.flatnonzero(owners[pairs] == largest))[:rest]
        order = order[~np.isin(order, borrowing)]
        given[borrowing] = _borrow(generator, lengths[pairs[borrowing]], np.flatnonzero(owners != largest), lengths)
    for group in _groups(order, owners[pairs]):
        # By document, and on by the share of the largest: no document then meets itself.
        group = group[np.argsort(owners[pairs[group]], kind="stable")]
        given[group] = pairs[np.roll(group, -np.unique(owners[pairs[group]], return_counts=True)[1].max())]
    return given


def _majority(owners):
    """The document with the most pairs, and how many it has beyond what all others have."""
    documents, counts = np.unique(owners, return_counts=True)
    most = counts.max()
    return documents[counts.argmax()], max(0, 2 * most - len(owners))


def _groups(order, owners):
    """Splits an order into short runs in none of which a document has more than half."""
    groups, current, counts, most = [], [], Counter(), 0
    for item in order:
        current.append(item)
        counts[owners[item]] += 1
        most = max(most, counts[owners[item]])
        if 2 * most <= len(current):
            groups.append(np.array(current))
            current, counts, most = [], Counter(), 0
    while current and _majority(owners[current])[1]:
        current = [*groups.pop(), *current]
    return [*groups, np.array(current)] if current else groups


def _borrow(generator, wanted, others, lengths):
    """Of the other pairs, ones whose lengths are near those wanted."""
    others = others[np.lexsort((generator.random(len(others)), lengths[others]))]
    places = np.searchsorted(lengths[others], wanted) + generator.integers(-2, 3, len(wanted))
    return others[np.clip(places, 0, len(others) - 1)]
