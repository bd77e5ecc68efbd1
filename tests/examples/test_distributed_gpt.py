"""Two processes train one model: as one process does, also when one of them is killed and the job started again."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="several processes train on JAX"),
]
SCRIPT = Path(__file__).parents[2] / "examples" / "distributed_gpt.py"
LIMIT = 120  # seconds that any process may take; then it is a hang
EPOCHS = "3"


class Job:
    """The processes of a training, each with its output in a file."""

    def __init__(self, folder, *each_with):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.logs = [folder / f"process-{number}.txt" for number in range(len(each_with))]
        line = [sys.executable, str(SCRIPT), "--output", str(folder / "job"), "--timeout", "10", "--epochs", EPOCHS]
        line += ["--processes", str(len(each_with))]
        if len(each_with) > 1:
            line += ["--coordinator", address]
        self.processes = []
        for number, (log, options) in enumerate(zip(self.logs, each_with, strict=True)):
            with open(log, "w") as file:
                whole = [*line, "--process", str(number), *options]
                self.processes.append(subprocess.Popen(whole, stdout=file, stderr=subprocess.STDOUT))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes:
            process.kill()
            process.wait()

    def end(self):
        """Waits for all, and returns their exit codes and what they said."""
        codes = [process.wait(LIMIT) for process in self.processes]
        return codes, [log.read_text() for log in self.logs]


def losses(folder):
    return json.loads((folder / "job" / "history.json").read_text())["loss"]


def test_a_job_that_lost_a_process_ends_and_goes_on_to_the_loss_of_an_undisturbed_one(tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    for folder in (alone, together):
        folder.mkdir()
    with Job(alone, []) as job:
        codes, said = job.end()
    assert codes == [0], said
    with Job(together, [], []) as job:
        limit = time.monotonic() + LIMIT
        while not [*(together / "job" / "backup").glob("epoch-[12]")]:
            assert time.monotonic() < limit, [log.read_text() for log in job.logs]
            assert all(process.poll() is None for process in job.processes), [log.read_text() for log in job.logs]
            time.sleep(0.02)
        job.processes[1].send_signal(signal.SIGKILL)
        killed = time.monotonic()
        codes, said = job.end()
    assert time.monotonic() - killed < 60
    assert codes[1] == -signal.SIGKILL
    assert codes[0] not in (0, -signal.SIGKILL), said[0]
    assert "Task 1 heartbeat timeout" in said[0] or "Connection closed by peer" in said[0], said[0]
    assert not (together / "job" / "history.json").exists()
    with Job(together, [], []) as job:
        codes, said = job.end()
    assert codes == [0, 0], said
    resumed, undisturbed = losses(together), losses(alone)
    assert 1 <= len(resumed) <= 2  # it went on, and did not start again
    assert resumed == pytest.approx(undisturbed[-len(resumed) :], rel=1e-5)


def test_processes_that_disagree_on_the_model_are_told_so(tmp_path):
    with Job(tmp_path, [], ["--hidden-dim", "16"]) as job:
        codes, said = job.end()
    assert all(code != 0 for code in codes)
    for text in said:
        assert "ValueError: All processes must train the same model on the same text in the same way. Received" in text
    assert "'hidden_dim': 16" in said[1]
