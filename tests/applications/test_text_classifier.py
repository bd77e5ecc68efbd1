"""The review classifier: shape, padding, parameter count, sizes, training."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.applications import TEXT_CLASSIFIER_SIZES, TextClassifier

SMALL = {"hidden_dim": 16, "num_layers": 2, "num_heads": 2, "intermediate_dim": 32}


def run(model, ids):
    return ops.convert_to_numpy(model(np.asarray(ids, "int32")))


def test_padding_changes_no_logit():
    model = TextClassifier(30, 12, **SMALL)
    short = run(model, [[5, 6, 7]])
    np.testing.assert_allclose(run(model, [[5, 6, 7, 0, 0, 0, 0]]), short, atol=1e-6)


@pytest.mark.once
def test_rows_of_a_batch_are_independent():
    model = TextClassifier(30, 12, **SMALL)
    ids = np.random.default_rng(0).integers(0, 30, (4, 12))
    ids[1, 3:] = 0
    alone = np.concatenate([run(model, ids[i : i + 1]) for i in range(4)])
    np.testing.assert_allclose(run(model, ids), alone, atol=1e-6)


def test_a_text_of_padding_alone_gets_finite_logits():
    assert np.isfinite(run(TextClassifier(30, 12, **SMALL), np.zeros((2, 5)))).all()


@pytest.mark.once
def test_parameters_are_those_of_the_formula():
    vocabulary, length, classes, d, f = 30, 12, 3, SMALL["hidden_dim"], SMALL["intermediate_dim"]
    block = 4 * (d * d + d) + (d * f + f) + (f * d + d) + 4 * d
    expected = vocabulary * d + length * d + 2 * block + 2 * d + d * classes + classes
    assert TextClassifier(vocabulary, length, num_classes=classes, **SMALL).count_params() == expected


@pytest.mark.once
@pytest.mark.parametrize("size", TEXT_CLASSIFIER_SIZES)
def test_every_size_builds(size):
    assert TextClassifier(50, 8, **TEXT_CLASSIFIER_SIZES[size]).output_shape == (None, 2)


def test_it_learns_which_word_decides_and_reloads(tmp_path):
    keras.utils.set_random_seed(0)
    model = TextClassifier(20, 8, **SMALL)
    ids = np.random.default_rng(0).integers(2, 20, (256, 8))
    labels = (ids < 5).any(axis=1).astype("int32")
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile="auto",
    )
    model.fit(ids, labels, epochs=8, batch_size=32, verbose=0)
    assert model.evaluate(ids, labels, verbose=0)[1] > 0.95
    model.save(tmp_path / "model.keras")
    assert np.array_equal(run(keras.models.load_model(tmp_path / "model.keras"), ids[:4]), run(model, ids[:4]))
