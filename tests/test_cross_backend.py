"""A model saved on one backend gives the same outputs on the others.

The test saves on the backend that it runs on. What TensorFlow saves is loaded on both others, and what they save on TensorFlow.
"""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from .layers.contract_rows import joint_model, joint_numbers, stir
from .layers.contract_table import ROWS
from .layers.execution import arrays, quick

OTHERS = [
    backend
    for backend in (("jax", "torch") if keras.backend.backend() == "tensorflow" else ("tensorflow",))
    if importlib.util.find_spec(backend)
]

LOAD = """
import sys
import keras, keras_tx, numpy
model_path, inputs_path, outputs_path = sys.argv[1:]
model = keras.models.load_model(model_path)
with numpy.load(inputs_path) as file:
    inputs = [file[f"input_{number}"] for number in range(len(model.inputs))]
backend = keras.backend.backend()
# One batch: to trace a graph for it takes longer than to run it, but JAX would compile each operation by itself.
outputs = model.predict_on_batch(inputs) if backend == "jax" else model(inputs)
found = {f"output_{number}": keras.ops.convert_to_numpy(each) for number, each in enumerate(outputs)}
numpy.savez(outputs_path, backend=backend, **found)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model of every public layer as a file, its inputs as a file, and its outputs here."""
    folder = tmp_path_factory.mktemp("saved")
    model, inputs = joint_model(ROWS), joint_numbers(ROWS)
    stir(model)
    model.save(folder / "model.keras")
    np.savez(folder / "inputs.npz", **{f"input_{number}": each for number, each in enumerate(inputs)})
    return folder, arrays(quick(model)(inputs))


@pytest.mark.slow
@pytest.mark.parametrize("backend", OTHERS)
def test_saved_model_gives_the_same_outputs_on_another_backend(saved, backend):
    folder, wanted = saved
    paths = [folder / "model.keras", folder / "inputs.npz", folder / f"outputs_{backend}.npz"]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *map(str, paths)],
        cwd=folder,
        env={**os.environ, "KERAS_BACKEND": backend},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    with np.load(paths[-1]) as file:
        assert file["backend"] == backend
        for number, (row, ours) in enumerate(zip(ROWS, wanted, strict=True)):
            np.testing.assert_allclose(file[f"output_{number}"], ours, atol=2e-5, err_msg=str(row))
