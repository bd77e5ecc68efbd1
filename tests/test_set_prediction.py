"""The loss equals that of transformers, each decoder layer has its own matching, and invalid targets raise errors."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.losses import SetPredictionLoss, TokenCrossentropy

from .golden.make_set_prediction import CASES, CLASSES, LAYERS, OTHER_WEIGHTS, QUERIES, objects, predictions
from .layers.execution import COMPILES, array, compiled, input_gradient, quick, tensor

GOLDEN = np.load(Path(__file__).parent / "golden" / "set_prediction.npz")


DEFAULT = quick(SetPredictionLoss())  # one for all: JAX compiles it once for each shape
COMPILED = DEFAULT if keras.backend.backend() == "jax" else compiled(SetPredictionLoss())


def number(*given):
    return float(array(DEFAULT(*map(tensor, given))))


def targets(case, rows=QUERIES):
    """Targets whose free rows hold NaN."""
    packed = np.full((len(CASES[case]), rows, 5), np.nan, "float32")
    packed[..., 0] = -1
    for row, labels, boxes in zip(packed, *objects(case), strict=True):
        row[: len(labels)] = np.concatenate([labels[:, None], boxes], axis=1)
    return packed


@pytest.mark.parametrize(
    ("name", "case", "weights"), [(case, case, {}) for case in CASES] + [("other_weights", "mixed", OTHER_WEIGHTS)]
)
def test_loss_and_gradient_are_those_of_transformers(name, case, weights):
    loss, y_true, y_pred = SetPredictionLoss(**weights), tensor(targets(case)), tensor(predictions(case))
    np.testing.assert_allclose(array(quick(loss)(y_true, y_pred)), GOLDEN[f"{name}/loss"], rtol=1e-5)
    found = input_gradient(compiled(lambda y_pred: loss(y_true, y_pred)), y_pred)
    np.testing.assert_allclose(found, GOLDEN[f"{name}/gradient"], atol=2e-6)


def test_neither_the_order_of_targets_nor_of_queries_matters_and_layers_are_summed():
    y_true, y_pred = targets("mixed"), predictions("mixed")
    whole = number(y_true, y_pred)
    np.testing.assert_allclose(number(y_true[:, ::-1], y_pred[:, :, ::-1]), whole, rtol=1e-5)
    np.testing.assert_allclose(
        sum(number(y_true, y_pred[:, layer : layer + 1]) for layer in range(LAYERS)), whole, rtol=1e-5
    )


def test_targets_without_a_row_are_targets_without_an_object():
    y_pred = predictions("none")
    np.testing.assert_allclose(number(targets("none", rows=0), y_pred), GOLDEN["none/loss"], rtol=1e-5)


def test_an_image_of_weight_zero_counts_in_no_sum():
    y_true, y_pred = targets("mixed"), predictions("mixed")
    weights = np.array([1.0, 1.0, 0.0], "float32")
    wanted = number(y_true[:2], y_pred[:2])
    np.testing.assert_allclose(number(y_true, y_pred, weights), wanted, rtol=1e-5)
    np.testing.assert_allclose(number(y_true, y_pred, weights[:, None]), wanted, rtol=1e-5)
    assert number(y_true, y_pred, 0 * weights) == 0.0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_floats_are_compared_in_float32(dtype):
    y_true, half = tensor(targets("mixed")), ops.cast(predictions("mixed"), dtype)
    found = quick(SetPredictionLoss(dtype=dtype))(y_true, half)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    np.testing.assert_allclose(array(found), number(y_true, ops.cast(half, "float32")), rtol=1e-6)


def test_a_compiled_model_trains_and_comes_back_from_its_file(tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    outputs = keras.layers.Dense(LAYERS * QUERIES * (CLASSES + 5), activation="sigmoid")(inputs)
    model = keras.Model(inputs, keras.layers.Reshape((LAYERS, QUERIES, CLASSES + 5))(outputs))
    model.compile(keras.optimizers.Adam(0.05), SetPredictionLoss(0.2), jit_compile=keras.backend.backend() != "torch")
    x, y_true = np.random.default_rng(0).normal(size=(3, 4)).astype("float32"), targets("mixed")
    losses = model.fit(x, y_true, batch_size=3, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.loss.get_config() == SetPredictionLoss(0.2).get_config()


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, CLASSES), (0, 0.5), (0, np.nan), (1, 16.0), (1, np.nan), (2, 0.99), (3, 0.0), (4, -0.5), (4, np.inf)],
)
def test_what_is_no_target_is_refused_and_makes_a_compiled_loss_nan(place, value):
    y_true, y_pred = targets("mixed"), tensor(predictions("mixed"))
    y_true[2, 1, place] = value
    with pytest.raises(ValueError, match=r"The (labels|boxes) of `y_true` must .* Received: .*in image 2"):
        SetPredictionLoss()(y_true, y_pred)
    if COMPILES:
        assert np.isnan(array(COMPILED(tensor(y_true), y_pred)))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the other backends have no graph that raises")
def test_a_graph_without_xla_refuses_what_is_no_target():
    import tensorflow as tf

    y_true = targets("mixed")
    graph = tf.function(SetPredictionLoss(), autograph=False)
    assert np.isfinite(graph(tensor(y_true), tensor(predictions("mixed"))))
    y_true[0, 0, 0] = CLASSES
    with pytest.raises(tf.errors.InvalidArgumentError, match="`y_true` must hold labels and boxes"):
        graph(tensor(y_true), tensor(predictions("mixed")))


@pytest.mark.parametrize("wrong", [-1.0, np.nan])
def test_weights_below_zero_are_refused(wrong):
    with pytest.raises(ValueError, match="`sample_weight` must hold numbers of at least 0. Received: "):
        SetPredictionLoss()(targets("mixed"), predictions("mixed"), np.array([1, wrong, 1], "float32"))


def test_a_class_that_is_ruled_out_by_its_logit_takes_no_part():
    y_true, y_pred = targets("none"), predictions("none")
    y_pred[..., 1] = -1e9
    wanted = number(y_true, y_pred)
    y_pred[..., 1] = -np.inf
    np.testing.assert_allclose(number(y_true, y_pred), wanted, rtol=1e-6)


@pytest.mark.once
def test_class_weights_of_keras_are_not_for_targets_and_are_those_of_places_for_tokens():
    """What the docstrings of the losses warn of: should Keras do otherwise, they are to say so."""
    with pytest.raises(TypeError, match="arrays can be converted"):
        trained(SetPredictionLoss(), predictions("mixed"), targets("mixed"), class_weight={2: 3.0})
    logits, labels = np.random.default_rng(0).normal(size=(2, 3, 5)).astype("float32"), np.array([[1, 4, 2], [3, 1, 1]])
    by_place = trained(TokenCrossentropy(), logits, labels, class_weight={0: 0.5, 1: 3.0})
    by_row = trained(TokenCrossentropy(), logits, labels, sample_weight=np.array([3.0, 0.5]))
    assert by_place == by_row != trained(TokenCrossentropy(), logits, labels)


def trained(loss, x, y, **weights):
    """The loss of a step of no length."""
    model = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Dense(x.shape[-1], kernel_initializer="identity")])
    model.compile(keras.optimizers.SGD(0.0), loss)
    return model.fit(x, y, verbose=0, **weights).history["loss"]
