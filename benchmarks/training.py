"""Training steps of whole models beside the best peers: seconds, memory, and how long the first step compiles.

    KERAS_BACKEND=tensorflow|jax python benchmarks/training.py [--model bert gpt vit swin translator] [--batch 1 8 32]
                      [--jit on off] [--peers keras_hub transformers compiled] [--rounds 5] [--seconds 240] [--limit 420] [--tiny]

BERT-base (length 128, 20 masked tokens and next sentence), GPT-2 small (length 256), ViT-B/16 and Swin-T (224 x 224), Translator
base (24 and 24 tokens). A step is forward, loss, backward and AdamW at 1e-4 with decay 0.01 (Translator: Adam, labels smoothed by
0.1), in float32. Dropout is 0.1 in the three of text and 0 in those of images, on all sides. transformers runs on torch, eager
("transformers") and by `torch.compile` of model and loss ("compiled", inductor), with torch's fused optimizer; it has no XLA and
is measured again beside ours with and without. keras-hub has no Translator.

Each candidate runs in a process of its own. They take turns within each round where the machine's memory holds them all; if not,
they run one after the other, and the row says so. What would leave less than `--spare` GB, or takes longer than `--limit` seconds
for one step (compilation, in the first), is left out with the reason. No round begins later than `--seconds` after the first of a
row, but two are made. What `torch.compile` made is kept for the next row of the same run, as the seconds of first steps then
show. A peak is what a process held at most, over what it held before the model was made. Prints a table row by row, and one line
of JSON last. Where a processor has no AVX-512, TensorFlow's graphs use oneDNN, as torch does, with TF_ENABLE_ONEDNN_OPTS=1 alone.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

from processes import Worker, available
from timing import machine
from training_candidates import CANDIDATES, KERAS, MODELS, WITHOUT_KERAS_HUB

OURS = "keras_tx"
PROGRAM = pathlib.Path(__file__).with_name("training_candidates.py")


class Row:
    """What is measured of one model, batch and way of compiling."""

    def __init__(self, name, batch, jit, settings, cache):
        self.name, self.batch, self.jit, self.settings, self.cache = name, batch, jit, settings, cache
        self.seconds, self.first, self.peak, self.left_out = {}, {}, {}, {}
        self.turns = "together"

    def start(self, candidate):
        """Returns the candidate's process after two steps, or `None`."""
        settings = [self.name, candidate, str(self.batch), self.jit, "tiny" if self.settings.tiny else "published"]
        environment = {"TORCHINDUCTOR_CACHE_DIR": self.cache}
        if candidate not in KERAS:  # so that it does not hold TensorFlow
            environment["KERAS_BACKEND"] = "torch"
        spare = int(1e9 * self.settings.spare)
        worker = Worker([str(self.settings.program), *settings], environment, self.settings.limit, spare)
        first = worker.ask()
        second = None if first is None else worker.ask()
        said = f"first step {first:.1f} s, second {second:.2f} s" if second else worker.failure
        print(f"  {self.name} batch {self.batch} jit {self.jit} {candidate}: {said}", file=sys.stderr, flush=True)
        if second is None:
            self.left_out[candidate] = worker.failure
            worker.close()
            return None
        self.first[candidate] = round(first, 1)
        return worker

    def rounds(self, workers):
        """The workers take turns."""
        for name in workers:
            self.seconds[name] = []
        begun = time.monotonic()
        for number in range(self.settings.rounds):
            if number > 1 and time.monotonic() - begun > self.settings.seconds:
                break
            for name, worker in workers.items():
                self.seconds[name].append(worker.ask())
        for name, worker in workers.items():
            if None in self.seconds[name]:
                self.left_out[name] = worker.failure
                del self.seconds[name]
            else:
                self.peak[name] = round((worker.ask("peak") - worker.ask("base")) / 1e9, 2)
            worker.close()

    def measure(self, names):
        free, workers = available(), {}
        for name in names:
            worker = self.start(name)
            if worker is None:
                if workers and "memory" in self.left_out[name]:  # beside the others: once more, alone
                    self.turns = "one at a time"
                    del self.left_out[name]
                    for each in workers.values():
                        each.close()
                    return self.one_at_a_time(names)
                continue
            workers[name] = worker
            if len(workers) == 1 and len(names) > 1:
                peak = worker.ask("peak")
                # If the others are alike: each holds what it keeps, and one of them what it works with.
                if len(names) * worker.resident() + peak - worker.resident() > free - 1e9 * self.settings.spare:
                    self.turns = "one at a time"
                    self.rounds(workers)
                    return self.one_at_a_time([each for each in names if each != name])
        return self.rounds(workers)

    def one_at_a_time(self, names):
        for name in names:
            worker = self.start(name)
            if worker is not None:
                self.rounds({name: worker})

    def ratio(self, name):
        """Theirs over ours: of the same rounds where they took turns."""
        ours, theirs = self.seconds[OURS], self.seconds[name]
        if self.turns == "together":
            return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))
        return statistics.median(theirs) / statistics.median(ours)

    def found(self):
        """The row as it stands in the JSON."""
        medians = {name: statistics.median(each) for name, each in self.seconds.items()}
        peers = [name for name in medians if name != OURS] if OURS in medians else []
        return {
            "model": self.name,
            "batch": self.batch,
            "jit": self.jit,
            "milliseconds": {name: round(1000 * each, 1) for name, each in medians.items()},
            "ratio": {name: round(self.ratio(name), 2) for name in peers},
            "samples_per_second": {name: round(self.batch / each, 3) for name, each in medians.items()},
            "first_step_seconds": self.first,
            "peak_gigabytes": self.peak,
            "rounds": {name: len(each) for name, each in self.seconds.items()},
            "turns": self.turns,
            "left_out": self.left_out,
        }


def table_head(names):
    columns = ["model", "batch", "jit", *(f"{name} ms" for name in names), *(f"{name} / ours" for name in names[1:])]
    columns += ["first steps s", "peak GB", "rounds", "turns", "left out"]
    return "| " + " | ".join(columns) + " |\n|" + "---|" * len(columns)


def table_row(row, names):
    """Returns the row as text; what was not measured stays empty."""
    cells = [row["model"], row["batch"], row["jit"], *(row["milliseconds"].get(name, "") for name in names)]
    cells += [row["ratio"].get(name, "") for name in names[1:]]
    for kind in ("first_step_seconds", "peak_gigabytes"):
        cells.append(" / ".join(str(row[kind].get(name, "-")) for name in names))
    cells += [min(row["rounds"].values(), default=0), row["turns"]]
    cells.append("; ".join(f"{name}: {why}" for name, why in row["left_out"].items()))
    return "| " + " | ".join(map(str, cells)) + " |"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--jit", nargs="+", choices=["on", "off"], default=["on", "off"])
    parser.add_argument("--peers", nargs="*", choices=CANDIDATES[1:], default=list(CANDIDATES[1:]))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=240, help="after which no round of a row begins")
    parser.add_argument("--limit", type=float, default=420, help="seconds that one step may take, compilation included")
    parser.add_argument("--spare", type=float, default=1.0, help="GB that must stay available")
    parser.add_argument("--tiny", action="store_true", help="models of two blocks, for a test")
    parser.add_argument("--program", default=PROGRAM, help=argparse.SUPPRESS)
    settings = parser.parse_args(arguments)
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    names = [OURS, *(name for name in CANDIDATES if name in settings.peers)]
    rows = []
    print(table_head(names), flush=True)
    with tempfile.TemporaryDirectory() as cache:
        for name in settings.model:
            wanted = [each for each in names if not (each == "keras_hub" and name in WITHOUT_KERAS_HUB)]
            for batch in settings.batch:
                for jit in ["on"] if backend == "jax" else settings.jit:
                    row = Row(name, batch, jit, settings, cache)
                    row.measure(wanted)
                    rows.append(row.found())
                    print(table_row(rows[-1], names), flush=True)
    versions = machine("keras", "keras-hub", backend, "torch", "transformers")
    versions["onednn"] = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default")
    print(json.dumps({"benchmark": "training", "backend": backend, "machine": versions, "rows": rows}))


if __name__ == "__main__":
    main()
