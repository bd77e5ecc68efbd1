"""Summaries by a decoder alone: text, a delimiter, the summary, and a loss on the summary only.

    python examples/summarization.py [--pretrain N] [--epochs N] [--output FOLDER]

Texts are sections of Python's language reference, their summaries the sections' titles; and docstrings of the standard
library, whose first line sums up the rest. What is reported comes from sections and modules that training never saw. The
model first learns to predict text and to quote how it began, then to sum it up.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import python_text
import text_tokens

from keras_tx import decoding
from keras_tx.applications import GPT
from keras_tx.decoding.text import text_of

SIZE = {"num_layers": 4, "num_heads": 4, "hidden_dim": 128, "intermediate_dim": 512, "dropout": 0.15}
DELIMITERS = {"sections": 1, "docstrings": 2}
REPEATS = {"sections": 5, "docstrings": 1}  # of each training pair in an epoch: sections are few
VOCABULARY, LENGTH, LONGEST_SUMMARY, BATCH = 1024, 256, 32, 8


def load():
    """Returns two dicts from "sections" and "docstrings" to (text, summary) pairs, to train on and held out, and the
    texts to train on.
    """
    topics, held_topics = python_text.split(python_text.load_topics(), held_out=0.2)
    sources, held_sources = python_text.split(python_text.load_sources(), held_out=0.1)
    training = {"sections": python_text.sections(topics), "docstrings": python_text.docstrings(sources)}
    seen = {text for text, _ in training["docstrings"]}
    held_out = {
        "sections": python_text.sections(held_topics),
        "docstrings": [pair for pair in python_text.docstrings(held_sources) if pair[0] not in seen],
    }
    texts = [*topics.values(), *(f"{summary}\n\n{text}" for text, summary in training["docstrings"])]
    return training, held_out, texts


def examples(tokenizer, pairs, delimiter):
    """Returns int32 inputs and targets and float weights, each (N, LENGTH): text, delimiter, summary, end, zeros.

    The weights are 1 where the target belongs to the summary or ends it, and 0 elsewhere.
    """
    rows = np.zeros((len(pairs), LENGTH + 1), "int32")
    weights = np.zeros((len(pairs), LENGTH), "float32")
    summaries = text_tokens.encode(tokenizer, [summary for _, summary in pairs])
    for row, weight, prompt, summary in zip(
        rows, weights, prompts(tokenizer, pairs, delimiter), summaries, strict=True
    ):
        summary = [*summary[: LONGEST_SUMMARY - 1], 0]
        row[: len(prompt)] = prompt
        row[len(prompt) : len(prompt) + len(summary)] = summary
        weight[len(prompt) - 1 : len(prompt) - 1 + len(summary)] = 1
    return rows[:, :-1], rows[:, 1:], weights


def prompts(tokenizer, pairs, delimiter):
    """Returns the start of each text and the delimiter, as lists of ids that leave room for a summary."""
    room = LENGTH - LONGEST_SUMMARY
    return [[*row[:room], delimiter] for row in text_tokens.encode(tokenizer, [text for text, _ in pairs])]


def compiled(model, steps, rate):
    """Compiles the model for so many steps of training."""
    warm_up = max(1, steps // 20)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm_up), alpha=0.05, warmup_target=rate, warmup_steps=warm_up
    )
    model.compile(
        optimizer=keras.optimizers.Muon(schedule, weight_decay=0.1, adam_lr_ratio=0.15, clipnorm=1.0),
        # The mean over the summaries' tokens, not over the zeros around them.
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight"),
        jit_compile=True,
    )


def pretrain(model, tokenizer, texts, epochs):
    """Fits the model to predict each next token of the texts, and to quote how they began."""
    tokens = text_tokens.in_a_row(text_tokens.encode(tokenizer, texts))
    steps = max(1, len(tokens) // (LENGTH * BATCH))
    compiled(model, epochs * steps, 2e-2)
    windows = text_tokens.repeating_windows(tokens, LENGTH, BATCH, list(DELIMITERS.values()))
    model.fit(windows, steps_per_epoch=steps, epochs=epochs, shuffle=False, verbose=2)


def train(model, tokenizer, pairs, epochs, seed=0):
    """Fits the model to sum up, and keeps the epoch that was best on a tenth of the training pairs.

    Args:
        model: `keras.Model`.
        tokenizer: keras-hub tokenizer.
        pairs: dict from kind to (text, summary) pairs.
        epochs: int.
        seed: int.
    """
    fit, check = [], []
    for kind, of_kind in pairs.items():
        order = np.random.default_rng(seed).permutation(len(of_kind))
        arrays = examples(tokenizer, [of_kind[index] for index in order], DELIMITERS[kind])
        held = max(1, len(of_kind) // 10)
        check.append([array[:held] for array in arrays])
        fit += [[array[held:] for array in arrays]] * REPEATS[kind]
    fit, check = ([np.concatenate(parts) for parts in zip(*part, strict=True)] for part in (fit, check))
    compiled(model, epochs * (len(fit[0]) // BATCH + 1), 5e-3)
    best = keras.callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True)
    model.fit(
        *fit[:2],
        sample_weight=fit[2],
        validation_data=tuple(check),
        batch_size=BATCH,
        epochs=epochs,
        callbacks=[best],
        verbose=2,
    )


def summarize(model, tokenizer, pairs, delimiter):
    """Returns the model's summary of each text, by beam search."""
    rows = prompts(tokenizer, pairs, delimiter)
    found = []
    for first in range(0, len(rows), 16):
        group = rows[first : first + 16]
        sampler = decoding.Beam(4, length_penalty=0.6)
        tokens = decoding.generate(model, group, LONGEST_SUMMARY, sampler, stop_ids=0)
        for row, ids in zip(group, tokens, strict=True):
            new = ids[len(row) :]
            found.append(text_of(new[new >= len(text_tokens.SPECIAL)], tokenizer).strip())
    return found


def first_words(pairs, count):
    """Returns the first `count` words of each text."""
    return [" ".join(text.split()[:count]) for text, _ in pairs]


def rouge(pairs, summaries):
    """Returns the F1 scores of ROUGE-1 and ROUGE-L (Lin 2004, "ROUGE", sections 2 and 3) as keras-hub measures them."""
    import keras_hub

    scores = {}
    for name, metric in (("ROUGE-1", keras_hub.metrics.RougeN(order=1)), ("ROUGE-L", keras_hub.metrics.RougeL())):
        metric.update_state([summary for _, summary in pairs], summaries)
        scores[name] = float(metric.result()["f1_score"])
    return scores


def main():
    """Runs the whole job and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pretrain", type=int, default=4, help="epochs of predicting and quoting text")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of summing up")
    parser.add_argument("--output", type=Path, default=Path("outputs/summarization"))
    options = parser.parse_args()
    start = time.time()
    keras.utils.set_random_seed(0)
    options.output.mkdir(parents=True, exist_ok=True)

    training, held_out, texts = load()
    for kind, pairs in training.items():
        print(f"{kind}: {len(pairs)} pairs to train on, {len(held_out[kind])} held out")
    tokenizer = text_tokens.make_tokenizer("bpe", texts, VOCABULARY)
    model = GPT(tokenizer.vocabulary_size(), LENGTH + LONGEST_SUMMARY, positions="rotary", **SIZE)
    print(f"{model.count_params():,} parameters")
    pretrain(model, tokenizer, texts, options.pretrain)
    train(model, tokenizer, training, options.epochs)
    model.save(options.output / "model.keras")

    for kind, pairs in held_out.items():
        made = summarize(model, tokenizer, pairs, DELIMITERS[kind])
        # As many words as the training summaries have on average.
        words = round(np.mean([len(summary.split()) for _, summary in training[kind]]))
        rows = {"keras_tx.applications.GPT": made, f"the text's first {words} words": first_words(pairs, words)}
        print(f"\nF1 on {len(pairs)} held-out {kind}:")
        for name, summaries in rows.items():
            print(f"  {name:27}", "  ".join(f"{k} {v:.3f}" for k, v in rouge(pairs, summaries).items()))
        for (text, summary), ours in list(zip(pairs, made, strict=True))[:3]:
            print(f"    text:    {' '.join(text.split())[:90]}\n    summary: {summary}\n    model:   {ours}")
    print(f"\nModel: {options.output / 'model.keras'}\nDone in {time.time() - start:.0f} s.")


if __name__ == "__main__":
    main()
