"""Tokens that are taken back of a cache leave it as if they had not come."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.ops.attention import WindowCache, taking_back

RNG = np.random.default_rng(3)
INPUTS = RNG.standard_normal((2, 12, 16)).astype("float32")
WRONG = RNG.standard_normal((2, 12, 16)).astype("float32")


def int32(values):
    return ops.convert_to_tensor(np.array(values, "int32"))


@pytest.fixture(params=[None, 3, 20], ids=["all", "window", "wide window"])
def layer(request):
    keras.utils.set_random_seed(0)
    rotary = layers.RotaryEmbedding()
    layer = layers.MultiHeadSelfAttention(4, num_key_value_heads=2, causal=True, rotary=rotary, window=request.param)
    layer(INPUTS)
    return layer


def test_rows_go_on_from_what_they_keep(layer):
    whole, cache = ops.convert_to_numpy(layer(INPUTS)), layer.init_cache(2, 40)
    if layer.window is not None:
        cache = taking_back.widened(cache, 2)
        cache = taking_back.widened(cache, 2)
    read, slots = np.array([0, 0]), 0
    for kept in ([4, 2], [1, 4], [3, 1], [1, 3]):
        added = 4
        ids = np.stack([np.concatenate([INPUTS[b, read[b] : read[b] + kept[b]], WRONG[b, :4]])[:4] for b in (0, 1)])
        outputs, after = layer(ids, cache=cache)
        for b in (0, 1):
            np.testing.assert_allclose(
                ops.convert_to_numpy(outputs)[b, : kept[b]], whole[b, read[b] : read[b] + kept[b]], atol=1e-5
            )
        freed = added - max(kept)
        cache = taking_back.take_back(after, added, int32(kept), int32([4, 4]), int32(freed))
        read, slots = read + kept, slots + max(kept)
        assert int(cache.length) == slots
        assert ops.convert_to_numpy(cache.num_tokens).tolist() == read.tolist()
        if slots > 9:
            cache, slots = taking_back.without_gaps(cache), read.max()
            assert int(cache.length) == slots
    last = np.stack([INPUTS[b, read[b] : read[b] + 1] for b in (0, 1)])
    outputs, _ = layer(last, cache=cache)
    for b in (0, 1):
        np.testing.assert_allclose(ops.convert_to_numpy(outputs)[b, 0], whole[b, read[b]], atol=1e-5)


def test_tokens_that_are_not_real_are_not_counted(layer):
    cache = layer.init_cache(2, 40) if layer.window is None else taking_back.widened(layer.init_cache(2, 40), 3)
    _, cache = layer(INPUTS[:, :5], cache=cache)
    real = np.array([[1, 1, 0, 0], [0, 0, 0, 0]], bool)
    _, after = layer(WRONG[:, :4], cache=cache, mask=real)
    back = taking_back.take_back(after, 4, int32([1, 0]), int32([2, 0]), int32(3))
    assert ops.convert_to_numpy(back.num_tokens).tolist() == [6, 5]
    assert int(back.length) == 6


def test_a_window_that_is_widened_holds_what_it_held():
    layer = layers.MultiHeadSelfAttention(2, causal=True, window=3)
    whole = ops.convert_to_numpy(layer(INPUTS))
    _, cache = layer(INPUTS[:, :7], cache=layer.init_cache(2, 40))
    cache = taking_back.widened(cache, 4)
    assert isinstance(cache, WindowCache)
    assert cache.keys.shape[1] == 7
    outputs, _ = layer(INPUTS[:, 7:9], cache=cache)
    np.testing.assert_allclose(ops.convert_to_numpy(outputs), whole[:, 7:9], atol=1e-5)
