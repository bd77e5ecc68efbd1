"""When pretraining pays: which package a docstring is from, told from few labels, with new weights and with pretrained ones.

    python examples/pretraining_study.py [--seeds N] [--labels N ...] [--objectives words spans replaced documents]
                                         [--part validation] [--tera F] [--settings JSON] [--without-linear] [--quick]
                                         [--output FOLDER]

One small encoder is pretrained on the docstrings of installed packages by four objectives, for as many operations each: masked
words, spans that are also told from the tokens at their ends, tokens that a small generator replaced, and masked words beside
which texts stand in one file. Then it is fine-tuned on 100 to 10,000 labels, beside the same encoder with new weights, TF-IDF
under a linear model, and the vectors of MiniLM under one. Files are split, names of packages hidden, near-duplicates left out
(`pretraining_texts.py`). The last line is JSON.
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import pretraining_baselines as baselines
import pretraining_finetuning as finetuning
import pretraining_objectives as objectives
import pretraining_texts

LABELS = (100, 300, 1000, 10000)
MANY = 3000  # from here on one seed, as differences are small and trainings long
TERA = 8.0  # 1e12 operations of each pretraining
QUICK = {
    "labels": [100], "objectives": ["words", "documents"], "tera": 0.25, "settings": {"vocabulary": 3000}, "one_of": 4,
    "asked": 25,
}  # fmt: skip


def pretrained(kinds, tokenizer, corpus, settings, tera, output):
    """Returns the weights of the encoder by kind, `None` for new ones, and what each pretraining took and reached."""
    weights, report = {"new": None}, {}
    for kind in kinds:
        keras.utils.set_random_seed(0)
        encoder = objectives.make_encoder(len(tokenizer.vocabulary), settings)
        print(f"\n{objectives.NAMES[kind]}: {encoder.count_params():,} parameters, {tera:g}e12 operations", flush=True)
        report[kind] = objectives.pretrain(encoder, kind, tokenizer, corpus, settings, 1e12 * tera)
        encoder.save(output / f"{kind}.keras")
        weights[kind] = encoder.get_weights()
    return weights, report


def measure(weights, tokenizer, settings, texts, asked, counts, seeds):
    """Returns accuracies as a dict of dicts of lists, by kind and number of labels, a seed each."""
    found = {kind: {} for kind in weights}
    ids, asked_ids = tokenizer(texts.training[0]), tokenizer(asked[0])
    tune = finetuning.Tuner(len(tokenizer.vocabulary), settings)
    for count in counts:
        for seed in range(seeds if count < MANY else 1):
            places = pretraining_texts.draw(texts.training[1], count, seed)
            for kind, values in weights.items():
                model = tune(values, ids[places], texts.training[1][places], seed)
                found[kind].setdefault(count, []).append(finetuning.accuracy(model, asked_ids, asked[1]))
            told = ", ".join(f"{objectives.NAMES[kind]} {found[kind][count][-1]:.3f}" for kind in weights)
            print(f"  {count:,} labels, seed {seed}: {told}", flush=True)
    return found


def linear_models(texts, asked, counts, seeds):
    """Returns the accuracies of TF-IDF and of MiniLM as `measure` does, and the settings that the validation chose."""
    draws = {
        (count, seed): pretraining_texts.draw(texts.training[1], count, seed)
        for count in counts
        for seed in range(seeds if count < MANY else 1)
    }
    needed = np.unique(np.concatenate(list(draws.values())))
    print(f"MiniLM reads {len(needed) + len(texts.validation[0]) + len(asked[0]):,} texts ...", flush=True)
    minilm = baselines.MiniLM()
    known = minilm([texts.training[0][place] for place in needed])
    validation, vectors = (minilm(part[0]) for part in (texts.validation, asked))
    found, chosen = {"tfidf": {}, "minilm": {}}, {"tfidf": {}, "minilm": {}}
    for (count, seed), places in draws.items():
        labels = texts.training[1][places]
        told = {
            "tfidf": baselines.tfidf([texts.training[0][each] for each in places], labels, texts.validation, asked),
            "minilm": baselines.linear(
                known[np.searchsorted(needed, places)], labels, (validation, texts.validation[1]), (vectors, asked[1])
            ),
        }
        for name, (accuracy, settings) in told.items():
            found[name].setdefault(count, []).append(accuracy)
            chosen[name].setdefault(count, []).append(settings)
        print(
            f"  {count:,} labels, seed {seed}: TF-IDF {told['tfidf'][0]:.3f} ({told['tfidf'][1]}), "
            f"MiniLM {told['minilm'][0]:.3f} ({told['minilm'][1]})",
            flush=True,
        )
    return found, chosen


def told(accuracies):
    """Returns the mean of accuracies and their standard deviation, in words."""
    spread = f" +- {np.std(accuracies, ddof=1):.3f}" if len(accuracies) > 1 else ""
    return f"{np.mean(accuracies):.3f}{spread}"


def draw(found, path):
    """Writes the accuracies over the number of labels as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 5), layout="constrained")
    for kind, values in found.items():
        counts = sorted(values)
        means = [np.mean(values[count]) for count in counts]
        spreads = [np.std(values[count], ddof=1) if len(values[count]) > 1 else 0 for count in counts]
        style = {"new": "--", "tfidf": ":", "minilm": "-."}.get(kind, "-")
        axes.errorbar(counts, means, spreads, linestyle=style, marker=".", capsize=2, label=NAMES[kind])
    axes.set(xscale="log", xlabel="labels", ylabel="accuracy", title="Which of 12 packages a docstring is from")
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


NAMES = {
    **objectives.NAMES,
    "tfidf": "TF-IDF, linear model",
    "minilm": "MiniLM's vectors, linear model",
}


def main():
    """Runs the whole study and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3, help="subsets of labels and initial values")
    parser.add_argument("--labels", type=int, nargs="+", help=f"as a rule {LABELS}")
    parser.add_argument("--objectives", nargs="+", choices=objectives.OBJECTIVES, help="as a rule all")
    parser.add_argument("--part", choices=("validation", "test"), default="test", help="which files are asked about")
    parser.add_argument("--tera", type=float, help=f"1e12 operations of each pretraining, as a rule {TERA:g}")
    parser.add_argument(
        "--settings", type=json.loads, default={}, help="JSON, what differs from the encoder's settings"
    )
    parser.add_argument("--without-linear", action="store_true", help="leave out TF-IDF and MiniLM, to choose settings")
    parser.add_argument("--quick", action="store_true", help="a part of the files, one seed, under 3 minutes")
    parser.add_argument("--output", type=Path, default=Path("outputs/pretraining_study"))
    options = parser.parse_args()
    counts = options.labels or (QUICK["labels"] if options.quick else LABELS)
    kinds = options.objectives or (QUICK["objectives"] if options.quick else objectives.OBJECTIVES)
    if options.seeds < 1 or min(counts) < len(pretraining_texts.PACKAGES):
        parser.error(f"--seeds must be at least 1, and --labels at least {len(pretraining_texts.PACKAGES)}.")
    seeds = 1 if options.quick else options.seeds
    tera = options.tera or (QUICK["tera"] if options.quick else TERA)
    settings = {**objectives.SETTINGS, **(QUICK["settings"] if options.quick else {}), **options.settings}
    start, seconds = time.perf_counter(), {}
    options.output.mkdir(parents=True, exist_ok=True)

    def lap(name):
        seconds[name] = round(time.perf_counter() - start - sum(seconds.values()))

    texts = pretraining_texts.load(options.output, one_of=QUICK["one_of"] if options.quick else 1)
    asked = getattr(texts, options.part)
    if options.quick:
        some = pretraining_texts.draw(asked[1], QUICK["asked"] * len(pretraining_texts.PACKAGES), 0)
        asked = [asked[0][place] for place in some], asked[1][some]
    tokenizer = objectives.Tokenizer(texts.corpus, settings["vocabulary"], settings["length"])
    ids = tokenizer(texts.corpus)
    print(
        f"{len(ids):,} texts of {int((ids != 0).sum()):,} tokens to pretrain on; {len(texts.training[0]):,} to draw labels from, "
        f"{len(texts.validation[0])} to choose on, {len(asked[0])} of {options.part} to tell the packages of"
    )
    lap("texts")
    weights, report = pretrained(kinds, tokenizer, (ids, texts.documents), settings, tera, options.output)
    lap("pretraining")
    print("\nFine-tuning:")
    found = measure(weights, tokenizer, settings, texts, asked, counts, seeds)
    lap("fine-tuning")
    chosen = {}
    if not options.without_linear:
        linear, chosen = linear_models(texts, asked, counts, seeds)
        found |= linear
        lap("linear models")
    draw(found, options.output / "accuracies.png")

    print(f"\nAccuracy on the {options.part} files (by chance {1 / len(pretraining_texts.PACKAGES):.3f}):")
    print(f"  {'labels':32}" + "".join(f"{count:>17,}" for count in counts))
    for kind, values in found.items():
        print(f"  {NAMES[kind]:32}" + "".join(f"{told(values[count]):>17}" for count in counts))
    for kind, each in report.items():
        reached = ", ".join(f"{name} {value:.3f}" for name, value in each["reached"].items())
        print(f"{NAMES[kind]}: {each['steps']:,} steps in {each['seconds']} s; {reached}")
    print(f"Encoders and picture: {options.output}\nDone in {time.perf_counter() - start:.0f} s.")
    line = {"example": "pretraining_study", "part": options.part, "tera": tera, "accuracy": found}
    print(json.dumps({**line, "chosen": chosen, "pretraining": report, "seconds": seconds}))


if __name__ == "__main__":
    main()
