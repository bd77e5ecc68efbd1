"""Attention in blocks gives what attention as a whole gives: outputs, gradients, and what is dropped."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.ops import attention, padding, positions
from keras_tx.ops.attention import blocks, blockwise, dot_product, fused
from keras_tx.ops.attention.attention_mask import AttentionMask
from keras_tx.ops.random_bits import DropoutMask

from ..layers.execution import array, compiled, gradients, tensor

BLOCK = 4
# name: (T, S, M, G), parts of the mask, axes of the bias that are 1, rate
CASES = {
    "one block holds all": ((3, 3, 2, 1), "", None, 0.0),
    "blocks that divide nothing": ((9, 7, 1, 2), "", None, 0.0),
    "padding": ((9, 11, 2, 1), "queries keys", None, 0.0),
    "causal": ((10, 10, 2, 2), "causal", None, 0.0),
    "causal after a past": ((6, 13, 1, 1), "causal keys offset", None, 0.0),
    "pairs and a bias": ((8, 9, 2, 2), "pairs", (), 0.0),
    "a bias that broadcasts": ((9, 6, 2, 2), "keys", (0, 1), 0.0),
    "a bias over keys": ((5, 9, 1, 3), "", (0, 2), 0.0),
    "window": ((18, 18, 1, 2), "window", None, 0.0),
    "causal window, padding": ((19, 19, 2, 1), "causal window queries keys", (0, 1), 0.0),
    "causal window, pairs, dropout": ((17, 17, 1, 2), "causal window queries keys pairs", None, 0.4),
    "dropout": ((9, 10, 2, 2), "causal keys pairs", (0,), 0.4),
}
WITHOUT_KEYS = 1  # the row of the batch whose keys are all padding


def operands(name):
    """Returns query, key, value and bias as variables, the mask and the dropout of a case."""
    (length, num_keys, key_heads, groups), parts, ones, rate = CASES[name]
    random = np.random.default_rng(len(name))
    batch, heads, size = 3, key_heads * groups, 4

    def variable(*shape):
        return keras.Variable(random.normal(size=shape).astype("float32"))

    floats = [
        variable(batch, length, heads, size),
        variable(batch, num_keys, key_heads, size),
        variable(batch, num_keys, key_heads, size + 1),
    ]
    full = (batch, heads, length, num_keys)
    if ones is not None:
        floats.append(variable(*(1 if axis in ones else count for axis, count in enumerate(full))))
    keys = random.random((batch, num_keys)) < 0.7
    keys[WITHOUT_KEYS] = False
    given = {
        "queries": random.random((batch, length)) < 0.7,
        "keys": keys,
        "pairs": random.random((1, heads, length, num_keys)) < 0.7,
    }
    mask = {part: tensor(mask) for part, mask in given.items() if part in parts.split()}
    if "causal" in parts:
        mask["causal"] = True
    if "window" in parts:
        mask["window"] = 3
    if "window" in parts and "keys" in parts:  # what is attended to is what is asked for, and counted
        keys[WITHOUT_KEYS, :9] = True
        mask["queries"] = mask["keys"] = tensor(keys)
        mask["query_positions"] = mask["key_positions"] = positions.position_ids(None, mask["keys"])
    if "offset" in parts:
        mask["offset"] = tensor(7, "int32")
    dropout_mask = DropoutMask(rate, tensor(np.array([5, 6], "uint32"))) if rate else None
    return floats, AttentionMask(**mask), dropout_mask


def whole(query, key, value, bias=None, *, mask, dropout_mask):
    context, _ = attention.dot_product_attention(query, key, value, mask, bias, dropout_mask)
    return context


def in_blocks(query, key, value, bias=None, *, mask, dropout_mask):
    key, value = attention.isolate_nonfinite(key, value)
    query = query * (query.shape[-1] ** -0.5)
    return blockwise.blockwise_attention(query, key, value, mask, bias, dropout_mask, block=BLOCK)


def real(context, mask):
    """The context of the real queries: what the others hold is for the layer to clear."""
    queries = None if mask.queries is None else mask.queries[..., None]
    return padding.zero_masked(context, queries)


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_those_of_the_whole(name):
    floats, mask, dropout_mask = operands(name)
    found = []
    for attend in (whole, in_blocks):
        attend = functools.partial(attend, mask=mask, dropout_mask=dropout_mask)

        def loss(attend=attend):
            context = real(attend(*(variable.value for variable in floats)), mask)
            return ops.sum(ops.sin(3 * context))

        outputs = array(real(compiled(attend)(*(variable.value for variable in floats)), mask))
        found.append([outputs, *gradients(loss, floats)()])
    for expected, got in zip(*found, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    if "keys" in CASES[name][1] and "window" not in CASES[name][1]:
        np.testing.assert_array_equal(found[1][0][WITHOUT_KEYS], 0.0)


@pytest.mark.parametrize("causal", [True, False])
def test_blocks_outside_a_window_are_not_computed(causal):
    length, window = 40, 6  # of 10 blocks
    keys = np.ones((3, length), bool)
    keys[0, 8:16] = False  # padding between, behind and before
    keys[1, 11:] = False
    keys[2, :30] = False
    for real in (None, tensor(keys)):
        places = None if real is None else positions.position_ids(None, real)
        mask = AttentionMask(real, real, None, causal, 0, window, places, places)
        x = tensor(np.zeros((3, length, 1, 2), "float32"))
        cut = blocks.Blocks(x, x, x, mask, None, BLOCK)
        given = cut.cut(x, x, x, mask, None, None)
        limits = [[int(array(each)) for each in cut.columns_seen(given, tensor(i, "int32"))] for i in range(10)]
        whole = array(mask.whole(length, length))
        needed = np.broadcast_to(whole, (3, 1, length, length)).reshape(3, 10, BLOCK, 10, BLOCK).any((0, 2, 4))
        spans = [
            np.flatnonzero(row) if row.any() else [9] for row in needed
        ]  # where there is none, one of which nothing comes
        assert limits == [[span[0], span[-1] + 1] for span in spans]
        if real is None:
            assert max(end - first for first, end in limits) <= (3 if causal else 5)


def test_a_short_window_is_cut_into_smaller_blocks():
    sizes = {window: blockwise.block_size(AttentionMask(causal=True, window=window)) for window in (1, 512, 513, None)}
    assert sizes == {1: 256, 512: 256, 513: 512, None: 512}
    query, key, value = (tensor(x) for x in np.random.default_rng(0).normal(size=(3, 1, 700, 1, 4)).astype("float32"))
    mask = AttentionMask(causal=True, window=300)
    whole, _ = attention.dot_product_attention(query, key, value, mask, scale=1.0)
    np.testing.assert_allclose(array(blockwise.blockwise_attention(query, key, value, mask)), array(whole), atol=1e-5)


@pytest.mark.parametrize("large", ["bias", "scores"])
def test_gradients_beside_large_numbers_are_those_of_the_whole(large):
    floats, mask, _ = operands("pairs and a bias")
    query, key, value, bias = map(array, floats)
    if large == "bias":  # of an additive mask that leaves rows without a key, some with one
        bias[:, :, 3:], bias[:, :, 5, 2] = -1e9, 0.0
    else:
        bias[:], key[:], query[:] = 0.0, 1.0, 1e8
    floats = [keras.Variable(each) for each in (query, key, value, bias)]
    found = []
    for attend in (whole, in_blocks):

        def loss(attend=attend):
            values = [variable.value for variable in floats]
            return ops.sum(ops.sin(real(attend(*values, mask=AttentionMask(), dropout_mask=None), mask)))

        found.append(gradients(loss, floats)())
    for expected, got in zip(*found, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * max(1, np.abs(expected).max()))


def test_float16_does_not_overflow_before_the_weights_are_normalised():
    query, key = tensor(np.zeros((1, 600, 1, 2)), "float16"), tensor(np.zeros((1, 600, 1, 2)), "float16")
    value = tensor(np.full((1, 600, 1, 2), 150.0), "float16")
    got = blockwise.blockwise_attention(query, key, value)
    np.testing.assert_array_equal(array(got), 150.0)


@pytest.fixture(params=["full", "causal", "padding", "window", "causal window"])
def fused_case(request, monkeypatch):
    """A case that the backend's own operation takes: query, key and value with shared key heads, and the mask."""
    backend = keras.backend.backend()
    if backend == "jax":  # on a processor its other implementation stands for that of the GPU
        on_processor = functools.partial(fused._jax, implementation="xla")
        monkeypatch.setitem(fused._BACKENDS, "jax", on_processor)
    if backend == "tensorflow" or (backend == "jax" and request.param not in ("full", "causal")):
        pytest.skip("has no such operation")
    random = np.random.default_rng(1)
    floats = [keras.Variable(random.normal(size=(3, 9, heads, 8)).astype("float32")) for heads in (4, 2, 2)]
    keys = random.random((3, 9)) < 0.7
    keys[WITHOUT_KEYS] = False
    monkeypatch.setattr(fused, "block_size", lambda mask: BLOCK)
    rules = {
        "full": AttentionMask(),
        "causal": AttentionMask(causal=True),
        "padding": AttentionMask(keys=tensor(keys)),
        "window": AttentionMask(window=3),
        "causal window": AttentionMask(window=3, causal=True),
    }
    return floats, rules[request.param]


def by_the_backend(query, key, value, *, mask, dropout_mask=None):
    assert keras.backend.backend() != "torch" or fused.supports(query, value, mask, None, None)
    key, value = attention.isolate_nonfinite(key, value)
    return fused.fused_attention(query * query.shape[-1] ** -0.5, key, value, mask)


def test_the_operation_of_the_backend_gives_the_same(fused_case):
    floats, mask = fused_case
    found = []
    for attend in (whole, by_the_backend):

        def loss(attend=attend):
            return ops.sum(ops.sin(3 * attend(*(variable.value for variable in floats), mask=mask, dropout_mask=None)))

        outputs = array(attend(*(variable.value for variable in floats), mask=mask, dropout_mask=None))
        found.append([outputs, *gradients(loss, floats)()])
    for expected, got in zip(*found, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_the_operation_of_the_backend_passes_nan_to_those_alone_that_attend_to_it(fused_case):
    floats, mask = fused_case
    query, key, value = (array(variable) for variable in floats)
    key[0, 5, 0], value[2, 6, 1] = np.nan, np.inf
    operands = [tensor(each) for each in (query, key, value)]
    expected, got = (array(attend(*operands, mask=mask, dropout_mask=None)) for attend in (whole, by_the_backend))
    assert mask.allows_all or np.isnan(expected).any() and np.isfinite(expected).any()
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-5, atol=1e-5)
    if not mask.allows_all:
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_what_is_masked_out_may_be_nan():
    floats, mask, dropout_mask = operands("causal")
    query, key, value = (array(variable) for variable in floats)
    clean = in_blocks(tensor(query), tensor(key), tensor(value), mask=mask, dropout_mask=dropout_mask)
    key[:, 6], value[:, 7] = np.nan, np.inf
    dirty = in_blocks(tensor(query), tensor(key), tensor(value), mask=mask, dropout_mask=dropout_mask)
    np.testing.assert_array_equal(array(dirty)[:, :6], array(clean)[:, :6])
    assert np.isnan(array(dirty)[:, 6:]).all()


def test_half_floats_keep_their_dtype_and_come_as_near_as_the_whole():
    floats, mask, _ = operands("padding")
    exact = array(real(whole(*(variable.value for variable in floats), mask=mask, dropout_mask=None), mask))
    for dtype in ("float16", "bfloat16"):
        halves = [ops.cast(variable.value, dtype) for variable in floats]
        got = real(in_blocks(*halves, mask=mask, dropout_mask=None), mask)
        near = array(real(whole(*halves, mask=mask, dropout_mask=None), mask))
        assert keras.backend.standardize_dtype(got.dtype) == dtype
        assert np.abs(array(got) - exact).max() <= 2 * np.abs(near - exact).max() + 1e-6


def test_the_layer_takes_blocks_for_long_sequences_alone(monkeypatch):
    taken = []
    original = dot_product.blockwise_attention
    monkeypatch.setattr(dot_product, "LONG", 36)
    monkeypatch.setattr(fused, "supports", lambda *args: False)
    monkeypatch.setattr(
        dot_product, "blockwise_attention", lambda *args, **named: taken.append(1) or original(*args, **named)
    )
    for length, count in ((5, 0), (6, 1)):
        x = tensor(np.random.default_rng(0).normal(size=(1, length, 2, 3)).astype("float32"))
        attention.dot_product_attention(x, x, x)
        assert len(taken) == count
        attention.dot_product_attention(x, x, x, return_scores=True)
        assert len(taken) == count
