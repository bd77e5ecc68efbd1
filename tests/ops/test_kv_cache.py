"""The cache as a value: appended to, never changed, and fit for compiled functions."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.ops.attention.kv_cache import KVCache

BACKEND = keras.backend.backend()


def tokens(count, first=1.0, batch=2, dtype="float32"):
    """Keys whose every number is the token's number, counted from `first`; the values are ten times as much."""
    numbers = np.arange(first, first + count)[None, :, None, None] * np.ones((batch, count, 3, 4))
    return ops.cast(ops.convert_to_tensor(numbers), dtype), ops.cast(ops.convert_to_tensor(10 * numbers), dtype)


def contents(cache):
    """The numbers of the tokens in the slots of each row, once keys and values are seen to agree."""
    keys, values = (ops.convert_to_numpy(ops.cast(each, "float32")) for each in (cache.keys, cache.values))
    np.testing.assert_array_equal(values, 10 * keys)
    rows = len(cache.mask)
    keys = keys.reshape(rows, len(keys) // rows, *keys.shape[1:])
    assert (keys == keys[:, :1, :, :1]).all()
    return keys[:, 0, :, 0].tolist()


def compiled(function):
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False)
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    return function


def test_an_empty_cache_has_room_and_nothing_real():
    cache = KVCache.empty(2, 5, 3, 4, dtype="float16")
    assert cache.keys.shape == cache.values.shape == (2 * 3, 5, 4)
    assert cache.max_length == 5
    assert keras.backend.standardize_dtype(cache.keys.dtype) == "float16"
    assert not ops.convert_to_numpy(cache.mask).any()
    assert int(cache.length) == 0
    assert keras.backend.standardize_dtype(cache.length.dtype) == "int32"


def test_tokens_are_appended_behind_those_there():
    cache = KVCache.empty(2, 5, 3, 4).append(*tokens(2)).append(*tokens(1, first=3.0))
    assert contents(cache) == [[1, 2, 3, 0, 0]] * 2
    assert int(cache.length) == 3
    np.testing.assert_array_equal(ops.convert_to_numpy(cache.mask), [[True, True, True, False, False]] * 2)


def test_padding_takes_a_slot_and_is_not_real():
    mask = ops.convert_to_tensor([[True, False], [True, True]])
    cache = KVCache.empty(2, 4, 3, 4).append(*tokens(2), mask).append(*tokens(1, first=3.0))
    assert int(cache.length) == 3
    np.testing.assert_array_equal(
        ops.convert_to_numpy(cache.mask), [[True, False, True, False], [True, True, True, False]]
    )


def test_appending_changes_nothing_in_the_cache_it_starts_from():
    empty = KVCache.empty(2, 4, 3, 4)
    empty.append(*tokens(3))
    assert contents(empty) == [[0] * 4] * 2
    assert int(empty.length) == 0


def test_two_continuations_of_one_cache_know_nothing_of_each_other():
    prompt = KVCache.empty(2, 4, 3, 4).append(*tokens(2))
    one, other = prompt.append(*tokens(1, first=7.0)), prompt.append(*tokens(1, first=8.0))
    assert contents(one) == [[1, 2, 7, 0]] * 2
    assert contents(other) == [[1, 2, 8, 0]] * 2


def test_appending_no_token_changes_nothing():
    cache = KVCache.empty(2, 4, 3, 4).append(*tokens(2))
    again = cache.append(*tokens(0))
    assert contents(again) == contents(cache)
    assert int(again.length) == 2


def test_a_cache_can_be_filled_to_the_brim():
    assert contents(KVCache.empty(2, 3, 3, 4).append(*tokens(2)).append(*tokens(1, first=3.0))) == [[1, 2, 3]] * 2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_tokens_are_kept_in_the_dtype_of_the_cache(dtype):
    cache = KVCache.empty(2, 4, 3, 4, dtype).append(*tokens(2))
    assert keras.backend.standardize_dtype(cache.keys.dtype) == dtype
    assert keras.backend.standardize_dtype(cache.values.dtype) == dtype


def test_tokens_that_do_not_fit_are_refused():
    cache = KVCache.empty(2, 3, 3, 4).append(*tokens(2))
    with pytest.raises(ValueError, match=r"room for every token. Received: 2 more tokens, with 2 of 3 slots in use"):
        cache.append(*tokens(2))


def test_more_tokens_than_the_cache_has_slots_are_refused_in_a_compiled_function_too():
    run = compiled(lambda cache, keys, values: cache.append(keys, values))
    used = "0" if BACKEND == "torch" else "an unknown number"
    with pytest.raises(ValueError, match=rf"Received: 4 more tokens, with {used} of 3 slots in use"):
        run(KVCache.empty(2, 3, 3, 4), *tokens(4))


def test_a_cache_passes_through_a_compiled_function():
    run = compiled(lambda cache, keys, values: cache.append(keys, values))
    cache = KVCache.empty(2, 4, 3, 4)
    for number in (1.0, 2.0, 3.0):
        cache = run(cache, *tokens(1, first=number))
        assert isinstance(cache, KVCache)
    assert contents(cache) == [[1, 2, 3, 0]] * 2
    assert int(cache.length) == 3


def test_a_cache_passes_through_a_loop():
    def body(count, cache):
        keys = ops.ones((2, 1, 3, 4)) * ops.cast(count + 1, "float32")
        return count + 1, cache.append(keys, 10 * keys)

    def fill(cache):
        zero = ops.zeros((), dtype="int32")
        return ops.while_loop(lambda count, cache: count < 3, body, (zero, cache))

    _, cache = compiled(fill)(KVCache.empty(2, 5, 3, 4))
    assert contents(cache) == [[1, 2, 3, 0, 0]] * 2


def test_keras_sees_the_leaves_of_a_cache():
    cache = KVCache.empty(2, 4, 3, 4)
    assert len(keras.tree.flatten(cache)) == 4
    doubled = keras.tree.map_structure(lambda leaf: leaf, cache)
    assert isinstance(doubled, KVCache)


@pytest.mark.skipif(BACKEND == "torch", reason="values are known on torch: the tokens are refused")
def test_tokens_past_the_end_are_not_numbers_in_a_compiled_function():
    run = compiled(lambda cache, keys, values, mask: cache.append(keys, values, mask))
    mask = np.array([[False], [True]])
    cache = KVCache.empty(2, 3, 3, 4)
    for number in (1.0, 2.0, 3.0):
        cache = run(cache, *tokens(1, first=number), mask)
        assert not np.isnan(ops.convert_to_numpy(cache.values)).any()
    for _ in range(2):
        cache = run(cache, *tokens(1, first=4.0), mask)
        assert np.isnan(ops.convert_to_numpy(cache.values)[:, -1]).all()
        assert ops.convert_to_numpy(cache.mask)[:, -1].all()  # even of a row whose token is padding
        assert not np.isnan(ops.convert_to_numpy(cache.values)[:, :-1]).any()
    # Of two tokens, of which one has room, neither is kept.
    two = run(KVCache.empty(2, 3, 3, 4).append(*tokens(2)), *tokens(2, first=3.0), np.ones((2, 2), "bool"))
    assert np.isnan(ops.convert_to_numpy(two.values)[:, -2:]).all()


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a graph that is not compiled is TensorFlow's")
def test_a_graph_in_which_tokens_do_not_fit_fails_when_it_runs():
    import tensorflow as tf

    run = tf.function(
        lambda cache, keys, values: cache.append(keys, values),
        input_signature=[
            KVCache(*(tf.TensorSpec((6, 3, 4)),) * 2, tf.TensorSpec((2, 3), tf.bool), tf.TensorSpec((), tf.int32)),
            *(tf.TensorSpec((2, None, 3, 4)),) * 2,
        ],
    )
    cache = run(KVCache.empty(2, 3, 3, 4), *tokens(2))
    assert contents(run(cache, *tokens(1, first=3.0))) == [[1, 2, 3]] * 2
    for length in (2, 4):
        with pytest.raises(tf.errors.InvalidArgumentError, match=rf"room for every token.*\[{length + 2}\] \[3\]"):
            run(cache, *tokens(length))
