"""Exports models and runs them in other runtimes, one after another as asked: the process that `export_matrix.py` starts.

Reads lines `["GPT", "onnx"]`, and answers each with a line: the largest difference between the model's outputs and the file's at
all sizes, or the error.
"""

import contextlib
import gc
import json
import os
import sys
import tempfile

import numpy as np
from export_formats import export, outputs, runner
from export_models import APPLICATIONS, KERAS

CASES = {**APPLICATIONS, **KERAS}


def difference(case, model, format, numbers):
    """Returns the largest difference at the sizes of the case, whose outputs of the model are given."""
    sample = case.sizes[0] if len(case.sizes[0]) == 3 else None
    largest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        run = runner(model, format, export(model, format, folder, case.axes, sample))
        for size, own in zip(case.sizes, numbers, strict=True):
            for ours, expected in zip(run(case.values(model, size)), own, strict=True):
                if ours.shape != expected.shape:
                    raise ValueError(f"At size {size} outputs have shape {ours.shape}, the model's {expected.shape}.")
                # Not a number, where the model has one, is a difference too.
                largest = max(largest, float(np.nan_to_num(np.abs(ours - expected), nan=np.inf).max()))
    return largest


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # converters print to the standard output
    made = {}
    for line in sys.stdin:
        name, format = json.loads(line)
        case = CASES[name]
        try:
            if name not in made:
                made.clear()
                gc.collect()
                model = case.model()
                made[name] = model, [outputs(model, case.values(model, size)) for size in case.sizes]
            with contextlib.redirect_stdout(sys.stderr):
                answer = {"difference": difference(case, made[name][0], format, made[name][1])}
        except Exception as error:
            lines = [each.strip() for each in str(error).splitlines() if each.strip()] or [""]
            # OpenVINO's converter sums up at the end, and Keras' has advice before the error.
            line = lines[-1 if type(error).__name__ == "OpConversionFailure" else 0]
            line = line.split("Original error: ")[-1].split(" # /")[0]  # no path of the machine
            answer = {"error": f"{type(error).__name__}: {line}"[:160]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
