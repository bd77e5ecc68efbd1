"""A GPT trained by several processes at once on Python's language reference, which goes on after one of them was lost.

    python examples/distributed_gpt.py [--processes N] [--epochs N] [--batch N] [--timeout SECONDS] [--output FOLDER]

starts N processes on this machine. On several hosts with GPUs the same line is started on each, with the address of the first
one, and a folder that all of them see (a number on each host, and one process a host, which takes all its GPUs):

    python examples/distributed_gpt.py --processes 4 --process 0 --coordinator 10.0.0.1:1234 --output /shared/gpt

On TPU hosts and under Slurm JAX finds the address and the numbers itself: `--coordinator auto` on each host.

All weights are on every device, and each process reads its rows of each batch alone. `--model-axis N` splits heads and
feed-forward columns over N devices instead, which then read the same rows (if these are devices of several processes, the backup
needs `pip install orbax-checkpoint`). A process that is lost ends the others within the timeout and a few seconds; the same line
started again, with as many processes or another number, goes on from the last whole epoch. (The others end by an error of
JAX's runtime, which prints much; the last line says which process was lost.)
"""

import argparse
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"  # which distributes over processes
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import jax
import keras
import numpy as np
import python_text

from keras_tx import distribution
from keras_tx.applications import GPT
from keras_tx.backup import Backup

SIZE = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 64}
LENGTH = 64
STEPS = 20  # an epoch, after which there is a backup


class Windows(keras.utils.PyDataset):
    """The rows of this process in batches of text, as inputs and targets, each int32 (rows, length).

    A batch depends on the epoch and its number alone: after a restart, and with other numbers of processes, it is the same.

    Args:
        tokens: integer array (N,).
        batch: int, rows of all processes together.
        part: int, which part of the rows this process reads.
        parts: int, how many there are.
        seed: int.
    """

    def __init__(self, tokens, batch, part, parts, seed=0):
        super().__init__()
        if batch % parts:
            raise ValueError(
                f"The processes must divide the batch. Received: a batch of {batch} rows for {parts} processes."
            )
        share = batch // parts
        self.rows = slice(part * share, (part + 1) * share)
        self.tokens, self.batch, self.seed, self.epoch = tokens, batch, seed, 0

    def follow(self):
        """Returns the callback that tells these batches the epoch, also after a restart."""
        return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(self, "epoch", epoch))

    @property
    def num_batches(self):
        return STEPS

    def __getitem__(self, index):
        random = np.random.default_rng((self.seed, self.epoch, index))
        starts = random.integers(0, len(self.tokens) - LENGTH, self.batch)[self.rows]
        windows = self.tokens[starts[:, None] + np.arange(LENGTH + 1)].astype("int32")
        return windows[:, :-1], windows[:, 1:]


def connect(options):
    """Joins this process to the others; each wait for one of them has a limit, after which it ends with an error."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    told = {
        "coordinator_address": options.coordinator,
        "num_processes": options.processes,
        "process_id": options.process,
    }
    jax.distributed.initialize(
        **({} if options.coordinator == "auto" else told),
        initialization_timeout=max(60, options.timeout),
        heartbeat_timeout_seconds=options.timeout,
        shutdown_timeout_seconds=max(30, options.timeout),
    )


def check_agreement(settings):
    """Raises `ValueError` on every process unless all of them train the same model in the same way."""
    from jax.experimental import multihost_utils

    digest = np.frombuffer(hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).digest(), "uint8")
    try:
        multihost_utils.assert_equal(digest)
    except AssertionError:
        raise ValueError(
            "All processes must train the same model on the same text in the same way. Received: by process "
            f"{jax.process_index()} {settings}, by another something else."
        ) from None


def spread(model_axis):
    """Sets how weights and batches lie on the devices of all processes, and returns which part of how many this one reads."""
    devices, processes = keras.distribution.list_devices(), jax.process_count()
    replicas, left = divmod(len(devices), model_axis)
    if left or not replicas or max(replicas, processes) % min(replicas, processes):
        raise ValueError(
            "The model axis must divide the devices, and lie in one process or fill several. Received: "
            f"--model-axis {model_axis}, {len(devices)} devices of {processes} processes."
        )
    if model_axis == 1:
        how = keras.distribution.DataParallel(auto_shard_dataset=False)
    else:
        mesh = keras.distribution.DeviceMesh((replicas, model_axis), ("batch", "model"), devices)
        how = distribution.ModelParallel(layout_map=distribution.layout_map(mesh), auto_shard_dataset=False)
    keras.distribution.set_distribution(how)
    parts = min(replicas, processes)
    return jax.process_index() * parts // processes, parts


def train(options):
    """Trains in one of the processes, and has the first write the losses."""
    if options.processes > 1 or options.coordinator:
        connect(options)
    text = "\0".join(python_text.load_topics().values()).encode()
    settings = {"size": {**SIZE, "hidden_dim": options.hidden_dim}, "batch": options.batch, "epochs": options.epochs}
    settings["model_axis"] = options.model_axis
    check_agreement({**settings, "text": hashlib.sha256(text).hexdigest(), "processes": jax.process_count()})
    keras.utils.set_random_seed(0)
    part, parts = spread(options.model_axis)
    model = GPT(256, LENGTH, **settings["size"])
    model.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    windows = Windows(np.frombuffer(text, "uint8"), options.batch, part, parts)
    first = jax.process_index() == 0
    history = model.fit(
        windows,
        epochs=options.epochs,
        callbacks=[windows.follow(), Backup(options.output / "backup")],
        shuffle=False,
        verbose=2 if first else 0,
    ).history
    if first:
        (options.output / "history.json").write_text(json.dumps(history))
        print(
            f"The last epoch's loss in nats a byte: {history['loss'][-1]:.6f}"
            if history
            else "Nothing was left to train."
        )


def start(options):
    """Starts the processes on this machine, and returns 0 if all of them did their part."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    line = [sys.executable, __file__, *sys.argv[1:], "--coordinator", address]
    workers = [subprocess.Popen([*line, "--process", str(number)]) for number in range(options.processes)]
    try:
        while any(worker.poll() is None for worker in workers):
            if any(worker.returncode for worker in workers):
                break
            time.sleep(0.2)
        limit = time.monotonic() + 2 * options.timeout
        for worker in workers:
            try:
                worker.wait(max(0.1, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    lost = [f"process {number} ({each.returncode})" for number, each in enumerate(workers) if each.returncode]
    if lost:
        print(
            f"Ended by errors or signals: {', '.join(lost)}. The same line goes on from the last backup.",
            file=sys.stderr,
        )
    return len(lost)


def main():
    """Starts the processes, or is one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2, help="of all hosts together (default 2)")
    parser.add_argument("--process", type=int, help="the number of this one; without it all are started here")
    parser.add_argument("--coordinator", help="host:port of process 0, or auto")
    parser.add_argument("--epochs", type=int, default=10, help=f"of {STEPS} steps each (default 10)")
    parser.add_argument("--batch", type=int, default=16, help="rows of all processes together (default 16)")
    parser.add_argument("--model-axis", type=int, default=1, help="devices that split the weights (default 1: none)")
    parser.add_argument("--hidden-dim", type=int, default=SIZE["hidden_dim"], help="width of the model (default 32)")
    parser.add_argument("--timeout", type=int, default=60, help="seconds without a sign of life (default 60)")
    parser.add_argument(
        "--output", type=Path, default=Path("outputs/distributed_gpt"), help="folder of backup and losses"
    )
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.process is None and options.coordinator is None and options.processes > 1:
        sys.exit(start(options))
    train(options)


if __name__ == "__main__":
    main()
