"""Files that were written before load in every later version, with the same weights under the same paths."""

import json
import zipfile

import keras
import numpy as np
import pytest

from .golden.make_saved import FOLDER, MODELS, outputs_of


@pytest.fixture(scope="module")
def written():
    with np.load(FOLDER / "outputs.npz") as file:
        return dict(file)


def _check(model, name, written):
    found = outputs_of(model)
    assert sorted(f"{name}:{output}" for output in found) == sorted(
        key for key in written if key.startswith(f"{name}:")
    )
    for output, value in found.items():
        np.testing.assert_allclose(value, written[f"{name}:{output}"], rtol=1e-4, atol=2e-5, err_msg=output)


def _paths(model):
    return [weight.path for weight in model.weights if "seed" not in weight.path]


@pytest.mark.parametrize("name", MODELS)
def test_keras_file_written_before_loads(name, written):
    model = keras.models.load_model(FOLDER / f"{name}.keras")
    assert sorted(_paths(model)) == sorted(json.loads(str(written["paths"]))[name])
    _check(model, name, written)


@pytest.mark.parametrize("name", MODELS)
def test_weights_written_before_load_into_a_model_of_today(name, written, tmp_path):
    with zipfile.ZipFile(FOLDER / f"{name}.keras") as archive:
        archive.extract("model.weights.h5", tmp_path)
    model = MODELS[name]()
    assert sorted(_paths(model)) == sorted(json.loads(str(written["paths"]))[name])
    model.load_weights(tmp_path / "model.weights.h5")
    _check(model, name, written)
