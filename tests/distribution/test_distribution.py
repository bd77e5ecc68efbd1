"""Models on several devices of one machine give what they give on one; each set of devices is a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

HERE = Path(__file__).parent
SECONDS = 560  # a minute where nothing else runs; none waits for another process, but a hang must end


def run_tests(*names, **environment):
    """Runs files of tests in a fresh process, whose number of devices cannot change once the backend has started."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:xdist",
            "-p",
            "no:cacheprovider",
            *[str(HERE / name) for name in names],
        ],
        env={**os.environ, **environment},
        text=True,
        capture_output=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(keras.backend.backend() != "jax", reason="keras.distribution needs JAX")
def test_four_jax_devices():
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"
    # Each device needs a thread.
    run_tests("on_four_devices.py", "refused_on_four_devices.py", XLA_FLAGS=flags, NPROC="16")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a strategy of TensorFlow")
def test_two_tensorflow_replicas():
    run_tests("on_two_replicas.py")


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX distributes")
def test_a_backend_that_would_distribute_nothing_is_refused():
    from keras_tx import distribution

    with pytest.raises(ValueError, match="on JAX alone; on TensorFlow, .*MirroredStrategy.*Received: backend"):
        distribution.layout_map(None)
