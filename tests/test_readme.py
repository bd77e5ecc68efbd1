"""The README's quick start runs as it stands, and its tree names what is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def quick_start():
    return re.search(r"## Quick start\n+```python\n(.*?)```", README, re.DOTALL).group(1)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the quick start exports a SavedModel")
def test_quick_start_runs_and_what_it_exports_answers(tmp_path, monkeypatch):
    import tensorflow as tf

    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(quick_start(), "README.md", "exec"), names)
    assert names["maps"]["encoder"].shape == (1, 4, 8, 8)
    assert (tmp_path / "attention.png").stat().st_size > 10_000
    served = tf.saved_model.load("reviews")
    probabilities = served.serve(tf.constant(["a funny film", "dull"])).numpy()
    assert probabilities.shape == (2, 2)
    assert abs(probabilities.sum(axis=1) - 1).max() < 1e-5


@pytest.mark.slow
@pytest.mark.once
def test_the_generating_examples_run(tmp_path, monkeypatch):
    import keras_tx

    monkeypatch.chdir(tmp_path)
    section = re.search(r"## Generating\n(.*?)\n## ", README, re.DOTALL).group(1)
    from_ids, from_text, from_sources, trained = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names = {"keras": keras, "keras_tx": keras_tx, "layers": keras_tx.layers}
    exec(compile(from_ids, "README.md", "exec"), names)
    assert names["tokens"].shape == (2, 13)
    assert names["best"].shape == (1, 12)
    assert sum(map(len, names["second"])) == 10
    exec(compile(from_sources, "README.md", "exec"), names)
    assert names["answers"].shape == (2, 11)
    exec(compile(trained, "README.md", "exec"), names)
    assert len(names["sentences"]) == 3
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        exec(compile(from_text, "README.md", "exec"), names)
        served = tf.saved_model.load("writer")
        assert served.serve(tf.constant(["Once upon"])).numpy()[0].decode() == names["text"]
        assert names["text"].startswith("Once upon")


@pytest.mark.slow
@pytest.mark.once
def test_the_pretraining_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    section = re.search(r"## Pretraining and fine-tuning\n(.*?)\n## ", README, re.DOTALL).group(1)
    names = {}
    exec(compile(re.search(r"```python\n(.*?)```", section, re.DOTALL).group(1), "README.md", "exec"), names)
    assert names["logits"].shape == (2, 3)
    assert names["model"].get_layer("bert") is names["classifier"].get_layer("bert") is names["encoder"]
    assert (tmp_path / "encoder" / "model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "jax", reason="keras.distribution needs JAX")
def test_the_distributed_example_runs_on_four_devices(tmp_path):
    section = re.search(r"## When one machine is not enough\n(.*?)\n## ", README, re.DOTALL).group(1)
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    environment = {**os.environ, "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"}
    program = "\n".join([*blocks, "assert tokens.shape == (1, 8)"])
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True, timeout=200)
    assert (tmp_path / "run" / "step-100" / "model.weights.json").exists()


@pytest.mark.once
def test_every_place_in_the_tree_exists():
    tree = re.search(r"## What is where\n+```\n(.*?)```", README, re.DOTALL).group(1)
    places = [line.split()[0] for line in tree.splitlines()]
    assert len(places) > 5
    assert all((ROOT / place).exists() for place in places)


@pytest.mark.once
def test_every_public_layer_is_in_the_table():
    import keras_tx

    table = re.search(r"## The layers\n(.*?)\n\nMasks", README, re.DOTALL).group(1)
    assert set(re.findall(r"`([A-Z]\w+)`", table)) == set(keras_tx.layers.__all__)
