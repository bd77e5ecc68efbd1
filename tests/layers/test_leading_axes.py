"""Axes before the last two are batch: what comes of (B, P, T, D) is what comes of (B P, T, D), on every path."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import analysis, layers
from keras_tx.ops.attention import dot_product
from keras_tx.ops.leading_axes import LeadingAxes

from .contract_rows import reloaded, stir
from .execution import BACKEND, AttachMask, array, arrays, frozen, gradients, quick, tensor, weighted_sum

LEAD, T, S, N, D = (2, 3), 5, 4, 2, 8
ROWS = LEAD[0] * LEAD[1]
RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(*LEAD, T, D)).astype("float32")
CONTEXT = RANDOM.normal(size=(*LEAD, S, 6)).astype("float32")
REAL = np.arange(T) < np.array([[5, 3, 0], [1, 4, 5]])[..., None]
CONTEXT_REAL = np.arange(S) < np.array([[4, 1, 2], [3, 4, 0]])[..., None]
WHERE = RANDOM.integers(0, 9, (*LEAD, T)).astype("int32")
PAIRS = RANDOM.random((*LEAD, N, T, T)) < 0.7
CONTEXT_PAIRS = RANDOM.random((*LEAD, N, T, S)) < 0.7
BIAS = RANDOM.normal(size=(*LEAD, N, T, T)).astype("float32")


def marked(causal=False):
    bias = layers.WindowPositionBias(N, (1, 9), "normal")
    rotary = layers.RotaryEmbedding()
    return layers.MultiHeadSelfAttention(N, num_key_value_heads=1, causal=causal, rotary=rotary, position_bias=bias)


# A way to make each layer, and its call arguments with all their leading axes.
CASES = {
    "self": (lambda: layers.MultiHeadSelfAttention(N, dropout=0.3), {"mask": REAL, "attention_bias": BIAS}),
    "marked": (lambda: marked(True), {"mask": REAL, "attention_mask": PAIRS, "positions": WHERE}),
    "cross": (
        lambda: layers.MultiHeadCrossAttention(N, dropout=0.3),
        {"context": CONTEXT, "mask": REAL, "context_mask": CONTEXT_REAL, "context_attention_mask": CONTEXT_PAIRS},
    ),
    "encoder": (
        lambda: layers.TransformerEncoder(16, attention=marked(), normalize_first=True),
        {"mask": REAL, "attention_mask": PAIRS[:, :, 0], "positions": WHERE},
    ),
    "decoder": (
        lambda: layers.TransformerDecoder(16, N),
        {
            "context": CONTEXT,
            "mask": REAL,
            "context_mask": CONTEXT_REAL,
            "attention_mask": PAIRS,
            "context_attention_mask": CONTEXT_PAIRS[:, :, 0],
        },
    ),
}
every_case = pytest.mark.parametrize("case", CASES)


def built(case):
    make, given = CASES[case]
    layer = make()
    layer(tensor(X), **tensors(given))
    stir(layer)
    return layer, given


def tensors(given):
    return {name: tensor(value) for name, value in given.items()}


def folded(value):
    return value.reshape(ROWS, *value.shape[2:])


def close(ours, theirs):
    for own, other in zip(keras.tree.flatten(arrays(ours)), keras.tree.flatten(arrays(theirs)), strict=True):
        np.testing.assert_allclose(own, other.reshape(own.shape), atol=2e-6)


@every_case
def test_outputs_and_scores_are_those_of_one_batch_axis(case):
    layer, given = built(case)
    call = quick(functools.partial(layer, return_attention_scores=True))
    one = call(tensor(folded(X)), **{name: tensor(folded(value)) for name, value in given.items()})
    scored = call(tensor(X), **tensors(given))
    close(scored, one)
    assert [tuple(each.shape) for each in keras.tree.flatten(scored[1])] == [
        (*LEAD, N, T, size) for size in {"cross": [S], "decoder": [T, S]}.get(case, [T])
    ]
    if case != "self":
        return
    close(layer(tensor(X), **tensors(given)), one[0])
    five = layer(tensor(X[None]), **{name: tensor(value[None]) for name, value in given.items()})
    close(five, one[0])


@pytest.mark.parametrize("case", ["marked", "decoder"])  # between them they have all parts
@pytest.mark.skipif(BACKEND != "tensorflow", reason="elsewhere all sizes are known when a layer is called")
def test_compiled_outputs_are_the_eager_ones_at_any_sizes(case):
    layer, given = built(case)
    names = list(given)

    def call(x, *values):
        return layer(x, **dict(zip(names, values, strict=True)))

    import tensorflow as tf

    values = [tensor(X), *tensors(given).values()]
    signature = [tf.TensorSpec([None, None, *value.shape[2:]], value.dtype) for value in values]
    run = tf.function(call, input_signature=signature, jit_compile=True)
    close(run(*values), call(*values))
    close(run(*[value[:1, :2] for value in values]), call(*[value[:1, :2] for value in values]))


@pytest.mark.parametrize("argument", ["attention_mask", "mask"])
def test_masks_over_pairs_may_leave_axes_out_or_have_size_1(argument):
    layer, _ = built("self")
    x, shared = tensor(X), PAIRS[0, 0, 0]
    wanted = layer(x, attention_mask=tensor(np.broadcast_to(shared, PAIRS.shape)))
    shapes = [(1, 1, T, T), (1, 1, 1, T, T), (2, 1, T, T)] + [(T, T)] * (argument == "attention_mask")
    for shape in shapes:
        close(layer(x, **{argument: tensor(np.broadcast_to(shared, shape))}), wanted)
    bias = BIAS[0, 0, 0]
    wanted = layer(x, attention_bias=tensor(np.broadcast_to(bias, BIAS.shape)))
    for shape in [(T, T), (1, 1, 1, T, T), (1, 3, N, T, T)]:
        close(layer(x, attention_bias=tensor(np.broadcast_to(bias, shape))), wanted)


def test_the_rank_of_the_inputs_says_what_a_mask_is_over():
    layer, _ = built("self")
    x = tensor(RANDOM.normal(size=(2, T, T, D)).astype("float32"))
    mask = RANDOM.random((2, T, T)) < 0.6
    over_positions = array(layer(x, mask=tensor(mask)))
    assert np.all(over_positions[~mask] == 0)
    assert not np.any(np.all(over_positions[mask] == 0, axis=-1))
    over_pairs = array(layer(x[:, 0], mask=tensor(mask)))
    np.testing.assert_array_equal(over_pairs, array(layer(x[:, 0], attention_mask=tensor(mask))))
    carried = array(layer(AttachMask()(x, tensor(mask))))
    np.testing.assert_array_equal(carried, over_positions)
    with pytest.raises(ValueError, match=r"`mask` must have shape \(2, 5, 5\) or .* Received: mask of shape \(5, 5\)"):
        layer(x, mask=tensor(mask[0]))


def test_long_sequences_in_blocks_and_dropout_are_those_of_one_batch_axis(monkeypatch):
    for limit in (2**30, 1):
        monkeypatch.setattr(dot_product, "LONG", limit)
        for case in ("self", "cross"):
            layer, given = built(case)
            one = {name: tensor(folded(value)) for name, value in given.items()}
            call = frozen(layer)
            close(call(tensor(X), **tensors(given), training=True), call(tensor(folded(X)), **one, training=True))


def test_what_is_masked_out_may_hold_anything_and_a_query_without_keys_gets_zeros():
    for case in ("self", "marked", "cross"):
        layer, given = built(case)
        junk = np.where(REAL[..., None], X, np.nan).astype("float32")
        clean, dirty = (array(layer(tensor(x), **tensors(given))) for x in (X, junk))
        np.testing.assert_array_equal(clean, dirty)
        assert np.all(clean[0, 2] == 0)


def test_recomputed_blocks_have_the_same_gradients():
    found = []
    for recompute in (False, True):
        keras.utils.set_random_seed(1)
        block = layers.TransformerDecoder(16, attention=marked(True), cross_attention=layers.MultiHeadCrossAttention(N))
        block.recompute = recompute
        given = {**CASES["decoder"][1], "positions": WHERE}

        def loss(x, block=block, given=given):
            return weighted_sum(block(x, **tensors(given), training=True))

        loss(tensor(X))
        found.append(gradients(loss, block.trainable_weights)(tensor(X)))
    for kept, again in zip(*found, strict=True):
        np.testing.assert_allclose(again, kept, atol=1e-5)


def test_models_of_unknown_leading_sizes_save_and_reload(tmp_path):
    x, context = keras.Input((None, None, D)), keras.Input((None, None, 6))
    hidden = layers.TransformerEncoder(16, N, name="encoder")(x)
    outputs, scores = layers.TransformerDecoder(16, N, name="decoder")(hidden, context, return_attention_scores=True)
    model = keras.Model([x, context], [outputs, *scores])
    stir(model)
    assert [each.shape for each in model.outputs] == [
        (None, None, None, D),
        (None, None, N, None, None),
        (None, None, N, None, None),
    ]
    found = model([tensor(X), tensor(CONTEXT)])
    assert tuple(found[1].shape) == (*LEAD, N, T, T)
    close(reloaded(model, tmp_path)([tensor(X), tensor(CONTEXT)]), found)
    close(model.predict([X, CONTEXT], verbose=0), found)


def test_three_axes_are_passed_as_they_are():
    x = ops.ones((2, T, D))
    batch = LeadingAxes(x)
    assert batch.fold(x, 2) is x
    assert batch.unfold(x) is x


def test_a_batch_of_no_rows_gives_one():
    layer, _ = built("self")
    assert tuple(layer(ops.zeros((2, 0, T, D))).shape) == (2, 0, T, D)


@pytest.mark.parametrize("make", [ops.zeros, keras.KerasTensor], ids=["eager", "symbolic"])
def test_what_does_not_fit_is_refused(make):
    layer, _ = built("cross")
    said = r"`inputs` and `context` must have the same batch axes. Received: inputs of shape .*, context of shape \("
    for shape in [(2, 4, S, 6), (2, S, 6), (1, 2, 3, S, 6)]:
        with pytest.raises(ValueError, match=said):
            layer(make((*LEAD, T, D)), make(shape))
    layer, _ = built("self")
    with pytest.raises(
        ValueError, match=r"`inputs` must have 3 axes where there is a cache. Received: .* \(2, 3, 5, 8\)"
    ):
        layer(make((*LEAD, T, D)), cache=layer.init_cache(2, T))
    for shape in [(D,), (T, D)]:
        with pytest.raises(ValueError, match="`inputs` must have at least (2|3) axes"):
            layer(make(shape))


def test_pairs_with_a_context_are_masked_under_either_name_and_beside_a_cache():
    layer, _ = built("cross")
    x, context, pairs = tensor(X[0]), tensor(CONTEXT[0]), tensor(CONTEXT_PAIRS[0])
    wanted = array(layer(x, context, context_attention_mask=pairs))
    np.testing.assert_array_equal(array(layer(x, context, attention_mask=pairs)), wanted)
    assert np.all(wanted[~CONTEXT_PAIRS[0].any((1, 3))] == 0)
    cache = layer.init_cache(3, T, context)
    cached, _ = layer(x, cache=cache, context_attention_mask=pairs)
    np.testing.assert_allclose(array(cached), wanted, atol=1e-6)
    with pytest.raises(ValueError, match="`attention_mask` must not be given beside `context_attention_mask`"):
        layer(x, context, attention_mask=pairs, context_attention_mask=pairs)
    block, _ = built("decoder")
    wanted = array(block(x, context, context_attention_mask=pairs))
    cached, _ = block(x, cache=block.init_cache(3, T, context), context_attention_mask=pairs)
    np.testing.assert_allclose(array(cached), wanted, atol=1e-6)
    assert np.abs(array(block(x, context)) - wanted).max() > 1e-3
    with pytest.raises(ValueError, match=r"`context_attention_mask` must have shape \(5, 4\) or .* \(5, 5\)"):
        block(x, context, context_attention_mask=tensor(PAIRS[0, 0, 0]))
    alone = layers.TransformerDecoder(16, N)
    with pytest.raises(ValueError, match="`context_attention_mask` must be None where the block was built without"):
        alone(x, context_attention_mask=pairs)


def test_maps_have_all_axes_and_a_rollout_refuses_them_by_name():
    inputs = keras.Input((3, T, D))
    model = keras.Model(inputs, layers.TransformerEncoder(16, N, name="block")(inputs))
    assert analysis.attention_maps(model, tensor(X))["block"].shape == (*LEAD, N, T, T)
    with pytest.raises(
        ValueError, match=r"one batch axis. Received: block, with attention weights of shape \(1, 3, 2, 5"
    ):
        analysis.attention_rollout(model, tensor(X))
