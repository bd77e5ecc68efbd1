"""Cached steps equal the full pass at every position, for every model that decodes."""

import numpy as np
import pytest
from keras import ops

from keras_tx.decoding import init_caches, step


def run(model, ids):
    return ops.convert_to_numpy(model(ids))


@pytest.mark.parametrize("sizes", [[5, 1, 1, 1, 1], [4, 3, 2]])
def test_steps_of_any_size_equal_the_full_pass(any_model, sizes):
    ids = np.random.default_rng(0).integers(0, 11, (3, 9)).astype("int32")
    caches, pieces, start = init_caches(any_model, 3, 12), [], 0
    for size in sizes:
        outputs, caches = step(any_model, ids[:, start : start + size], caches)
        pieces.append(ops.convert_to_numpy(outputs))
        start += size
    full = run(any_model, ids)
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), full, atol=1e-5 * np.abs(full).max())


def test_padding_takes_no_position_on_either_side(any_model):
    rows = [[3, 4, 5, 6, 7], [8, 9]]
    for side in ("left", "right"):
        ids, mask = np.zeros((2, 5), "int32"), np.zeros((2, 5), bool)
        for i, row in enumerate(rows):
            part = slice(5 - len(row), 5) if side == "left" else slice(0, len(row))
            ids[i, part], mask[i, part] = row, True
        _, caches = step(any_model, ids, init_caches(any_model, 2, 8), ops.convert_to_tensor(mask))
        outputs, _ = step(any_model, np.array([[1], [2]], "int32"), caches)
        for i, row in enumerate(rows):
            full = run(any_model, np.array([[*row, i + 1]], "int32"))
            np.testing.assert_allclose(ops.convert_to_numpy(outputs)[i, 0], full[0, -1], atol=1e-5 * np.abs(full).max())


def test_caches_are_named_by_layer_path(own):
    names = set(init_caches(own, 1, 4))
    assert {"attention", "inner/block"} < names
    assert len(names) == 3


def test_a_cache_is_a_value(own):
    caches = init_caches(own, 1, 4)
    before, _ = step(own, np.array([[1]], "int32"), caches)
    again, _ = step(own, np.array([[1]], "int32"), caches)
    assert np.array_equal(ops.convert_to_numpy(before), ops.convert_to_numpy(again))
