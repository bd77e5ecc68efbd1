"""Copied tokens: the equation of the pointer-generator, what is not copied, gradients, and inputs that do not fit."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.layers import CopyLogits

from .eager_and_symbolic import WAYS
from .execution import COMPILES, array, compiled, gradients, tensor

RANDOM = np.random.default_rng(0)
X, LOGITS, CONTEXT = (RANDOM.normal(size=size).astype("float32") for size in ((2, 3, 8), (2, 3, 11), (2, 4, 6)))
IDS = np.array([[5, 7, 5, 0], [3, 9, 10, 1]], "int32")


@pytest.fixture(scope="module")
def layer():
    layer = CopyLogits(padding_id=0)
    layer.build(X.shape, LOGITS.shape, CONTEXT.shape, IDS.shape)
    layer.gate.bias.assign([0.7])
    return layer


def run(layer, x=X, logits=LOGITS, context=CONTEXT, ids=IDS):
    return layer(*map(tensor, (x, logits, context, ids)))


def softmax(x):
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def expected(layer, logits=LOGITS):
    """The probabilities, written down as they are published."""
    scores = X @ array(layer.query.kernel) @ CONTEXT.transpose(0, 2, 1) / 6**0.5
    weights = softmax(np.where((IDS != 0)[:, None], scores, -np.inf))
    share = 1 / (1 + np.exp(-(X @ array(layer.gate.kernel) + 0.7)))
    places = np.eye(11)[IDS] * (IDS != 0)[..., None]  # (B, S, V)
    return (1 - share) * softmax(logits) + share * (weights @ places)


@pytest.mark.parametrize("how", [lambda f: f, compiled], ids=["eager", "compiled"])
def test_outputs_are_logits_of_the_mixture(layer, how):
    found = array(how(lambda *given: layer(*given))(*map(tensor, (X, LOGITS, CONTEXT, IDS))))
    np.testing.assert_allclose(softmax(found), expected(layer), atol=1e-6)
    missing = np.ones((2, 11), bool)
    np.put_along_axis(missing, IDS, False, axis=1)
    missing[:, 0] = True  # padding
    np.testing.assert_array_equal(found.transpose(0, 2, 1)[missing], LOGITS.transpose(0, 2, 1)[missing])


def test_what_is_not_copied_may_hold_anything(layer):
    context, alone = CONTEXT.copy(), IDS.copy()
    context[0, 3] = np.nan
    np.testing.assert_array_equal(array(run(layer, context=context)), array(run(layer)))
    alone[0] = 0
    context[0] = np.nan
    found = array(run(layer, context=context, ids=alone))
    np.testing.assert_array_equal(found[0], LOGITS[0])
    np.testing.assert_allclose(found[1], array(run(layer))[1], atol=1e-6)


@pytest.mark.skipif(not COMPILES, reason="this backend has no compiler here")
def test_in_a_compiled_function_unknown_ids_are_not_copied(layer):
    unknown = np.where(IDS == 0, 11, IDS)
    call = compiled(lambda *given: layer(*given))
    np.testing.assert_allclose(array(call(*map(tensor, (X, LOGITS, CONTEXT, unknown)))), array(run(layer)), atol=1e-6)
    with pytest.raises(ValueError, match=r"`context_ids` must hold token ids in .*from 1 to 11"):
        run(layer, ids=unknown)


def test_even_what_the_vocabulary_excludes_can_be_copied(layer):
    logits = np.full_like(LOGITS, -200.0)
    logits[..., 2] = 200.0
    found = softmax(array(run(layer, logits=logits)))
    share = 1 / (1 + np.exp(-(X @ array(layer.gate.kernel) + 0.7)))[..., 0]
    np.testing.assert_allclose(found[..., 2], 1 - share, atol=1e-5)
    np.testing.assert_allclose(found[0, :, [5, 7]].sum(0), share[0], atol=1e-5)


@pytest.mark.parametrize("value", [-np.inf, -1e9])
def test_a_token_that_the_logits_forbid_has_what_is_copied_of_it(layer, value):
    logits = LOGITS.copy()
    logits[..., [5, 6, 9]] = value  # 5 and 9 stand in a source, 6 in none
    found = array(run(layer, logits=logits))
    np.testing.assert_allclose(softmax(found), expected(layer, logits), atol=1e-6)
    np.testing.assert_array_equal(found[..., 6], logits[..., 6])
    slopes = gradients(lambda *given: ops.logsumexp(layer(*given, tensor(IDS))), layer.trainable_variables)(
        *map(tensor, (X, logits, CONTEXT))
    )
    assert all(np.isfinite(each).all() and np.any(each) for each in slopes)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.once)])
def test_narrow_floats_give_finite_logits_near_those_of_float32(layer, dtype):
    narrow = CopyLogits(padding_id=0, dtype=dtype)
    narrow.build(X.shape, LOGITS.shape, CONTEXT.shape, IDS.shape)
    narrow.set_weights(layer.get_weights())
    found = run(narrow)
    assert keras.backend.standardize_dtype(found.dtype) == dtype.removeprefix("mixed_")
    np.testing.assert_allclose(array(ops.cast(found, "float32")), array(run(layer)), atol=0.06)


def test_no_positions_and_no_source_are_fine(layer):
    assert tuple(run(layer, X[:, :0], LOGITS[:, :0]).shape) == (2, 0, 11)
    np.testing.assert_array_equal(array(run(layer, context=CONTEXT[:, :0], ids=IDS[:, :0])), LOGITS)


def test_it_learns_to_copy_numbers_that_it_never_saw_there():
    """Training has tokens 3 to 6 as the first of two and 7 to 10 as the second; tested with the sides exchanged."""
    keras.utils.set_random_seed(0)
    ids, where = keras.Input((2,), dtype="int32"), keras.Input((2,), dtype="int32")
    x, context = (keras.layers.Embedding(2, 8, name=name)(where) for name in ("reads", "stands"))
    logits = keras.layers.Dense(11, name="writes")(x)
    model = keras.Model([ids, where], CopyLogits(name="copies")(x, logits, context, ids))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.03), loss)
    random = np.random.default_rng(1)
    seen = np.stack([random.integers(3, 7, 512), random.integers(7, 11, 512)], 1).astype("int32")
    places = np.tile(np.array([[0, 1]], "int32"), (512, 1))
    model.fit([seen, places], seen, batch_size=64, epochs=25, verbose=0)
    other = np.ascontiguousarray(seen[:, ::-1])
    found = model.predict([other, places], verbose=0).argmax(-1)
    assert (found == other).mean() > 0.99


@WAYS
@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"inputs": (2, 8)}, "`inputs` must have 3 axes"),
        ({"logits": (2, 3, 12)}, "`logits` must have 3 axes, the last of size 11"),
        ({"context": (2, 4, 7)}, "`context` must have 3 axes, the last of size 6"),
        ({"logits": (2, 2, 11)}, "`logits` must have a row for each position of `inputs`"),
        ({"context_ids": (2, 3)}, "`context_ids` must have a token for each position of `context`"),
        ({"context_ids": (2, 4, 1)}, "`context_ids` must have 2 axes"),
        ({"context": (3, 4, 6), "context_ids": (3, 4)}, "`context` and `inputs` must have the same batch axes"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(layer, make, shapes, message):
    fitting = {"inputs": X.shape, "logits": LOGITS.shape, "context": CONTEXT.shape, "context_ids": IDS.shape}
    dtypes = {"context_ids": {"dtype": "int32"}}
    with pytest.raises(ValueError, match=rf"{message}.* Received: "):
        layer(**{name: make(shape, **dtypes.get(name, {})) for name, shape in (fitting | shapes).items()})


@WAYS
@pytest.mark.parametrize("name", ["inputs", "logits", "context"])
def test_integers_in_the_place_of_floats_are_refused(layer, make, name):
    given = {"inputs": X.shape, "logits": LOGITS.shape, "context": CONTEXT.shape}
    given = {key: make(shape, dtype="int32" if key == name else "float32") for key, shape in given.items()}
    with pytest.raises(ValueError, match=f"`{name}` must be a float tensor. Received: {name} of dtype int32"):
        layer(**given, context_ids=make(IDS.shape, dtype="int32"))


@pytest.mark.once
@pytest.mark.parametrize("value", [2.5, "0", True])
def test_a_padding_id_that_is_no_integer_is_refused(value):
    with pytest.raises(ValueError, match="`padding_id` must be an integer or None. Received: padding_id="):
        CopyLogits(value)
