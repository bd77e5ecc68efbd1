"""The mask contract, on every layer that attends or pools and on every path: what is masked out is as if it were not there."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers

from .attenders import (
    ALL_REAL,
    ATTENDERS,
    CLEAN,
    FULL_NAMES,
    HEADS,
    LENGTH,
    OTHER,
    PATHS,
    REAL,
    built,
    runner,
    with_junk,
)
from .contract_rows import stir
from .execution import AttachMask, SeenMask, array, arrays, frozen, gradients, input_gradient, tensor, weighted_sum

NO_KEYS = np.where(np.arange(len(REAL))[:, None] == 1, False, REAL)  # row 1 has none
BARE = [name for name, each in ATTENDERS.items() if each.bare]


def over_paths(choose=lambda path: True):
    return pytest.mark.parametrize("path", [path for path in PATHS if choose(path)], ids=str, scope="module")


@over_paths()
def test_content_of_masked_slots_changes_no_bit(path):
    clean, clean_scores = runner(path)(CLEAN, REAL)
    junk, junk_scores = runner(path)(with_junk(~REAL), REAL)
    real = path.attender.real(junk, REAL)
    assert np.all(np.isfinite(real))
    np.testing.assert_array_equal(real, path.attender.real(clean, REAL))
    if path.scores:
        for ours, theirs in zip(_flat(junk_scores), _flat(clean_scores), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@over_paths(lambda path: path.scores)
def test_masked_weight_is_exactly_zero(path):
    _, scores = runner(path)(with_junk(~REAL), REAL)
    weights = _own_scores(path, scores)
    masked = np.broadcast_to(~REAL[:, None, None, :], weights.shape) if path.name != "cross, inputs" else None
    if masked is None:  # the keys are those of the other sequence; a query that is not real has no weights
        assert np.all(weights[np.broadcast_to(~REAL[:, None, :, None], weights.shape)] == 0)
        return
    assert np.all(weights[masked] == 0)
    some_key = weights.sum(-1) > 0
    np.testing.assert_allclose(weights.sum(-1)[some_key], 1.0, atol=1e-5)
    assert np.all(some_key == np.broadcast_to(_has_keys(path)[:, None, :], some_key.shape))


@over_paths(lambda path: path.attender.causal)
def test_future_tokens_do_not_change_past_outputs(path):
    future = np.broadcast_to(np.arange(LENGTH) >= 3, ALL_REAL.shape)
    clean, _ = runner(path)(CLEAN, ALL_REAL)
    junk, _ = runner(path)(with_junk(future), ALL_REAL)
    assert np.all(np.isfinite(clean))
    np.testing.assert_array_equal(junk[:, :3], clean[:, :3])


@over_paths()
def test_nan_that_is_attended_to_is_not_hidden(path):
    x = CLEAN.copy()
    x[0, 2] = np.nan
    clean, _ = runner(path)(CLEAN, ALL_REAL)
    found, _ = runner(path)(x, ALL_REAL)
    np.testing.assert_array_equal(found[1:], clean[1:])
    if path.name == "cross, inputs":
        seen = np.arange(LENGTH) == 2  # queries do not see each other
    elif path.attender.side == "inputs":
        seen = (np.arange(LENGTH) >= 2) | (not path.attender.causal)
    else:
        seen = np.full(found.shape[1:-1], True)
    reached = np.isnan(found[0][seen])
    assert np.any(reached) if path.dropout else np.all(reached)  # dropout drops weights that are NaN like any other
    np.testing.assert_array_equal(found[0][~seen], clean[0][~seen])


@over_paths()
def test_query_without_keys_gets_nothing(path):
    found, scores = runner(path)(with_junk(~NO_KEYS), NO_KEYS)
    clean, _ = runner(path)(CLEAN, NO_KEYS)
    assert np.all(np.isfinite(found))
    np.testing.assert_array_equal(found, clean)
    if path.attender.bare or path.name == "pooling":
        assert np.all(found[1] == 0)
    if path.scores:
        assert np.all(_own_scores(path, scores)[1] == 0)


@over_paths(lambda path: path.scores and path.on(scores=False) in PATHS)
def test_asking_for_scores_changes_no_output_bit(path):
    with_scores, _ = runner(path)(CLEAN, REAL)
    without, _ = runner(path.on(scores=False))(CLEAN, REAL)
    np.testing.assert_array_equal(with_scores, without)


def _flat(scores):
    return keras.tree.flatten(scores)


def _own_scores(path, scores):
    """The scores whose keys (or, in cross-attention seen from its inputs, queries) are the sequence that is masked."""
    if isinstance(scores, (tuple, list)):
        return scores[1] if path.attender.side == "context" else scores[0]
    return scores


def _has_keys(path):
    """Which queries have a key: the real ones of the inputs, all that look at a context."""
    return np.ones((len(REAL), OTHER.shape[1]), bool) if path.attender.side == "context" else REAL


def _pairs(rank, num_queries):
    """A mask over pairs that closes positions to every query, and these positions; without a batch axis, the same in all rows."""
    real = np.broadcast_to(np.arange(LENGTH) != 3, REAL.shape) if rank == 2 else REAL
    shape = (len(REAL), HEADS, num_queries, LENGTH)
    pairs = np.broadcast_to(real[:, None, None, :], shape)
    return {2: pairs[0, 0], 3: pairs[:, 0], 4: pairs}[rank], real


KINDS = [("attention_mask", 2), ("attention_mask", 3), ("attention_mask", 4), ("mask", 3), ("mask", 4)]


@pytest.mark.parametrize(("argument", "rank"), KINDS)
@pytest.mark.parametrize(
    "name", [name for name in ATTENDERS if name not in ("pooling", "encoder, context", "decoder, context")]
)
def test_masks_over_pairs_keep_the_contract(name, argument, rank):
    layer, over_context = built(name, "float32"), name.startswith("cross")
    pairs, real = _pairs(rank, OTHER.shape[1] if over_context else LENGTH)
    options = {argument: tensor(pairs), "training": True, "return_attention_scores": True}

    @frozen
    def call(x):
        if over_context:
            return arrays(layer(tensor(OTHER), tensor(x), **options))
        return arrays(ATTENDERS[name].call(layer, tensor(x), **{"mask": None, **options}))

    (clean, _), (junk, scores) = call(CLEAN), call(with_junk(~real))
    scores = scores[0] if isinstance(scores, (tuple, list)) else scores
    seen = np.ones(clean.shape[:2], bool) if over_context else real
    np.testing.assert_array_equal(junk[seen], clean[seen])
    assert np.all(np.isfinite(junk[seen]))
    closed = seen[:, None, :, None] & ~real[:, None, None, :]
    assert np.any(closed)
    assert np.all(scores[np.broadcast_to(closed, scores.shape)] == 0)


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", BARE)
def test_query_that_no_pair_allows_gets_zeros(name, dtype):
    layer = built(name, dtype)
    sequences = [tensor(CLEAN), tensor(OTHER)] if name.startswith("cross") else [tensor(CLEAN)]
    pairs = np.ones((len(CLEAN), LENGTH, sequences[-1].shape[1]), bool)
    pairs[:, 1] = False
    outputs, scores = arrays(layer(*sequences, attention_mask=tensor(pairs), return_attention_scores=True))
    assert np.all(outputs[:, 1] == 0)
    assert np.all(scores[:, :, 1] == 0)
    assert np.all(np.any(outputs[:, [0, 2, 3, 4]] != 0, axis=-1))


@pytest.mark.parametrize("name", [name for name in FULL_NAMES if name != "pooling"])
def test_junk_in_padding_changes_no_bit_of_a_gradient(name):
    layer, attender = built(name, "float32"), ATTENDERS[name]
    kept = tensor(REAL[..., None] if attender.side == "inputs" else np.ones((1, 1, 1), bool))

    def loss(x):
        outputs = attender.call(layer, x, tensor(REAL), training=False)
        return weighted_sum(ops.where(kept, outputs, 0.0))

    gradient = gradients(loss, layer.trainable_weights)
    for weight, clean, junk in zip(
        layer.trainable_weights, gradient(tensor(CLEAN)), gradient(tensor(with_junk(~REAL))), strict=True
    ):
        assert np.all(np.isfinite(junk)), weight.path
        np.testing.assert_array_equal(junk, clean, err_msg=weight.path)


def test_pooling_sends_no_gradient_into_padding():
    pooling = layers.MaskedMeanPooling()
    found = input_gradient(lambda x: weighted_sum(pooling(x, mask=tensor(REAL))), tensor(with_junk(~REAL)))
    assert np.all(found[~REAL] == 0)
    assert np.all(np.isfinite(found))
    assert np.all(found[REAL] != 0)


@over_paths(lambda path: path.dtype == "mixed_float16")
def test_float16_stays_finite_at_activations_of_300(path):
    found, scores = runner(path)(300 * CLEAN, REAL)
    assert np.all(np.isfinite(found))
    assert np.any(found != 0)
    assert all(np.all(np.isfinite(each)) for each in keras.tree.flatten(scores) if each is not None)


WITH_INPUTS = [name for name, each in ATTENDERS.items() if each.side == "inputs"]


@pytest.mark.parametrize("name", WITH_INPUTS)
def test_mask_that_keras_carries_counts_beside_other_tensors(name):
    layer, attender = built(name, "float32"), ATTENDERS[name]
    pairs = tensor(np.tri(LENGTH, 3 if name.startswith("cross") else LENGTH, dtype=bool))
    carried = AttachMask()(tensor(CLEAN), tensor(REAL))
    found = array(attender.call(layer, carried, None, attention_mask=pairs))
    wanted = array(attender.call(layer, tensor(CLEAN), tensor(REAL), attention_mask=pairs))
    np.testing.assert_array_equal(found, wanted)
    assert not np.array_equal(found, array(attender.call(layer, tensor(CLEAN), None, attention_mask=pairs)))


@pytest.mark.parametrize("name", ["causal", "rotary", "decoder", "decoder, inputs"])
def test_mask_that_keras_carries_counts_beside_a_cache(name):
    layer, attender = built(name, "float32"), ATTENDERS[name]
    context = {"context": tensor(OTHER)} if name == "decoder, inputs" else {}
    cache = layer.init_cache(len(CLEAN), LENGTH, **context)
    carried = AttachMask()(tensor(CLEAN), tensor(REAL))
    found, found_cache = attender.call(layer, carried, None, cache=cache)
    wanted, wanted_cache = attender.call(layer, tensor(CLEAN), tensor(REAL), cache=cache)
    np.testing.assert_array_equal(array(found), array(wanted))
    keras.tree.map_structure(np.testing.assert_array_equal, arrays(found_cache), arrays(wanted_cache))
    without, _ = attender.call(layer, tensor(CLEAN), None, cache=cache)
    assert not np.array_equal(array(found), array(without))


@pytest.mark.parametrize("name", [name for name in WITH_INPUTS if name != "cross, inputs"])
def test_mask_of_token_ids_reaches_attention_in_a_functional_model(name):
    ids = np.where(REAL, np.random.default_rng(1).integers(1, 11, REAL.shape), 0).astype("int32")
    embedding = layers.TokenAndPositionEmbedding(11, LENGTH, CLEAN.shape[-1], mask_zero=True)
    layer, attender, seen = built(name, "float32"), ATTENDERS[name], SeenMask()
    inputs = keras.Input((None,), dtype="int32")
    model = keras.Model(inputs, seen(attender.call(layer, embedding(inputs), None)))
    found = array(model(tensor(ids)))
    np.testing.assert_array_equal(array(seen.mask), REAL)
    wanted = array(attender.call(layer, tensor(array(embedding(tensor(ids)))), tensor(REAL)))
    np.testing.assert_array_equal(found, wanted)


def test_mask_of_keras_masking_reaches_a_classifier():
    x = np.where(REAL[..., None], CLEAN, 0.0).astype("float32")
    inputs = keras.Input((None, CLEAN.shape[-1]))
    hidden = layers.TransformerEncoder(8, HEADS, normalize_first=True)(keras.layers.Masking()(inputs))
    model = keras.Model(inputs, layers.MaskedMeanPooling()(hidden))
    stir(model)
    found = array(model(tensor(x)))
    longer = np.concatenate([x, np.zeros((len(x), 3, CLEAN.shape[-1]), "float32")], axis=1)
    np.testing.assert_allclose(array(model(tensor(longer))), found, atol=1e-6)
    alone = array(model(tensor(x[:1, :3])))
    np.testing.assert_allclose(alone, found[:1], atol=1e-6)
