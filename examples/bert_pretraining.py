"""A small BERT pretrained from nothing, on film plots, movie reviews and Python's language reference.

    python examples/bert_pretraining.py [--objective token|word|span] [--quick] [--epochs N] [--output FOLDER]
    python examples/bert_pretraining.py --model fnet [--lengths 128 512 2048 --steps N]

Restores masked tokens (single ones, whole words, or spans that are also predicted from the tokens around them), and
tells whether one segment follows the other. Killed and started again, it goes on after the last whole epoch. The
encoder is left in the folder for `bert_finetuning.py`. `--model fnet` puts a Fourier transform in the place of
attention, and with `--lengths` compares the two at each length, for some steps.
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import bert_beside_fnet
import bert_corpus
import keras
import numpy as np
from bert_batches import OBJECTIVES, PretrainingBatches, unigram_baseline
from bert_text import make_tokenizer

from keras_tx.applications import BERT, FNet, bert_pretrainer
from keras_tx.backup import Backup
from keras_tx.ops.activations import gelu_tanh
from keras_tx.schedules import LinearWarmUpDecay

FULL = {"vocabulary": 5000, "length": 128, "batch": 16, "epochs": 24, "rate": 1e-3, "share": 1.0}
QUICK = {**FULL, "vocabulary": 2000, "epochs": 4, "share": 0.15}
SIZE = {"num_layers": 2, "num_heads": 2, "hidden_dim": 128, "intermediate_dim": 512}
QUICK_SIZE = {"num_layers": 2, "num_heads": 2, "hidden_dim": 64, "intermediate_dim": 128}
SENTENCES = (
    "The film is a [MASK] comedy about love.",
    "He falls in [MASK] with a young girl.",
    "The [MASK] statement raises an exception.",
)


def build(tokenizer, size, objective, kind="bert", length=128):
    """Returns the model to pretrain; its encoder is `get_layer(kind)`."""
    # Without dropout: so short a training learns too little, not too much (6.24 nats after 4 epochs, with it after 8).
    encoder = build_encoder(tokenizer, size, dropout=0.0, kind=kind, length=length)
    activation = {"fnet": {"activation": gelu_tanh}}.get(kind, {})
    return bert_pretrainer(encoder, span_boundary=objective == "span", **activation)


def build_encoder(tokenizer, size, dropout, kind="bert", length=128):
    """Returns an encoder of a kind, "bert" or "fnet", with new weights."""
    if kind == "fnet":
        size = {name: value for name, value in size.items() if name != "num_heads"}
    application = {"bert": BERT, "fnet": FNet}[kind]
    return application(tokenizer.vocabulary_size(), sequence_length=length, dropout=dropout, name=kind, **size)


def compile_model(model, settings, steps):
    """Compiles for the mean over the masked tokens, summed over the objectives."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    rate = LinearWarmUpDecay(settings["rate"], total_steps=steps, warm_up_steps=steps // 10)
    model.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=0.01, beta_2=0.98, clipnorm=1.0),
        loss=dict.fromkeys(model.output, loss),
        weighted_metrics={name: ["accuracy"] for name in model.output},
        jit_compile=keras.backend.backend() != "torch",
    )


def train(model, training, held_out, settings, folder, verbose=2):
    """Fits the model, from the last whole epoch on if it was interrupted, and returns the history of all epochs."""
    compile_model(model, settings, settings["epochs"] * training.num_batches)
    log = folder / "history.jsonl"

    def note(epoch, logs):
        with open(log, "a") as file:
            print(json.dumps({"epoch": epoch, **{name: float(value) for name, value in logs.items()}}), file=file)

    if not (folder / "backup").exists():
        log.unlink(missing_ok=True)
    model.fit(
        training,
        validation_data=held_out,
        epochs=settings["epochs"],
        callbacks=[training.follow(), keras.callbacks.LambdaCallback(on_epoch_end=note), Backup(folder / "backup")],
        shuffle=False,
        verbose=verbose,
    )
    rows = {row["epoch"]: row for row in map(json.loads, log.read_text().splitlines())}
    return [rows[epoch] for epoch in sorted(rows)]


def draw(history, unigram, path):
    """Writes the held-out loss and accuracy of each epoch as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    epochs = range(1, len(history) + 1)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    names = [name for name in ("masked_lm", "span_boundary") if f"val_{name}_loss" in history[0]]
    for name in names:
        left.plot(epochs, [row[f"val_{name}_loss"] for row in history], marker=".", label=name.replace("_", " "))
    left.axhline(unigram, linestyle="--", color="0.35", label="unigram counts")
    left.set(xlabel="epoch", ylabel="nats a masked token", title="Held-out loss")
    for name in (*names, "next_sentence"):
        right.plot(epochs, [row[f"val_{name}_accuracy"] for row in history], marker=".", label=name.replace("_", " "))
    right.axhline(0.5, linestyle="--", color="0.35", label="next sentence by chance")
    right.set(xlabel="epoch", title="Held-out accuracy", ylim=(0, 1))
    for axes in (left, right):
        axes.legend()
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def fill(model, tokenizer, sentence, count=5):
    """Returns the likeliest tokens for the [MASK] of a sentence."""
    before, after = (tokenizer.tokenize([part]).to_list()[0] for part in sentence.split("[MASK]"))
    ids = np.array([[tokenizer.start_id, *before, tokenizer.mask_id, *after, tokenizer.end_id]], "int32")
    (encoder,) = (layer for layer in model.layers if isinstance(layer, keras.Model))
    encoded = encoder({"token_ids": ids, "segment_ids": np.zeros_like(ids)})["sequence_output"]
    vector = encoded[:, len(before) + 1]
    for name in ("masked_lm_transform", "masked_lm_norm", "masked_lm"):
        vector = model.get_layer(name)(vector)
    best = keras.ops.convert_to_numpy(vector)[0].argsort()[::-1][:count]
    return [tokenizer.vocabulary[index] for index in best]


def compare(documents, tokenizer, size, settings, lengths, steps):
    """Prints a table of BERT and FNet at each length, and the same as JSON."""
    documents = [bert_corpus.tokenized(part, tokenizer) for part in documents]
    kinds, found = ("bert", "fnet"), {}
    print(bert_beside_fnet.heading(kinds))
    for length in lengths:
        batch = max(1, bert_beside_fnet.TOKENS // length)
        models = {kind: build(tokenizer, size, "token", kind, length) for kind in kinds}
        found[length] = bert_beside_fnet.compare(
            models, documents, tokenizer, length, steps, batch, lambda *args: compile_model(args[0], settings, args[1])
        )
        print(bert_beside_fnet.spelled(length, batch, found[length]), flush=True)
    print(json.dumps({"example": "bert_pretraining", "steps": steps, "lengths": found}))


def main():
    """Runs the whole job and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=["bert", "fnet"], default="bert")
    parser.add_argument("--objective", choices=OBJECTIVES, default="token")
    parser.add_argument("--quick", action="store_true", help="a tiny model on a part of the text, under two minutes")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--lengths", type=int, nargs="+", help="compare FNet with BERT at these lengths, and end")
    parser.add_argument("--steps", type=int, default=300, help="of each model, with --lengths")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    options.output = options.output or Path(f"outputs/{options.model}_pretraining")
    settings, size = (QUICK, QUICK_SIZE) if options.quick else (FULL, SIZE)
    settings = {**settings, "epochs": options.epochs or settings["epochs"]}
    start = time.perf_counter()
    keras.utils.set_random_seed(0)
    options.output.mkdir(parents=True, exist_ok=True)

    documents = [part[:: round(1 / settings["share"])] for part in bert_corpus.load_documents()]
    print(f"{len(documents[0])} documents to train on, {len(documents[1])} held out. Learning the vocabulary ...")
    vocabulary_file = options.output / "vocabulary.txt"
    if not (options.output / "backup").exists() or not vocabulary_file.exists():
        vocabulary_file.write_text("\n".join(bert_corpus.learn_vocabulary(documents[0], settings["vocabulary"])) + "\n")
    tokenizer = make_tokenizer(vocabulary_file.read_text().splitlines())
    if options.lengths:
        compare(documents, tokenizer, size, settings, options.lengths, options.steps)
        return
    training, held_out = (
        PretrainingBatches(
            bert_corpus.tokenized(part, tokenizer), tokenizer, settings["length"], settings["batch"], options.objective
        )
        for part in documents
    )
    tokens = sum(len(sentence) for document in training.documents for sentence in document)
    model = build(tokenizer, size, options.objective, options.model)
    print(f"{tokens:,} tokens, {training.num_batches} steps an epoch, {model.count_params():,} parameters")
    unigram_loss, unigram_accuracy = unigram_baseline(training, held_out)
    history = train(model, training, held_out, settings, options.output)
    last = history[-1]

    encoder = build_encoder(tokenizer, size, dropout=0.1, kind=options.model)  # to be fine-tuned on few texts
    encoder.set_weights(model.get_layer(options.model).get_weights())
    encoder.save(options.output / "encoder.keras")
    model.save(options.output / "pretrainer.keras")
    draw(history, unigram_loss, options.output / "pretraining.png")
    for sentence in SENTENCES:
        print(f"  {sentence}  {', '.join(fill(model, tokenizer, sentence))}")
    print(f"\nHeld-out text, objective {options.objective}:        loss   accuracy")
    print(f"  masked tokens                    {last['val_masked_lm_loss']:.3f}  {last['val_masked_lm_accuracy']:.4f}")
    if "val_span_boundary_loss" in last:
        print(
            f"  the same from span boundaries    {last['val_span_boundary_loss']:.3f}"
            f"  {last['val_span_boundary_accuracy']:.4f}"
        )
    print(f"  masked tokens, unigram counts    {unigram_loss:.3f}  {unigram_accuracy:.4f}")
    print(
        f"  next sentence (chance 0.5)       {last['val_next_sentence_loss']:.3f}  {last['val_next_sentence_accuracy']:.4f}"
    )
    print(f"\nEncoder, vocabulary and curves: {options.output}\nDone in {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
