"""The loss of tokens is Keras' own with labels one-hot and smoothed, and padding takes no part in it."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.losses import LogitsKLDivergence, TokenCrossentropy

from .layers.execution import COMPILES, compiled, input_gradient, tensor

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(2, 4, 5)).astype("float32") * 3
LABELS = np.array([[1, 2, 3, 4], [3, 1, 0, 0]])


def number(value):
    return float(ops.convert_to_numpy(value))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_the_loss_is_that_of_smoothed_one_hot_labels(smoothing):
    expected = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)(
        np.eye(5, dtype="float32")[LABELS], LOGITS
    )
    np.testing.assert_allclose(number(TokenCrossentropy(smoothing)(LABELS, LOGITS)), number(expected), atol=1e-5)


def test_padding_takes_no_part():
    loss, real = TokenCrossentropy(0.1, padding_id=0), LABELS != 0
    expected = number(TokenCrossentropy(0.1)(LABELS[real][None], LOGITS[real][None]))
    np.testing.assert_allclose(number(loss(LABELS, LOGITS)), expected, atol=1e-6)
    changed = np.where(real[..., None], LOGITS, 100.0)
    assert number(loss(LABELS, changed)) == number(loss(LABELS, LOGITS))


@pytest.mark.parametrize("weights", [np.array([2.0, 0.0]), np.array([[1.0, 0.0, 2.0, 1.0], [0.0] * 4])])
def test_weights_of_rows_and_of_tokens_count(weights):
    plain = TokenCrossentropy(reduction=None)(LABELS, LOGITS)
    full = np.broadcast_to(weights.reshape(2, -1), (2, 4)) * (LABELS != 0)
    expected = (ops.convert_to_numpy(plain) * full).sum() / full.sum()
    loss = TokenCrossentropy(padding_id=0)(LABELS, LOGITS, sample_weight=weights)
    np.testing.assert_allclose(number(loss), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (4,), (4, 1), (4, 4)])
def test_without_padding_weights_are_those_of_rows_too(shape):
    labels, logits = RANDOM.integers(0, 6, (4, 4)), RANDOM.normal(size=(4, 4, 6)).astype("float32")
    weights = RANDOM.uniform(size=shape).astype("float32")
    loss = TokenCrossentropy()(labels, logits, weights)
    np.testing.assert_allclose(
        number(loss), number(TokenCrossentropy(padding_id=-1)(labels, logits, weights)), atol=1e-6
    )
    full = np.broadcast_to(weights.reshape(shape + (1,) * (2 - len(shape))), (4, 4))
    plain = ops.convert_to_numpy(TokenCrossentropy(reduction=None)(labels, logits))
    np.testing.assert_allclose(number(loss), (plain * full).sum() / full.sum(), atol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_compiled_model_takes_weights_of_rows_and_then_of_tokens(jit_compile):
    inputs = keras.Input((None,), dtype="int32")
    model = keras.Model(inputs, keras.layers.Embedding(5, 5)(inputs))
    jit_compile = jit_compile and keras.backend.backend() != "torch"
    model.compile(keras.optimizers.SGD(0.0), TokenCrossentropy(), jit_compile=jit_compile)
    logits = model(LABELS)
    for weights in (np.array([2.0, 0.5]), RANDOM.uniform(size=(2, 4)), np.array([1.0, 3.0])):
        found = model.train_on_batch(LABELS, LABELS, sample_weight=weights.astype("float32"))
        np.testing.assert_allclose(found, number(TokenCrossentropy()(LABELS, logits, weights)), atol=1e-5)


@pytest.mark.parametrize("shape", [(3,), (4,), (2, 3), (2, 4, 1)])
def test_weights_of_neither_rows_nor_tokens_are_refused(shape):
    with pytest.raises(ValueError, match="`sample_weight` must have a number for each row or for each token"):
        TokenCrossentropy()(LABELS, LOGITS, np.ones(shape))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_logits_at_padding_may_be_nan_and_its_id_no_token(smoothing):
    labels = np.where(LABELS == 0, -100, LABELS)
    broken = np.where((LABELS == 0)[..., None], np.nan, LOGITS).astype("float32")
    loss = TokenCrossentropy(smoothing, padding_id=-100)
    expected = number(TokenCrossentropy(smoothing, padding_id=0)(LABELS, LOGITS))
    np.testing.assert_allclose(number(loss(labels, broken)), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.array([[1, 2, 3, 5]]), "labels from 1 to 5, logits of 5 tokens, padding_id=0"),
        (np.array([[1, 2, -1, 0]]), r"`y_true` must hold token ids in \[0, vocabulary_size\).*labels from -1 to 2"),
        (np.array([[1, 2, 3.5, 4]], "float32"), "`y_true` must hold token ids, whole numbers. Received: .*float32"),
        (np.array([[1, 2, np.nan, 4]], "float32"), "`y_true` must hold token ids, whole numbers"),
    ],
)
def test_labels_that_are_no_tokens_are_refused(labels, said):
    with pytest.raises(ValueError, match=said):
        TokenCrossentropy(padding_id=0)(labels, LOGITS[:1])


@pytest.mark.parametrize("shape", [(1, 4), (2, 1), (2, 3)])
def test_labels_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"`y_pred` must have one axis more .* y_pred of shape \(2, 4, 5\), y_true of"):
        TokenCrossentropy()(np.ones(shape, int), LOGITS)


@pytest.mark.once
def test_numbers_of_numpy_are_arguments():
    config = TokenCrossentropy(np.float32(0.5), padding_id=np.int64(3)).get_config()
    assert (config["label_smoothing"], config["padding_id"]) == (0.5, 3)
    assert type(config["padding_id"]) is int


def test_rows_of_padding_alone_cost_nothing():
    assert number(TokenCrossentropy(padding_id=0)(np.zeros((2, 4), int), LOGITS)) == 0.0


def test_config_survives_a_round_trip():
    loss = TokenCrossentropy(0.2, padding_id=3, name="own")
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert copy.get_config() == loss.get_config()
    assert (copy.label_smoothing, copy.padding_id, copy.name) == (0.2, 3, "own")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"label_smoothing": 1.0}, r"`label_smoothing` must be a number in \[0, 1\). Received: label_smoothing=1.0"),
        ({"label_smoothing": "0.1"}, "`label_smoothing`.*'0.1'"),
        ({"padding_id": 0.0}, "`padding_id` must be an integer or None. Received: padding_id=0.0"),
    ],
)
def test_arguments_out_of_range_are_named(arguments, said):
    with pytest.raises(ValueError, match=said):
        TokenCrossentropy(**arguments)


def test_labels_of_another_rank_are_refused():
    with pytest.raises(ValueError, match=r"`y_pred` must have one axis more .* y_pred of shape \(2, 4, 5\)"):
        TokenCrossentropy()(LABELS[..., None], LOGITS)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_half_dtype_rounds_no_label(dtype):
    labels, logits = np.array([[301]]), np.zeros((1, 1, 400), "float32")
    logits[0, 0, 301] = 4.0
    wanted = float(TokenCrossentropy()(labels, logits))
    assert float(TokenCrossentropy(dtype=dtype)(labels, logits)) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="ragged tensors are TensorFlow's")
def test_ragged_labels_are_refused_with_the_way_out():
    import tensorflow as tf

    with pytest.raises(ValueError, match=r"`y_true` must be dense: fill its rows up with `to_tensor\(\)`"):
        TokenCrossentropy()(tf.ragged.constant([[1, 2], [3]]), LOGITS)


def test_the_divergence_of_logits_is_that_of_keras_and_leaves_out_what_has_no_weight():
    random = np.random.default_rng(0)
    logits = random.normal(size=(2, 3, 4)).astype("float32")
    target = random.dirichlet(np.ones(4), size=(2, 3)).astype("float32")
    target[0, 0] = [0, 1, 0, 0]
    plain = ops.convert_to_numpy(LogitsKLDivergence(reduction=None)(target, logits))
    expected = keras.losses.KLDivergence(reduction=None)(target, ops.softmax(logits))
    np.testing.assert_allclose(plain, ops.convert_to_numpy(expected), atol=1e-5)
    weights = np.array([[1, 0, 1], [0, 1, 0]], "float32")
    found = number(LogitsKLDivergence()(target, logits, sample_weight=weights))
    np.testing.assert_allclose(found, (plain * weights).sum() / 3, atol=1e-6)
    assert number(LogitsKLDivergence()(ops.softmax(logits), logits)) == pytest.approx(0, abs=1e-6)
    assert np.isfinite(number(LogitsKLDivergence()(target, 300 * logits)))


def test_a_class_that_its_logit_rules_out_counts_where_it_has_a_probability_alone():
    target, logits = np.array([[0.25, 0, 0.75], [1, 0, 0]], "float32"), RANDOM.normal(size=(2, 3)).astype("float32")
    wanted = number(LogitsKLDivergence()(target[:, ::2], logits[:, ::2]))
    logits[:, 1] = -np.inf
    loss = compiled(LogitsKLDivergence())
    np.testing.assert_allclose(number(loss(tensor(target), tensor(logits))), wanted, rtol=1e-5)
    gradient = input_gradient(lambda logits: loss(tensor(target), logits), tensor(logits))
    np.testing.assert_allclose(gradient[:, 1], 0)
    assert np.isfinite(gradient).all()
    if COMPILES:  # where nothing can be raised
        assert np.isnan(number(loss(tensor(-target), tensor(logits))))


@pytest.mark.once
def test_bad_distributions_are_named():
    with pytest.raises(ValueError, match="`y_pred` must hold a logit for each probability"):
        LogitsKLDivergence()(np.ones((2, 3, 4), "float32"), np.ones((2, 3, 5), "float32"))
    with pytest.raises(ValueError, match="`y_true` must hold probabilities. Received: -1.0"):
        LogitsKLDivergence()(-np.ones((1, 2), "float32"), np.ones((1, 2), "float32"))
