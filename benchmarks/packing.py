"""Real tokens a second of a GPT's training steps on docstrings, in packed rows and in rows of one padded document each.

    python benchmarks/packing.py [--length 256 512] [--batch 8] [--rounds 9] [--steps 4] [--megabytes 4] [--cache FILE]

Both train the model of `examples/gpt_text_completion.py` under XLA on rows of one shape, and take turns. A real token is one of a
document: what a row holds beside it is padding. Prints a table, and one line of JSON last.
"""

import argparse
import itertools
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import gpt_text_completion as example
import keras
import numpy as np
import package_docstrings
import text_tokens
from timing import alternate, machine, medians

from keras_tx import pretraining
from keras_tx.applications import GPT


def candidate(documents, vocabulary_size, length, batch, steps, packed):
    """Returns a function that trains some steps, on other batches each time, and a list of the real tokens of each call."""
    keras.utils.set_random_seed(0)
    model = GPT(vocabulary_size, length, positions="rotary", packed=packed, **example.SIZE)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    model.compile(keras.optimizers.AdamW(1e-3), loss, jit_compile=keras.backend.backend() != "torch")
    endless = itertools.cycle(documents)
    make = pretraining.pack if packed else package_docstrings.padded
    rows, counts = make(endless, length, end_id=0), []

    def train():
        count = 0
        for _ in range(steps):
            held = list(itertools.islice(rows, batch))
            whole = {name: np.stack([row[name] for row in held]) for name in ("token_ids", "segment_ids")}
            inputs, labels, weights = pretraining.next_tokens(whole)
            count += int((whole["segment_ids"] > 0).sum())
            model.train_on_batch(inputs if packed else inputs["token_ids"], labels, weights)
        counts.append(count)

    return train, counts


def main():
    """Measures, and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--length", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--megabytes", type=float, default=4)
    parser.add_argument("--vocabulary", type=int, default=1024)
    parser.add_argument("--cache", type=Path, default=Path("outputs/gpt_text_completion/docstrings.json"))
    options = parser.parse_args()

    texts = list(package_docstrings.load(options.cache, options.megabytes).values())
    tokenizer = text_tokens.make_tokenizer("bpe", texts, options.vocabulary)
    documents = [[0, *ids] for ids in package_docstrings.encode(tokenizer, texts)]
    sizes = np.array([len(each) + 1 for each in documents])
    print(f"{len(documents):,} documents of {sizes.mean():.0f} tokens, half of them of {np.median(sizes):.0f} at most")
    found = []
    print("| length | rows | filled | ms a step | real tokens a second | times padded |\n|---|---|---|---|---|---|")
    for length in options.length:
        settings = (documents, tokenizer.vocabulary_size(), length, options.batch, options.steps)
        made = {name: candidate(*settings, packed=name == "packed") for name in ("packed", "padded")}
        seconds = alternate({name: train for name, (train, _) in made.items()}, options.rounds)
        speeds = {
            name: np.array(counts[-options.rounds :]) / np.array(seconds[name]) for name, (_, counts) in made.items()
        }
        ratio = float(np.median(speeds["packed"] / speeds["padded"]))
        for name, (_, counts) in made.items():
            filled = float(np.mean(counts)) / (options.steps * options.batch * length)
            row = {"length": length, "rows": name, "filled": round(filled, 3)}
            row["ms_a_step"] = round(medians(seconds)[name] / options.steps, 1)
            row["real_tokens_a_second"] = round(float(np.median(speeds[name])))
            row["times_padded"] = round(ratio, 2) if name == "packed" else 1.0
            found.append(row)
            print("| " + " | ".join(str(value) for value in row.values()) + " |")
    about = machine("keras", keras.backend.backend())
    print(json.dumps({"machine": about, "batch": options.batch, "megabytes": options.megabytes, "rows": found}))


if __name__ == "__main__":
    main()
