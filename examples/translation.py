"""A Transformer that learns to translate: trained from nothing, decoded by beam search, served without its code.

    python examples/translation.py [--target es|de|fr|ja|ru...] [--dataset cldr|interface|ted] [--epochs N]
                                   [--seeds N] [--first-seed N] [--validation] [--quick] [--output FOLDER]

The pairs are babel's (see `cldr_pairs.py`). interface: what Home Assistant says to its users, 37,000 texts, from its wheel:
pip install --no-deps --ignore-requires-python --require-hashes -r requirements-interface.txt. ted: talks, Portuguese to
English, which need a network once. With --seeds the training is done as often, and means and extremes are reported.
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
import text_tokens
import translation_pairs
from translation_scores import Baselines, by_sentence, score
from translation_training import END, START, TOKENS, Batches, train, translate

import keras_tx
from keras_tx import analysis, decoding
from keras_tx.applications import Translator
from keras_tx.decoding.text import text_of

SIZE = {"num_layers": 3, "num_heads": 4, "hidden_dim": 128, "intermediate_dim": 512}
AS_PUBLISHED = {"model": {"dropout": 0.1}, "optimizer": "adam"}
COPYING = {"model": {"dropout": 0.15, "normalize_first": True, "copies": True}, "optimizer": "muon"}
# The lengths are those of the buckets of `Batches`.
SETTINGS = {
    "cldr": {"vocabulary": 2048, "pairs": 60_000, "lengths": (10, 16, 32), "epochs": 4, **COPYING},
    "interface": {"vocabulary": 4096, "pairs": None, "lengths": (8, 14, 24, 48), "epochs": 6, **COPYING},
    "ted": {"vocabulary": 8192, "pairs": 51_785, "lengths": (20, 40, 72), "epochs": 8, **AS_PUBLISHED},
}
QUICK_PAIRS, QUICK_HELD_OUT = 2_000, 64
SAMPLERS = {"greedy": decoding.Greedy(), "beam 4": decoding.Beam(4, length_penalty=0.6)}


def fit(rows, tokenizer, settings, epochs, seed):
    """Returns a translator trained on pairs of prepared texts, and the seconds that its training took."""
    keras.utils.set_random_seed(seed)
    sources, targets = (text_tokens.encode(tokenizer, [row[side] for row in rows]) for side in (0, 1))
    batches = Batches(sources, [[*row, END] for row in targets], settings["lengths"], TOKENS, seed)
    model = Translator(tokenizer.vocabulary_size(), **SIZE, **settings["model"])
    print(f"Seed {seed}: {model.count_params():,} parameters, {len(batches)} batches an epoch", flush=True)
    start = time.perf_counter()
    train(model, batches, epochs, settings["optimizer"])
    return model, time.perf_counter() - start


def translate_texts(model, tokenizer, form, texts, sampler, longest):
    """Returns texts translated sentence by sentence, each in at most so many tokens."""
    return by_sentence(form, texts, lambda sentences: translate(model, tokenizer, sentences, sampler, longest))


def draw_alignment(model, tokenizer, form, pair, path):
    """Draws which tokens of a source each token of its target was written from: the last decoder block, mean over heads."""
    source, target = text_tokens.encode(tokenizer, list(form.training_rows(*pair[:2])[0]))
    inputs = {"source_ids": np.array([source]), "target_ids": np.array([[START, *target]])}
    maps = analysis.attention_maps(model, inputs)
    last = [name for name in maps if name.endswith("/cross_attention")][-1]
    written, read = ([text_of([token], tokenizer).strip() or "␣" for token in row] for row in ([*target, END], source))
    analysis.plots.plot_attention(
        maps[last][0].mean(axis=0), [*written[:-1], "(end)"], read, title=f"{pair.source}\n{pair.target}", path=path
    )


def serve(model, tokenizer, folder, sentences, longest):
    """Exports sentence -> sentence, beam search inside, and translates in a process without keras_tx and keras-hub."""
    generate = {
        "max_new_tokens": longest - 1,
        "sampler": SAMPLERS["beam 4"],
        "stop_ids": [END],
        "prompt": [START],
        "text_input": "source_ids",
    }
    keras_tx.export.export_saved_model(model, folder, tokenizer=tokenizer, generate=generate)
    script = Path(__file__).with_name("serve_texts.py")
    answers = subprocess.run([sys.executable, script, folder, *sentences], check=True, capture_output=True, text=True)
    return [json.loads(line)["answer"] for line in answers.stdout.splitlines()]


def shown(pairs, form):
    """Returns the pair that is drawn: one whose words change places, or a sentence of some length with a placeholder."""
    fitting = [
        pair for pair in pairs if pair.kind == "date" or ("{" in pair.source and 5 <= len(pair.source.split()) <= 9)
    ]
    return next((pair for pair in fitting if len(form.training_rows(*pair[:2])) == 1), pairs[0])


def report(name, part, of_seeds):
    """Prints a table of the held-out texts' scores, and returns it: the means over seeds, and what lies between."""
    print(f"\n{name}: {len(part):,} texts, none of them seen in training")
    rows = {}
    for row in of_seeds[0]:
        found = {key: [scores[row][key] for scores in of_seeds] for key in of_seeds[0][row]}
        rows[row] = {
            key: {"mean": round(float(np.mean(each)), 4), "least": round(min(each), 4), "most": round(max(each), 4)}
            for key, each in found.items()
        }
        cells = []
        for key, each in rows[row].items():
            digits = 1 if key in ("BLEU", "chrF") else 3
            several = each["least"] != each["most"]
            spread = f" ({each['least']:.{digits}f} to {each['most']:.{digits}f})" if several else ""
            cells.append(f"{key} {each['mean']:.{digits}f}{spread}")
        print(f"  {row:60}", "  ".join(cells))
    return rows


def main():
    """Runs the whole job and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", choices=SETTINGS, default="cldr")
    parser.add_argument("--target", default="es", help="the language to translate into, for cldr and interface")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, default=1, help="how many models to train, one after the other")
    parser.add_argument("--first-seed", type=int, default=0, help="the seed of the first, which the others follow")
    parser.add_argument("--validation", action="store_true", help="report on what settings are chosen by")
    parser.add_argument("--quick", action="store_true", help="few pairs: to see that it runs")
    parser.add_argument("--output", type=Path, default=Path("outputs/translation"))
    options = parser.parse_args()
    if options.seeds < 1 or options.first_seed < 0 or (options.dataset == "ted" and options.validation):
        parser.error("--seeds must be 1 at least, --first-seed 0 at least, and --validation is not for ted.")
    began, settings, form = time.perf_counter(), SETTINGS[options.dataset], translation_pairs.FORMS[options.dataset]
    options.output.mkdir(parents=True, exist_ok=True)
    count = QUICK_PAIRS if options.quick else settings["pairs"]
    training, choosing, held_out = translation_pairs.load(options.dataset, options.target, count, options.validation)
    if options.quick:
        choosing = choosing and choosing[:QUICK_HELD_OUT]
        held_out = {name: part[:QUICK_HELD_OUT] for name, part in held_out.items()}
    language = "en" if options.dataset == "ted" else options.target
    sizes = ", ".join(f"{len(part):,} ({name})" for name, part in held_out.items())
    print(f"{len(training):,} pairs to train on, held out: {sizes}", flush=True)
    baselines = Baselines(training, choosing, form, language)
    known = {name: baselines.translate([pair.source for pair in part]) for name, part in held_out.items()}
    known = {
        name: {row: score(found, held_out[name], language) for row, found in rows.items()}
        for name, rows in known.items()
    }

    rows = list(dict.fromkeys(row for pair in training for row in form.training_rows(*pair[:2])))
    texts = [text for row in rows for text in row]
    tokenizer = text_tokens.make_tokenizer("bpe", texts, settings["vocabulary"], True, form.PLACEHOLDERS)
    longest, epochs = settings["lengths"][-1], options.epochs or settings["epochs"]
    seconds, found = [], {name: [] for name in held_out}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        model, took = fit(rows, tokenizer, settings, epochs, seed)
        seconds.append(took)
        print(f"trained in {took:.0f} s", flush=True)
        model.save(options.output / ("model.keras" if seed == 0 else f"model-{seed}.keras"))
        for name, part in held_out.items():
            scores = dict(known[name])
            for how, sampler in SAMPLERS.items():
                ours = translate_texts(model, tokenizer, form, [pair.source for pair in part], sampler, longest)
                scores[f"Translator, {how}"] = score(ours, part, language)
            found[name].append(scores)
            wrong = [(pair, text) for pair, text in zip(part, ours, strict=True) if text != pair.target]
            print(f"{name}, {len(wrong):,} of {len(part):,} differ from what they should be:")
            for pair, text in wrong[:: max(1, len(wrong) // 5)][:5]:
                print(f"    {pair.source}\n      should be: {pair.target}\n      is:        {text}")
    tables = {name: report(name, part, found[name]) for name, part in held_out.items()}

    first = next(iter(held_out.values()))
    draw_alignment(model, tokenizer, form, shown(first, form), options.output / "alignment.png")
    if keras.backend.backend() == "tensorflow":
        prepared = [form.prepare(pair.source) for pair in first[:3]]
        answers = iter(
            serve(model, tokenizer, options.output / "saved_model", sum((each for each, _ in prepared), []), longest)
        )
        print("\nServed by a process that has neither keras_tx nor keras-hub:")
        for pair, (sentences, names) in zip(first, prepared, strict=False):
            print(f"  {pair.source} -> {form.restore([next(answers) for _ in sentences], names)}")
    job = time.perf_counter() - began
    print(f"\nModel, SavedModel and alignment: {options.output}\nDone in {job:.0f} s.")
    result = {
        "example": "translation",
        "dataset": options.dataset,
        "target": options.target,
        "backend": keras.backend.backend(),
    }
    result |= {"parameters": model.count_params(), "pairs": len(training), "epochs": epochs, "seeds": options.seeds}
    result["first_seed"] = options.first_seed
    print(
        json.dumps(
            {**result, "seconds": [round(each) for each in seconds], "job_seconds": round(job), "scores": tables}
        )
    )


if __name__ == "__main__":
    main()
