"""Two processes train one model: as one process does, also when one of them is killed and the job started again."""

import json
import re
import socket
import subprocess
import sys
import time

import keras
import psutil
import pytest

if keras.backend.backend() != "jax":
    pytest.skip("several processes train on JAX", allow_module_level=True)

import distributed_gpt

pytestmark = pytest.mark.slow
LIMIT = 120  # seconds that any process may take; then it is a hang
EPOCHS = 3


class Job:
    """The processes of a training, or that which starts two, each with its output in a file."""

    def __init__(self, folder, *each_with, starts_two=False):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.logs = [folder / f"process-{number}.txt" for number in range(len(each_with))]
        settings = {"output": folder / "job", "timeout": 10, "epochs": EPOCHS}
        settings["processes"] = 2
        if not starts_two:
            settings["coordinator"] = address
        line = [sys.executable, distributed_gpt.__file__, *(f"--{name}={value}" for name, value in settings.items())]
        self.processes = []
        for number, (log, options) in enumerate(zip(self.logs, each_with, strict=True)):
            with open(log, "w") as file:
                whole = [*line, *([] if starts_two else ["--process", str(number)]), *options]
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


def losses_alone(folder, monkeypatch):
    """Trains in this process, an epoch more than the others."""
    line = ["distributed_gpt.py", "--processes=1", f"--epochs={EPOCHS + 1}", f"--output={folder / 'job'}"]
    monkeypatch.setattr(sys, "argv", line)
    try:
        distributed_gpt.main()
    finally:
        keras.distribution.set_distribution(None)
    return losses(folder)


@pytest.mark.timeout(600)
def test_a_job_that_lost_a_process_goes_on_with_split_weights_and_then_alone_to_the_loss_of_an_undisturbed_one(
    tmp_path, monkeypatch
):
    alone, together = tmp_path / "alone", tmp_path / "together"
    for folder in (alone, together):
        folder.mkdir()
    undisturbed = losses_alone(alone, monkeypatch)
    with Job(together, [], starts_two=True) as job:
        limit = time.monotonic() + LIMIT
        while not [*(together / "job" / "backup").glob("epoch-[12]")]:
            assert time.monotonic() < limit, job.logs[0].read_text()
            assert job.processes[0].poll() is None, job.logs[0].read_text()
            time.sleep(0.02)
        children = psutil.Process(job.processes[0].pid).children()
        next(child for child in children if child.cmdline()[-2:] == ["--process", "1"]).kill()
        killed = time.monotonic()
        codes, said = job.end()
    assert time.monotonic() - killed < 60
    assert codes == [2]  # both are lost
    assert re.search(r"Ended by errors or signals: process 0 \(.*\), process 1 \(-9\)\. The same line goes on", said[0])
    assert "Task 1 heartbeat timeout" in said[0] or "Connection closed by peer" in said[0], said[0]
    assert not (together / "job" / "history.json").exists()
    with Job(together, *[["--model-axis", "2"]] * 2) as job:
        codes, said = job.end()
    assert codes == [0, 0], said
    resumed = losses(together)
    assert 1 <= len(resumed) <= 2  # it went on, and did not start again
    assert resumed == pytest.approx(undisturbed[EPOCHS - len(resumed) : EPOCHS], rel=1e-5)
    assert len([*(together / "job" / "backup" / f"epoch-{EPOCHS}" / "parts").glob("ocdbt.process_*")]) == 2
    assert losses_alone(together, monkeypatch) == pytest.approx(undisturbed[EPOCHS:], rel=1e-5)


def test_a_model_axis_that_fits_no_devices_is_refused():
    with pytest.raises(
        ValueError, match="must divide the devices, and lie .*Received: --model-axis 2, 1 devices of 1 pro"
    ):
        distributed_gpt.spread(2)
    with pytest.raises(ValueError, match="The processes must divide the batch. Received: a batch of 9 rows for 2 proc"):
        distributed_gpt.Windows([], 9, 0, 2)
