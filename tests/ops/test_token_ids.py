"""Token ids are checked where their values are known, and have a defined embedding where they are not."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.ops import token_ids


def ids(*rows, dtype="int32"):
    return ops.convert_to_tensor(rows, dtype=dtype)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "int16"])
def test_integers_in_range_pass(dtype):
    if dtype == "int64" and keras.backend.backend() == "jax":
        dtype = "int32"  # JAX has no int64 unless it is asked for
    token_ids.check("ids", ids([0, 4], [2, 3], dtype=dtype), 5)
    token_ids.check("ids", ids([0, 4, 2], dtype=dtype)[0], 5, rank=1)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bool"])
@pytest.mark.parametrize("symbolic", [False, True])
def test_other_dtypes_are_refused(dtype, symbolic):
    tensor = keras.KerasTensor((1, 2), dtype) if symbolic else ops.cast(ids([0, 1]), dtype)
    with pytest.raises(
        ValueError, match=rf"`ids` must hold integer token ids.*dtype='int32'. Received: ids of dtype {dtype}"
    ):
        token_ids.check("ids", tensor, 5)


@pytest.mark.parametrize("shape", [(), (3,), (1, 2, 3)])
def test_another_rank_is_refused(shape):
    spelled = str(shape).replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(ValueError, match=rf"`ids` must have 2 axes. Received: ids of shape {spelled}"):
        token_ids.check("ids", ops.zeros(shape, dtype="int32"), 5)


@pytest.mark.parametrize(("row", "low", "high"), [([0, 5], 0, 5), ([-1, 2], -1, 2), ([2**31 - 1, 1], 1, 2**31 - 1)])
def test_ids_out_of_range_are_refused_with_both_ends(row, low, high):
    with pytest.raises(ValueError, match=rf"Received: ids from {low} to {high} with vocabulary_size=5"):
        token_ids.check("ids", ids(row), 5)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_no_ids_are_no_error(shape):
    token_ids.check("ids", ops.zeros(shape, dtype="int32"), 5)


def test_a_length_up_to_that_of_the_table_passes():
    token_ids.check_length("ids", 8, 8)
    with pytest.raises(ValueError, match=r"`ids` must not be longer .* Received: length 9 with sequence_length=8"):
        token_ids.check_length("ids", 9, 8)


def test_a_position_beyond_the_table_is_refused():
    token_ids.check_positions(ids([0, 7]), 8)
    token_ids.check_positions(ops.zeros((2, 0), dtype="int32"), 8)
    with pytest.raises(ValueError, match=r"Received: position 8 \(counted from 0\) with sequence_length=8"):
        token_ids.check_positions(ids([0, 8]), 8)


def test_look_up_gives_the_rows_of_the_table_and_zeros_outside_it():
    embedding = keras.layers.Embedding(3, 2)
    embedding.build((None, None))
    table = np.array([[1, 2], [3, 4], [5, 6]], dtype="float32")
    embedding.embeddings.assign(table)
    rows = ops.convert_to_numpy(token_ids.look_up(embedding, ids([0, 2, 3], [-1, -3, 1]), 3))
    np.testing.assert_array_equal(rows, [[table[0], table[2], [0, 0]], [[0, 0], [0, 0], table[1]]])
