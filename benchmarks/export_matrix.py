"""Every application in every format of `model.export`, free sizes: writes the rows of the backend, and the table of all backends.

    KERAS_BACKEND=tensorflow python benchmarks/export_matrix.py [--models GPT ViT] [--formats onnx] [--seconds 300] [--missing]
                                                                [--rows benchmarks/export_matrix.json] [--page docs/exporting.md]

A model is built, exported and run in the runtime of the format at three sizes, 1 included. This is done in a process beside,
which a crash or too many seconds end: this costs the cell, and another process goes on. The rows are kept in a file, beside
those of the other backends, and the table is written between two marks of the page, both after each cell, so that a run may be
stopped: `--missing` goes on with what the file lacks.
Prints each cell when it is done, and JSON last.
"""

import argparse
import json
import os
import pathlib
import selectors
import subprocess
import sys
import time

from timing import machine

HERE = pathlib.Path(__file__).parent
PAGE = HERE.parent / "docs" / "exporting.md"
ROWS = HERE / "export_matrix.json"
BEGIN, END = "<!-- benchmarks/export_matrix.py: begin -->", "<!-- benchmarks/export_matrix.py: end -->"
NAMES = {"tf_saved_model": "SavedModel", "onnx": "ONNX", "openvino": "OpenVINO", "litert": "LiteRT", "torch": "torch"}
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "torch"}
PACKAGES = ("keras", "onnxruntime", "openvino", "ai-edge-litert")
TOLERANCE = 1e-5


class Worker:
    """A process that runs one cell after another."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "export_cell.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, model, format, seconds):
        """Returns the row that answers, or why there is none. Without one the process is at its end."""
        print(json.dumps([model, format]), file=self.process.stdin, flush=True)
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            answer = self.process.stdout.readline() if ready.select(seconds) else None
        if answer:
            return json.loads(answer), True
        self.process.kill()
        code = self.process.wait()
        why = f"no answer in {seconds} s" if answer is None else f"the process ended with code {code}"
        return {"error": why}, False

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def run(cells, seconds, keep):
    """Runs cells, pairs of a model and a format, and calls `keep` with the row of each."""
    worker = None
    for number, (model, format) in enumerate(cells, 1):
        if worker is None or worker.process.poll() is not None:
            worker = Worker()
        start = time.perf_counter()
        row, alive = worker.ask(model, format, seconds)
        row = {"model": model, "format": format, **row, "seconds": round(time.perf_counter() - start, 1)}
        keep(row)
        print(f"{number}/{len(cells)} {model} | {format} | {said(row)} | {row['seconds']} s", flush=True)
        worker = worker if alive else None
    if worker:
        worker.close()


def said(row):
    """What the table says of a row: the largest difference, or that there is none."""
    if row is None:
        return "not run"
    if "error" in row:
        return f"fails: {row['error']}"
    return f"{row['difference']:.0e}" if row["difference"] < TOLERANCE else f"**differs by {row['difference']:.0e}**"


def table(found):
    """Returns lines of the table of all backends, the errors in words below it."""
    columns = [(backend, format) for backend in BACKENDS if backend in found for format in found[backend]["formats"]]
    rows = {(backend, row["model"], row["format"]): row for backend in found for row in found[backend]["rows"]}
    models = list(dict.fromkeys(model for backend in found for model in found[backend]["models"]))
    heads = [f"{BACKENDS[backend]}: {NAMES[format]}" for backend, format in columns]
    lines = [f"| model | {' | '.join(heads)} |", "|---" * (len(columns) + 1) + "|"]
    errors = []
    for model in models:
        cells = []
        for backend, format in columns:
            row = rows.get((backend, model, format))
            if row is not None and "error" in row:
                if row["error"] not in errors:
                    errors.append(row["error"])
                cells.append(f"fails ({chr(ord('a') + errors.index(row['error']))})")
            else:
                cells.append(said(row))
        lines.append(f"| {model} | {' | '.join(cells)} |")
    lines += ["", *(f"- ({chr(ord('a') + index)}) `{error}`" for index, error in enumerate(errors))]
    for backend in (each for each in BACKENDS if each in found):
        ran = found[backend]["machine"]
        versions = ", ".join(f"{name} {ran[name]}" for name in ran if name not in ("date", "processor", "cores"))
        lines += ["", f"{BACKENDS[backend]}: {ran['date']}, {ran['cores']} cores of {ran['processor']}; {versions}."]
    return lines


def write_table(page, found):
    text = page.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    page.write_text("\n".join([before + BEGIN, "", *table(found), "", END + after]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--formats", nargs="+")
    parser.add_argument("--seconds", type=float, default=300.0, help="for one cell")
    parser.add_argument("--missing", action="store_true", help="only cells that the file of rows lacks")
    parser.add_argument("--rows", type=pathlib.Path, default=ROWS)
    parser.add_argument("--page", type=pathlib.Path, default=PAGE)
    settings = parser.parse_args()

    from export_formats import BACKEND, FORMATS
    from export_models import APPLICATIONS, KERAS

    found = json.loads(settings.rows.read_text()) if settings.rows.exists() else {}
    models, formats = [*APPLICATIONS, *KERAS], list(FORMATS[BACKEND])
    rows = {(row["model"], row["format"]): row for row in found.get(BACKEND, {"rows": []})["rows"]}
    ran = machine(*PACKAGES, BACKEND)

    def keep(row=None):
        if row:
            rows[row["model"], row["format"]] = row
        kept = [rows[model, format] for model in models for format in formats if (model, format) in rows]
        found[BACKEND] = {"machine": ran, "models": models, "formats": formats, "rows": kept}
        settings.rows.write_text(json.dumps(found, indent=1) + "\n")
        write_table(settings.page, found)

    cells = [(model, format) for model in settings.models or models for format in settings.formats or formats]
    run([cell for cell in cells if not (settings.missing and cell in rows)], settings.seconds, keep)
    keep()
    print(json.dumps({"backend": BACKEND, **found[BACKEND]}))


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    main()
