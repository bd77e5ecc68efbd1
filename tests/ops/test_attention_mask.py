"""What the parts of a mask say of its pairs is what the pairs say."""

import itertools

import numpy as np
import pytest
from keras import ops

from keras_tx.ops.attention.attention_mask import AttentionMask

QUERIES = np.array([[True, False, True, True], [False, False, True, False]])
KEYS = np.array([[False, True, False, True], [False, False, False, False]])
SEGMENTS = np.array([[1, 1, 2, 0], [1, 2, 2, 2]])
PAIRS = np.random.default_rng(0).random((2, 3, 4, 4)) < 0.2


@pytest.mark.once
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 2])
def test_queries_that_have_a_key_are_those_of_some_pair(causal, window):
    parts = itertools.product([None, QUERIES], [None, QUERIES, KEYS], [None, PAIRS], [None, SEGMENTS])
    for queries, keys, pairs, segments in parts:
        mask = AttentionMask(queries, keys, pairs, causal, 0, window, segments=segments)
        whole = mask.whole(4, 4)
        if whole is None:
            continue
        some = mask.some_key(4, 4, whole)
        some = np.ones((1, 1, 1, 1), bool) if some is None else ops.convert_to_numpy(some)
        expected = np.asarray(whole).any(axis=-1, keepdims=True)
        assert np.array_equal(*np.broadcast_arrays(some, expected)), (queries, keys, pairs, segments)


@pytest.mark.once
def test_a_real_query_has_a_key_in_a_cache_that_holds_it():
    held = np.array([[True, False, True, False, False, False]] * 2)  # before two queries, and room behind them
    for queries in itertools.product([True, False], repeat=4):
        queries = np.reshape(queries, (2, 2))
        keys = held.copy()
        keys[:, 3:5] = queries
        mask = AttentionMask(queries, keys, causal=True, offset=3, holds_queries=True)
        whole = ops.convert_to_numpy(mask.whole(2, 6))
        some = ops.convert_to_numpy(mask.some_key(2, 6, whole))
        assert np.array_equal(*np.broadcast_arrays(some, whole.any(axis=-1, keepdims=True)))
