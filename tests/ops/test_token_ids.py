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


@pytest.mark.parametrize("symbolic", [False, True])
def test_booleans_are_refused(symbolic):
    tensor = keras.KerasTensor((1, 2), "bool") if symbolic else ops.cast(ids([0, 1]), "bool")
    with pytest.raises(
        ValueError, match="`ids` must hold integer token ids.*dtype='int32'. Received: ids of dtype bool"
    ):
        token_ids.check("ids", tensor, 5)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_whole_numbers_in_floats_are_cast(dtype):
    found = token_ids.check("ids", ids([0, 4, 2], dtype=dtype), 5)
    assert keras.backend.standardize_dtype(found.dtype) == "int32"
    np.testing.assert_array_equal(ops.convert_to_numpy(found), [[0, 4, 2]])
    with pytest.raises(ValueError, match="Received: ids from -1 to 5 with vocabulary_size=5"):
        token_ids.check("ids", ids([-1, 5], dtype=dtype), 5)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("value", [0.5, -1.5, np.nan, np.inf, -np.inf])
def test_other_floats_are_refused_and_shown(dtype, value):
    with pytest.raises(
        ValueError, match=f"`ids` must hold integer token ids. Received: {value} in ids of dtype {dtype}"
    ):
        token_ids.check("ids", ids([1, value], dtype=dtype), 5)
    np.testing.assert_array_equal(ops.convert_to_numpy(token_ids.as_integers(ids([1, value], dtype=dtype))), [[1, -1]])


@pytest.mark.parametrize(("dtype", "size"), [("bfloat16", 257), ("float16", 2049), ("float32", 2**24 + 1)])
def test_a_dtype_that_rounds_ids_is_refused(dtype, size):
    token_ids.check("ids", ids([size - 1], dtype=dtype), size)
    with pytest.raises(ValueError, match=f"{dtype} rounds those above {size - 1};.*dtype='int32'. .*below {size + 1}"):
        token_ids.check("ids", ids([0], dtype=dtype), size + 1)
    assert token_ids.check("ids", keras.KerasTensor((1, 1), dtype), size + 1).dtype == "int32"


@pytest.mark.parametrize("shape", [(), (3,), (1, 2, 3)])
def test_another_rank_is_refused(shape):
    spelled = str(shape).replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(ValueError, match=rf"`ids` must have 2 axes. Received: ids of shape {spelled}"):
        token_ids.check("ids", ops.zeros(shape, dtype="int32"), 5, rank=2)


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
