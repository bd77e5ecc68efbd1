"""How seconds and memory of a block grow with the length, beside peers, and beside what theory says.

    KERAS_BACKEND=tensorflow|jax|torch python benchmarks/scale.py [--part encoder window step] [--lengths 128 512 ... 16384]
                       [--batch 1 4] [--width 256 768] [--window 256] [--jit on|off] [--candidates ...] [--seconds 60]
                       [--processor-time]

encoder: a training step of an encoder block with full attention; theory says seconds grow with the square of the length, and
    memory with the length (attention in blocks) or its square (all pairs written out).
window: a training step of a decoder block whose causal attention sees `--window` positions; both grow with the length. The peers
    have no window and are given a mask over all pairs.
step: a cached step of a decoder block at so many positions, the last of 16 in one compiled loop; both grow with the length.

The peers: `keras.layers.MultiHeadAttention` with the rest of the block, keras-hub's TransformerEncoder or TransformerDecoder, and
torch with `scaled_dot_product_attention`, not compiled. Each cell runs in a process of its own: after a first run it is timed
until `--least` seconds have passed, and the least time counts, as what disturbs it can only add. Memory is what the process held
at most during those runs, over what it held before the model was made. A cell is left out where the one before it says that it
would take longer than `--seconds`, all runs together, or hold more than is free; where it does in fact, it is ended.

An exponent is the slope of logarithms over the lengths from 512 on by least squares; "last" is that between the last two, and
"growth" that of what comes on top of the shortest length's, without what does not grow (weights, the program). A cached step has
steeper slopes where its keys and values outgrow the processor's caches. Prints a table, cell by cell, and JSON last.
"""

import argparse
import json
import math
import os
import pathlib

from processes import Worker, available
from scale_candidates import HEAD, PARTS, STEPS
from timing import machine

PROGRAM = pathlib.Path(__file__).with_name("scale_candidates.py")
LENGTHS = [128, 512, 2048, 4096, 8192, 16384]
FIRST_FITTED = 512
# Exponents of seconds and of memory.
THEORY = {"encoder": (2, 1), "window": (1, 1), "step": (1, 1)}
# Candidates that hold all pairs, whose exponents are 2: how many bytes a pair and head at least. In Keras three arrays of weights
# are kept for the backward pass, in torch a mask, of all heads alike, as booleans and as floats.
ALL_PAIRS = {("encoder", "keras"): 12, ("encoder", "keras_hub"): 12, ("window", "keras"): 12, ("window", "torch"): 5}


def theory(part, candidate):
    """The exponents of seconds and memory that a candidate should come to."""
    return (2, 2) if (part, candidate) in ALL_PAIRS else THEORY[part]


def exponent(lengths, values):
    """Returns the slope of log values over log lengths by least squares, `None` for fewer than two."""
    if len(lengths) < 2:
        return None
    x, y = [math.log(each) for each in lengths], [math.log(each) for each in values]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    products = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return round(products / sum((a - mean_x) ** 2 for a in x), 2)


class Series:
    """A candidate by length, all else being equal."""

    def __init__(self, part, candidate, batch, width, settings):
        self.part, self.candidate, self.batch, self.width, self.settings = part, candidate, batch, width, settings
        self.cells, self.left_out = {}, {}

    def measure(self, length):
        """Fills in the cell of a length, or why it is left out."""
        why = self._refused(length)
        found = None if why else self._run(length)
        if found is None:
            self.left_out[length] = why or self.failure
        else:
            self.cells[length] = found

    def _refused(self, length):
        """Says why a cell need not be tried."""
        if any(length > other for other in self.left_out):
            return "as the one before"
        heads = 1 if self.candidate == "torch" else self.batch * self.width // HEAD
        held = ALL_PAIRS.get((self.part, self.candidate), 0) * heads * length**2
        if held > available() - 1e9 * self.settings.spare:
            return f"memory: {held / 1e9:.0f} GB at least"
        if self.cells:
            last = max(self.cells)
            seconds = self.cells[last]["seconds"] * (length / last) ** theory(self.part, self.candidate)[0]
            runs = 3 * (STEPS if self.part == "step" else 1)
            if runs * seconds > self.settings.seconds:
                return f"would take {seconds:.2g} s a run"
        return None

    def _run(self, length):
        shape = [length, self.batch, self.width, self.settings.window]
        command = [self.settings.program, self.part, self.candidate, *shape, self.settings.jit]
        environment = {"CLOCK": "process_time"} if self.settings.processor_time else {}
        if self.candidate == "torch":
            environment["KERAS_BACKEND"] = "torch"
        limit, spare = self.settings.seconds, int(1e9 * self.settings.spare)
        worker = Worker([str(each) for each in command], environment, limit, spare)
        first, times = worker.ask(), []
        if first is not None:
            worker.ask("reset")
            while len(times) < 2 or (sum(times) < self.settings.least and len(times) < 50):
                times.append(worker.ask())
                if times[-1] is None:
                    break
        self.failure = worker.failure
        if not times or times[-1] is None:
            worker.close()
            return None
        peak = worker.ask("peak") - worker.ask("base")
        worker.close()
        runs = STEPS if self.part == "step" else 1
        return {"seconds": min(times) / runs, "peak": peak, "first": round(first, 2), "runs": len(times)}

    def _growth(self, kind):
        """The exponent of what a quantity has grown by since the shortest length, where it has."""
        shortest, *others = sorted(self.cells) or [0]
        grown = {length: self.cells[length][kind] - self.cells[shortest][kind] for length in others}
        lengths = [length for length in others if length >= FIRST_FITTED and grown[length] > 0]
        # Over what the length has grown by, or what is exactly linear would not come to 1.
        return exponent([length - shortest for length in lengths], [grown[length] for length in lengths])

    def said(self, length):
        """The cell as a row of the table."""
        cell = self.cells.get(length)
        values = (
            [f"{1000 * cell['seconds']:.3f}", f"{cell['peak'] / 1e6:.0f}", cell["runs"], ""] if cell else ["", "", ""]
        )
        row = [self.part, self.width, self.batch, self.candidate, length, *values]
        return "| " + " | ".join(map(str, row if cell else [*row, self.left_out[length]])) + " |"

    def found(self):
        """The series with its exponents, as it stands in the JSON."""
        fitted = sorted(length for length in self.cells if length >= FIRST_FITTED)
        row = {"part": self.part, "candidate": self.candidate, "batch": self.batch, "width": self.width}
        for kind, expected in zip(("seconds", "peak"), theory(self.part, self.candidate), strict=True):
            values = [max(self.cells[length][kind], 1e-9) for length in fitted]
            row[f"{kind}_exponent"] = exponent(fitted, values)
            row[f"{kind}_exponent_last"] = exponent(fitted[-2:], values[-2:])
            row[f"{kind}_exponent_growth"] = self._growth(kind)
            row[f"{kind}_theory"] = expected
        return {**row, "cells": self.cells, "left_out": self.left_out}


def exponents(series):
    """The rows of exponents of some series, as lines."""
    for each in series:
        row = each.found()
        line = f"{row['part']} width {row['width']} batch {row['batch']} {row['candidate']}:"
        for kind, name in (("seconds", "seconds"), ("peak", "memory")):
            fit, last, growth = (row[f"{kind}_exponent{which}"] for which in ("", "_last", "_growth"))
            line += f"  {name} to the {fit} (last {last}, growth {growth}, theory {row[f'{kind}_theory']})"
        yield line


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS)
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--width", nargs="+", type=int, default=[256, 768])
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--jit", choices=["on", "off"], default="on")
    everyone = list(dict.fromkeys(name for names in PARTS.values() for name in names))
    parser.add_argument("--candidates", nargs="+", choices=everyone, default=everyone)
    parser.add_argument("--seconds", type=float, default=60, help="that a run, and about that three, may take")
    parser.add_argument("--least", type=float, default=1.0, help="seconds that a cell is timed for, if not fifty times")
    parser.add_argument("--spare", type=float, default=1.0, help="GB that must stay available")
    parser.add_argument("--processor-time", action="store_true", help="of all threads, on a machine that others use")
    parser.add_argument("--program", default=PROGRAM, help=argparse.SUPPRESS)
    settings = parser.parse_args(arguments)
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    found = []
    print("| part | width | batch | candidate | length | ms | peak MB | runs | left out |\n|" + "---|" * 9, flush=True)
    for part in settings.part:
        for width in settings.width:
            for batch in settings.batch:
                names = [name for name in PARTS[part] if name in settings.candidates]
                series = [Series(part, name, batch, width, settings) for name in names]
                for length in sorted(settings.lengths):
                    for each in series:
                        each.measure(length)
                        print(each.said(length), flush=True)
                for line in exponents(series):
                    print(line, flush=True)
                found += [each.found() for each in series]
    versions = machine("keras", "keras-hub", backend, "torch")
    shape = {name: getattr(settings, name) for name in ("window", "jit", "processor_time")}
    print(json.dumps({"benchmark": "scale", "backend": backend, **shape, "machine": versions, "rows": found}))


if __name__ == "__main__":
    main()
