"""Summaries of docstrings: name, arguments and text in, the first line out, by a Transformer that copies.

    python examples/summarization.py [--model translator gpt] [--epochs N] [--seeds N] [--validation] [--load] [--quick]
                                     [--output FOLDER]

The docstrings are those of the installed packages, and PEP 257 sums each up in its first line. Files and whole packages are held
out. Beside an encoder-decoder with a copying head stand what needs no training, and the recipe of lectures, a decoder alone
that reads text, a delimiter and the summary. SmolLM2 on docstrings: examples/finetune_lora.py.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import summary_baselines
import summary_consensus
import summary_decoder
import summary_pairs
import summary_pictures
import summary_texts
import summary_training
from translation_training import END, START

import keras_tx

MODELS = {"translator": summary_training, "gpt": summary_decoder}
CONSENSUS = f"consensus of {summary_consensus.COUNT}"
REPORTED, SHOWN = 1000, 4  # of the held-out pairs of each part
QUICK_PAIRS, QUICK_REPORTED = 600, 40


def draw(model, tokenizer, pairs, summaries, path):
    """Draws what was copied in the summary that copied most of those of some length."""
    sources, targets = summary_training.encoded(
        tokenizer, [pair._replace(summary=text) for pair, text in zip(pairs, summaries, strict=True)]
    )
    fitting = [place for place, target in enumerate(targets) if 6 <= len(target) <= 16] or [0]
    shares = {place: summary_pictures.copied_shares(model, sources[place], targets[place]) for place in fitting[:30]}
    place = max(shares, key=lambda each: shares[each].std())  # some words copied, and others not
    summary_pictures.draw_copies(tokenizer, sources[place], targets[place], shares[place], path)


def serve(model, tokenizer, folder, pairs):
    """Exports text -> summary, beam search inside, and asks it in a process without keras_tx and keras-hub."""
    longest, longest_summary = summary_training.LENGTHS[-1]
    generate = {
        "max_prompt_length": longest,
        "max_new_tokens": longest_summary - 1,
        "sampler": summary_training.SAMPLERS["beam 4"],
        "stop_ids": [END],
        "prompt": [START],
        "text_input": "source_ids",
    }
    keras_tx.export.export_saved_model(model, folder, tokenizer=tokenizer, generate=generate)
    script, texts = Path(__file__).with_name("serve_texts.py"), [summary_texts.source(pair) for pair in pairs]
    answers = subprocess.run([sys.executable, script, folder, *texts], check=True, capture_output=True, text=True)
    return [summary_texts.restored(json.loads(line)["answer"]) for line in answers.stdout.splitlines()]


def report(name, pairs, of_seeds):
    """Prints and returns the scores of a part's summaries, the means over seeds and what lies between, and shows some."""
    expected = [pair.summary for pair in pairs]
    print(f"\nUnseen {name}, {len(pairs):,} docstrings, F1:")
    rows = {}
    for row in of_seeds[0]:
        scores = [summary_baselines.rouge(expected, rows_of_one[row]) for rows_of_one in of_seeds]
        rows[row], cells = {}, []
        for key in scores[0]:
            each = [of_one[key] for of_one in scores]
            mean, least, most = (round(float(value), 4) for value in (np.mean(each), min(each), max(each)))
            rows[row][key] = {"mean": mean, "least": least, "most": most}
            cells.append(f"{key} {mean:.3f}" + (f" ({least:.3f} to {most:.3f})" if least != most else ""))
        print(f"  {row:36}", "  ".join(cells))
    for place, pair in enumerate(pairs[:SHOWN]):
        print(f"    {pair.signature[:100]}\n      summary: {pair.summary}")
        for row in rows:
            if row.endswith(CONSENSUS):
                print(f"      {row}: {of_seeds[0][row][place]}")
    return rows


def show_copying(model, tokenizer, pairs, rows, output):
    """Draws what one summary copied, and serves the model."""
    summaries = next(found for row, found in rows.items() if row.startswith(summary_training.NAME))
    draw(model, tokenizer, pairs, summaries, output / "copied.png")
    if keras.backend.backend() == "tensorflow":
        print("\nServed by a process that has neither keras_tx nor keras-hub:")
        for pair, answer in zip(pairs[:3], serve(model, tokenizer, output / "saved_model", pairs[:3]), strict=True):
            print(f"  {pair.signature[:60]} -> {answer}")


def file_of(folder, kind, seed):
    """Returns where a model is kept."""
    return folder / (f"{kind}.keras" if seed == 0 else f"{kind}-{seed}.keras")


def run(kind, parts, tokenizer, seed, options):
    """Trains a model of a kind, or loads it; returns it, the seconds that took, and a dict from parts to rows of summaries."""
    module = MODELS[kind]
    lengths = (
        summary_training.LENGTHS[-1:] if options.quick else summary_training.LENGTHS
    )  # one shape is compiled sooner
    epochs = options.epochs or (1 if options.quick else module.EPOCHS)
    path = file_of(options.output, kind, seed)
    if options.load:
        model, seconds = keras.saving.load_model(path, compile=False), 0.0
    else:
        model, seconds = module.fit(parts, tokenizer, seed, epochs, lengths)
        model.save(path)
    told = "as it was kept" if options.load else f"trained in {seconds:.0f} s"
    print(f"{kind}, seed {seed}: {model.count_params():,} parameters, {told}", flush=True)
    rows = {name: ask(module, model, tokenizer, pairs) for name, pairs in parts.held_out.items()}
    return model, seconds, rows


def ask(module, model, tokenizer, pairs):
    """Returns a dict from the ways of decoding to their summaries of the pairs."""
    found = {
        f"{module.NAME}, {how}": module.summarize(model, tokenizer, pairs, sampler)
        for how, sampler in summary_training.SAMPLERS.items()
    }
    agreed = summary_consensus.summarize(module, model, tokenizer, pairs, list(found.values()))
    return found | {f"{module.NAME}, {CONSENSUS}": agreed}


def main():
    """Runs the whole job and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, default=1, help="how many models to train, one after the other")
    parser.add_argument("--validation", action="store_true", help="report on what settings are chosen by")
    parser.add_argument(
        "--load", action="store_true", help="train nothing: ask the models that an earlier run kept in --output"
    )
    parser.add_argument("--quick", action="store_true", help="few pairs: to see that it runs")
    parser.add_argument("--output", type=Path, default=Path("outputs/summarization"))
    options = parser.parse_args()
    if options.seeds < 1 or (options.epochs is not None and options.epochs < 1):
        parser.error("--seeds and --epochs must be 1 at least.")
    files = [file_of(options.output, kind, seed) for kind in options.model for seed in range(options.seeds)]
    absent = [path for path in files if options.load and not path.is_file()]
    if absent:
        parser.error(
            f"--load needs the models that a run with the same --model and --seeds kept in --output: no {absent[0]}."
        )
    began = time.perf_counter()
    options.output.mkdir(parents=True, exist_ok=True)
    print("Reading the docstrings of the installed packages ...", flush=True)
    parts = summary_pairs.load(options.output / "docstrings.json", options.validation)
    if options.quick:
        parts = parts._replace(training=parts.training[:QUICK_PAIRS], short=parts.short[:QUICK_PAIRS])
    sizes = {name: len(pairs) for name, pairs in parts.held_out.items()}
    reported = QUICK_REPORTED if options.quick else REPORTED
    parts = parts._replace(held_out={name: pairs[:reported] for name, pairs in parts.held_out.items()})
    sizes = ", ".join(f"{len(pairs):,} of {sizes[name]:,} ({name})" for name, pairs in parts.held_out.items())
    print(
        f"{len(parts.training):,} pairs to train on and {len(parts.short):,} short ones, held out: {sizes}", flush=True
    )
    parts = summary_pairs.with_neighbors(parts)
    made = {name: [summary_baselines.of(parts, pairs)] * options.seeds for name, pairs in parts.held_out.items()}
    tokenizer = summary_training.make_tokenizer(parts)
    models, seconds = {}, {kind: [] for kind in options.model}
    for kind in options.model:
        for seed in range(options.seeds):
            model, took, rows = run(kind, parts, tokenizer, seed, options)
            models.setdefault(kind, model)
            seconds[kind].append(round(took))
            for name, found in rows.items():
                made[name][seed] = made[name][seed] | found
    tables = {name: report(name, parts.held_out[name], of_seeds) for name, of_seeds in made.items()}
    first = options.model[0]
    if first == "translator":
        show_copying(models[first], tokenizer, parts.held_out["files"], made["files"][0], options.output)
    job = time.perf_counter() - began
    print(f"\nModels and what belongs to them: {options.output}\nDone in {job:.0f} s.")
    result = {"example": "summarization", "backend": keras.backend.backend(), "pairs": len(parts.training)}
    result |= {"short_pairs": len(parts.short), "validation": options.validation, "seeds": options.seeds}
    result |= {"parameters": {kind: model.count_params() for kind, model in models.items()}, "seconds": seconds}
    print(json.dumps({**result, "job_seconds": round(job), "scores": tables}))


if __name__ == "__main__":
    main()
