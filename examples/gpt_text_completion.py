"""A GPT trained from nothing on the text that every Python carries: measured in bits per byte, then left to write.

    python examples/gpt_text_completion.py [--dataset topics|sources|docstrings|tiny_shakespeare] [--tokens bpe|bytes]
                                           [--epochs N] [--packing pack|pad] [--megabytes N] [--quick] [--output FOLDER]

docstrings are the 56 MB that installed packages carry: many documents, most of them shorter than a row. They are packed into
rows, or padded to one each (--packing pad), and a training that was killed goes on where it was. tiny_shakespeare needs a
network once.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import package_docstrings
import python_text
import text_baselines
import text_tokens

import keras_tx
from keras_tx import decoding
from keras_tx.applications import GPT
from keras_tx.backup import Backup
from keras_tx.decoding.text import text_of
from keras_tx.pretraining import PackedBatches

DATASETS = {
    "topics": (python_text.load_topics, ('The "try" statement', "A class is", "If the iterator")),
    "sources": (python_text.load_sources, ("def main(", "class Queue", "import os\n")),
    "docstrings": (package_docstrings.load, ("Returns the", "Base class for", "A tensor of shape")),
    "tiny_shakespeare": (python_text.load_tiny_shakespeare, ("ROMEO:", "The king", "What is love")),
}
TEMPERATURES = (0.3, 0.7, 1.0)
SIZE = {"num_layers": 4, "num_heads": 4, "hidden_dim": 128, "intermediate_dim": 512, "dropout": 0.15}
# An epoch is as many windows as cover the text once, at most 600 batches of them.
SETTINGS = {
    "bpe": {"vocabulary": 1024, "length": 256, "batch": 8, "rate": 2e-2},
    "bytes": {"vocabulary": 256, "length": 512, "batch": 8, "rate": 2e-2},
}
EPOCHS = {"topics": 24, "sources": 2, "docstrings": 8, "tiny_shakespeare": 8}
STEPS = 600  # an epoch at most
HELD_OUT_BYTES = 200_000  # more would make the measurement longer, not better
BASELINE_BYTES = 14_000_000  # which the baselines read of the training text


class BitsPerByte(keras.callbacks.Callback):
    """Reports the validation loss of each epoch in bits per byte of the held-out text.

    Args:
        bytes_per_token: float, of the held-out text.
    """

    def __init__(self, bytes_per_token):
        super().__init__()
        self.scale = 1 / np.log(2) / bytes_per_token
        self.history = []

    def on_epoch_end(self, epoch, logs=None):
        self.history.append(logs["val_loss"] * self.scale)
        print(f"  held-out text: {self.history[-1]:.3f} bits per byte")


def train_on_windows(model, tokens, held_out, num_bytes, settings, epochs):
    """Fits the model on windows of tokens in a row, keeps its best weights, and returns bits per byte after each epoch."""
    length, batch = settings["length"], settings["batch"]
    steps = max(1, min(len(tokens) // (length * batch), STEPS))
    windows = text_tokens.training_windows(tokens, length, batch)
    validation = text_tokens.validation_windows(held_out, length, batch)
    best = keras.callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True)
    bytes_per_token = num_bytes / len(held_out)
    return train(model, windows, validation, bytes_per_token, settings["rate"], epochs, steps, [best])


def train_on_documents(model, shards, held_out, num_bytes, settings, epochs, packed, output):
    """Fits the model on documents in packed or padded rows, and returns bits per byte after each epoch; goes on after a kill."""
    length, batch = settings["length"], settings["batch"]
    steps = max(1, min(shards.num_tokens // (length * batch), STEPS))
    batches = (PackedBatches if packed else package_docstrings.PaddedBatches)(shards, length, batch, steps, end_id=0)
    held = package_docstrings.held_out_rows(held_out, length, packed)
    bytes_per_token = num_bytes / held[2].sum()
    callbacks = [batches.follow(), Backup(output / f"backup-{'pack' if packed else 'pad'}")]
    return train(model, batches, held, bytes_per_token, settings["rate"], epochs, steps, callbacks)


def train(model, batches, validation, bytes_per_token, rate, epochs, steps, callbacks):
    """Fits the model by `model.fit` under XLA, and returns bits per byte after each epoch."""
    warm_up = max(1, epochs * steps // 20)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, epochs * steps - warm_up, alpha=0.05, warmup_target=rate, warmup_steps=warm_up
    )
    model.compile(
        # Muon for the matrices, Adam for the rest: 1.86 bits per byte after 564 steps, where AdamW had 2.24 after 508.
        optimizer=keras.optimizers.Muon(rate, weight_decay=0.1, adam_lr_ratio=0.15, clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight"),
        jit_compile=True,
    )
    report = BitsPerByte(bytes_per_token)
    model.fit(
        batches,
        steps_per_epoch=steps,
        validation_data=validation,
        validation_batch_size=8 if isinstance(validation, tuple) else None,
        epochs=epochs,
        callbacks=[report, *callbacks],
        shuffle=False,  # windows and documents come in a random order already
        verbose=2,
    )
    return report.history


def draw(history, known, path):
    """Writes the curve of bits per byte beside the baselines as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    axes.plot(range(1, len(history) + 1), history, marker="o", label="GPT, after each epoch")
    for (name, bits), style in zip(known.items(), ("--", ":", "-."), strict=True):
        axes.axhline(bits, linestyle=style, color="0.35")
        place = {"xytext": (0, 3), "textcoords": "offset points", "ha": "right", "color": "0.25"}
        axes.annotate(f"{name}: {bits:.2f}", (len(history), bits), **place)
    axes.set(xlabel="epoch", ylabel="bits per byte of held-out text", title="A GPT learns to predict text")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc="lower left")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def complete(model, tokenizer, prompts, max_new_tokens):
    """Prints each prompt's continuation at each temperature, and returns generated tokens per second, one row at a time."""
    sampler = decoding.Sample(temperature=1.0, top_p=0.95)
    decoding.generate(model, prompts[:1], max_new_tokens, sampler, tokenizer=tokenizer)  # compiles
    count, seconds = 0, 0.0
    for temperature in TEMPERATURES:
        sampler = decoding.Sample(temperature=temperature, top_p=0.95)
        for prompt in prompts:
            ids = np.array(tokenizer.tokenize(prompt)).tolist()
            start = time.perf_counter()
            row = decoding.generate(model, [ids], max_new_tokens, sampler, stop_ids=0, pad_id=-1, seed=1)[0]
            seconds += time.perf_counter() - start
            new = row[len(ids) :]
            count += int((new >= 0).sum())
            text = text_of([*ids, *new[new > 0]], tokenizer)
            print(f"--- temperature {temperature}\n{text}\n")
    return count / seconds


def main():
    """Runs the whole job and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", choices=DATASETS, default="topics")
    parser.add_argument("--tokens", choices=SETTINGS, default="bpe")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--packing", choices=("pack", "pad"), default="pack", help="of docstrings")
    parser.add_argument("--megabytes", type=float, help="how much of the docstrings to take, in place of all")
    parser.add_argument("--quick", action="store_true", help="2 MB of docstrings, and one epoch")
    parser.add_argument("--output", type=Path, default=Path("outputs/gpt_text_completion"))
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    options.output.mkdir(parents=True, exist_ok=True)
    load, prompts = DATASETS[options.dataset]
    settings, by_document = SETTINGS[options.tokens], options.dataset == "docstrings"
    epochs, megabytes = options.epochs or EPOCHS[options.dataset], options.megabytes
    if options.quick:
        epochs, megabytes = options.epochs or 1, megabytes or 2
    if by_document and options.tokens == "bytes":
        parser.error("--tokens bytes is not for docstrings, whose tokens are byte pairs")

    texts = load(options.output / "docstrings.json", megabytes) if by_document else load()
    training, held_out = (list(part.values()) for part in python_text.split(texts, 0.02 if by_document else 0.1))
    train_bytes, held_bytes = ("\0".join([*part, ""]).encode() for part in (training, held_out))
    held_bytes = held_bytes[:HELD_OUT_BYTES]
    train_bytes = train_bytes[:BASELINE_BYTES]
    print(
        f"{sum(map(len, training)):,} characters to train on, {len(held_bytes):,} bytes held out in {len(held_out)} texts"
    )
    tokenizer = text_tokens.make_tokenizer(options.tokens, training, settings["vocabulary"])
    held_texts = held_bytes.decode(errors="ignore").split("\0")
    packed = by_document and options.packing == "pack"
    model = GPT(tokenizer.vocabulary_size(), settings["length"] + 256, positions="rotary", packed=packed, **SIZE)
    print(f"{model.count_params():,} parameters")
    start = time.perf_counter()
    if by_document:
        shards = package_docstrings.shards(tokenizer, training, options.output / f"shards-{megabytes or 'all'}")
        held_tokens = [[0, *ids] for ids in package_docstrings.encode(tokenizer, held_texts[:-1])]
        print(f"{shards.num_tokens:,} tokens in {len(shards):,} documents")
        start = time.perf_counter()
        history = train_on_documents(
            model, shards, held_tokens, len(held_bytes), settings, epochs, packed, options.output
        )
        bits = history[-1] if history else float("nan")
    else:
        tokens, held_tokens = (
            text_tokens.in_a_row(text_tokens.encode(tokenizer, each)) for each in (training, held_texts)
        )
        held_tokens = held_tokens[:-1]  # what follows the last "\0" is no text
        print(f"{len(tokens):,} tokens")
        start = time.perf_counter()
        history = train_on_windows(model, tokens, held_tokens, len(held_bytes), settings, epochs)
        bits = text_tokens.bits_per_byte(model, held_tokens, len(held_bytes), settings["length"])
    seconds = time.perf_counter() - start
    known = {
        "gzip": text_baselines.gzip_bits(held_bytes),
        "xz after the training text": text_baselines.primed_xz_bits(train_bytes, held_bytes),
        "order-3 n-gram": text_baselines.ngram_bits(train_bytes, held_bytes),
    }

    model.save(options.output / "model.keras")
    draw(history, known, options.output / "bits_per_byte.png")
    if keras.backend.backend() == "tensorflow":
        keras_tx.export.export_saved_model(
            model,
            options.output / "saved_model",
            tokenizer=tokenizer,
            generate={"max_new_tokens": 64, "sampler": decoding.Sample(0.7, top_p=0.95), "stop_ids": [0]},
        )
    speed = complete(model, tokenizer, prompts, 96)
    print("Bits per byte of the held-out text:")
    print(f"  keras_tx.applications.GPT   {bits:.3f}")
    for name, value in known.items():
        print(f"  {name:26}  {value:.3f}")
    print(f"\nTrained in {seconds:.0f} s; writes {speed:.0f} tokens per second, one text at a time.")
    print(f"Model, SavedModel and curve: {options.output}")


if __name__ == "__main__":
    main()
