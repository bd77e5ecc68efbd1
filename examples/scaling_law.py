"""A law of scaling from 20 runs on the sources of Python's standard library: what more parameters and more tokens are worth.

    python examples/scaling_law.py [--quick] [--output FOLDER]

Four sizes of a GPT by five numbers of tokens, under XLA; a killed run goes on where it was. The law is fitted without the largest
run, whose loss it then has to predict. The last line is JSON.
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np
import package_docstrings
import python_text
import scaling_runs
import text_tokens

from keras_tx.analysis import fit_scaling_law

VOCABULARY, LENGTH = 1024, 128
FULL = {
    "sizes": [(32, 2), (48, 2), (64, 3), (80, 4)],  # width, blocks
    "epochs": [1.25, 2.5, 5, 10, 20],  # 82 thousand to 1.3 M tokens
    "settings": {"batch": 16, "epoch_steps": 32, "rate": 2e-2, "head": 16},
}
QUICK = {
    "sizes": [(8, 1), (16, 1), (32, 1)],
    "epochs": [1.25, 2.5, 5, 10],
    "settings": {"batch": 16, "epoch_steps": 8, "rate": 2e-2, "head": 8},
}
HELD_OUT_TOKENS = 100_000  # at least: the noise of the measurement must lie below the differences of runs


def load_windows(texts, count):
    """Returns (windows to train on, held-out windows), both of whole files; the first are `count` at most."""
    training, held_out = (list(part.values()) for part in python_text.split(texts, 0.035))
    tokenizer = text_tokens.make_tokenizer("bpe", training[:: max(1, len(training) // 200)], VOCABULARY)
    rows, enough = [], 0
    for row in package_docstrings.encode(tokenizer, training):
        rows.append(row)
        enough += len(row) + 1
        if enough > 1.01 * count * LENGTH:
            break
    held = text_tokens.in_a_row(package_docstrings.encode(tokenizer, held_out))
    return scaling_runs.make_windows(text_tokens.in_a_row(rows), LENGTH), scaling_runs.make_windows(held, LENGTH)


def fit(points, with_embeddings=False):
    """Returns the law of points, counted without the embeddings or with them."""
    parameters = [each["parameters"] + with_embeddings * each["embeddings"] for each in points]
    return fit_scaling_law(parameters, [each["tokens"] for each in points], [each["loss"] for each in points])


def draw_runs(law, points, path):
    """Draws the runs over their tokens, a colour a size, with the law's curves and the run that it did not see."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.4), layout="constrained")
    *seen, corner = points
    tokens = np.geomspace(
        min(each["tokens"] for each in points) / 1.2, max(each["tokens"] for each in points) * 1.2, 100
    )
    for index, size in enumerate(sorted({each["parameters"] for each in points})):
        mine = [each for each in seen if each["parameters"] == size]
        label = f"N = {size:,}"
        axes.plot([e["tokens"] for e in mine], [e["loss"] for e in mine], "o", color=f"C{index}", label=label)
        axes.plot(tokens, law.predict(float(size), tokens), color=f"C{index}", lw=1)
    axes.plot(corner["tokens"], corner["loss"], "k*", ms=12, label="held out, measured")
    predicted = law.predict(corner["parameters"], corner["tokens"])
    axes.plot(corner["tokens"], predicted, "ko", ms=12, mfc="none", label="held out, predicted")
    axes.set(
        xlabel="tokens D",
        ylabel="nats a token of held-out text",
        xscale="log",
        title="Runs, and the law without the last",
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def report(points, output):
    """Fits the laws, prints what they say, draws the pictures, and returns the figures."""
    *seen, corner = points
    law, blind = fit(points), fit(seen)
    print(f"\nThe law of all {len(points)} runs, N without embeddings, nats a token, intervals of 95 %:\n{law}")
    predicted = float(blind.predict(corner["parameters"], corner["tokens"]))
    low, high = map(float, blind.predict_interval(corner["parameters"], corner["tokens"]))
    error = predicted / corner["loss"] - 1
    print(f"\nThe largest run, N = {corner['parameters']:,} and D = {corner['tokens']:,}, from the others alone:")
    print(
        f"  predicted {predicted:.4f} ({low:.4f} to {high:.4f}), measured {corner['loss']:.4f}: {error:+.2%} (asked: 2 %)"
    )
    compute = 60.0 * corner["parameters"] * corner["tokens"]
    best = law.optimal(compute)
    ends = best.intervals
    print(f"\nTen times the compute of that run, C = 6 N D = {compute:.3g} FLOP, is best spent on")
    for name, value in (("N", best.parameters), ("D", best.tokens), ("a", best.a), ("b", best.b)):
        low_end, high_end = ends[{"N": "parameters", "D": "tokens"}.get(name, name)]
        print(f"  {name} = {value:.4g}  ({low_end:.4g} to {high_end:.4g})")
    print(f"  {best.tokens_per_parameter:.3g} tokens a parameter, for a loss of {best.loss:.4f}; G = {best.G:.4g}")
    counted = fit(points, with_embeddings=True).optimal(compute)
    print(
        f"With embeddings counted, a = {counted.a:.3f} ({' to '.join(f'{end:.3f}' for end in counted.intervals['a'])})."
    )
    law.plot("Four sizes of a GPT on the sources of Python", output / "law.png")
    draw_runs(blind, points, output / "runs.png")
    return {
        "constants": law.constants,
        "intervals": law.intervals,
        "noise": law.noise,
        "without_the_largest": blind.constants,
        "predicted": predicted,
        "predicted_interval": [low, high],
        "measured": corner["loss"],
        "error": error,
        "optimum": best._asdict(),
        "a_with_embeddings": [counted.a, *counted.intervals["a"]],
    }


def main():
    """Trains what is missing of the grid, and reports."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes and few tokens: a look at how it goes, no law of worth"
    )
    parser.add_argument("--output", type=Path, default=Path("outputs/scaling_law"))
    options = parser.parse_args()
    output = options.output / ("quick" if options.quick else "full")
    output.mkdir(parents=True, exist_ok=True)
    plan, start = QUICK if options.quick else FULL, time.perf_counter()
    settings = plan["settings"]
    needed = round(plan["epochs"][-1] * settings["epoch_steps"] * settings["batch"])
    windows, held_out = load_windows(python_text.load_sources(), needed)
    held_out = held_out[: len(held_out) // settings["batch"] * settings["batch"]]  # whole batches: one program
    if options.quick:
        held_out = held_out[:160]
    elif len(held_out) * LENGTH < HELD_OUT_TOKENS:
        raise SystemExit(f"The held-out files are {len(held_out) * LENGTH:,} tokens, fewer than {HELD_OUT_TOKENS:,}.")
    print(
        f"{len(windows) * LENGTH:,} tokens to train on, {held_out[:, 1:].size:,} held out; {output} keeps what is done"
    )
    grid = scaling_runs.Grid(windows, held_out, VOCABULARY, output=output, **plan)
    points = grid.points()
    seconds = time.perf_counter() - start
    print(
        f"{len(points)} runs in {seconds:.0f} s, of which this call trained {1 - grid.progress.skipped / grid.progress.total:.0%}"
    )
    figures = {"runs": points, "seconds": seconds, "held_out_tokens": held_out[:, 1:].size}
    try:
        figures.update(report(points, output))
        print(f"\nPictures: {output / 'law.png'}, {output / 'runs.png'}")
    except ValueError as error:  # the runs pin no law: the message says what is missing
        if not options.quick:
            raise
        print(f"No law of these runs: {error}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
