"""Fine-tuning on review sentiment: BERT from nothing, from `bert_pretraining.py`, and from the real weights of MiniLM.

    python examples/bert_pretraining.py
    python examples/bert_finetuning.py [--pretrained FOLDER] [--only scratch pretrained minilm lora] [--epochs N]
                                       [--quick] [--output FOLDER]

The films of the test set are in no other set, nor in the text of the pretraining. All models see the same reviews, as
often. The last one trains low-rank adapters alone, beside MiniLM's frozen weights. Each is exported as a SavedModel
from text to probabilities.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import minilm
import movie_reviews
import numpy as np
import review_classifier
from bert_text import make_tokenizer
from length_batches import LengthBatches

import keras_tx
from keras_tx import adapters
from keras_tx.applications import bert_classifier, load_huggingface
from keras_tx.schedules import LinearWarmUpDecay

LENGTHS = (24, 48)  # a batch is padded to the first that holds its longest text
BATCH = 32
EPOCHS = 2
LORA_RANK = 8
# Peak learning rates.
RATES = {"scratch": 5e-4, "pretrained": 5e-4, "minilm": 1e-4, "lora": 1e-3}
NAMES = {
    "scratch": "small BERT, from nothing",
    "pretrained": "small BERT, pretrained",
    "minilm": "MiniLM, all weights",
    "lora": f"MiniLM, adapters of rank {LORA_RANK}",
}


def start(kind, folder):
    """Returns a classifier to be fine-tuned, and the vocabulary that it reads."""
    if kind in ("minilm", "lora"):
        checkpoint = minilm.unpack()
        encoder, vocabulary = load_huggingface(checkpoint), minilm.vocabulary(checkpoint)
    else:
        if not (folder / "encoder.keras").exists():
            raise SystemExit(f"There is no pretrained encoder in {folder}: run examples/bert_pretraining.py first.")
        encoder = keras.models.load_model(folder / "encoder.keras")
        vocabulary = (folder / "vocabulary.txt").read_text().splitlines()
        if kind == "scratch":
            encoder = keras.Model.from_config(encoder.get_config())  # the same model with new weights
    if kind == "lora":
        adapters.enable_lora(encoder, LORA_RANK)
    return bert_classifier(encoder, 2, dropout=0.1), vocabulary


def tune(model, sets, rate, epochs):
    """Fits a classifier, keeps the weights of its best epoch, and returns its test accuracy."""
    training, validation, test = sets
    steps = epochs * training.num_batches
    model.compile(
        optimizer=keras.optimizers.AdamW(LinearWarmUpDecay(rate, steps, steps // 10), weight_decay=0.01, clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=keras.backend.backend() != "torch",
    )
    best = keras.callbacks.EarlyStopping("val_accuracy", mode="max", patience=epochs, restore_best_weights=True)
    model.fit(training, validation_data=validation, epochs=epochs, callbacks=[best], shuffle=False, verbose=2)
    return model.evaluate(test, verbose=0)[1]


def trained_weights(model):
    """Returns how many numbers a model trains, and how many it has."""
    count = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    return count, model.count_params()


def main():
    """Runs the whole job and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pretrained", type=Path, default=Path("outputs/bert_pretraining"))
    parser.add_argument("--only", nargs="+", choices=RATES, default=list(RATES))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--quick", action="store_true", help="320 reviews to train on and 320 to test")
    parser.add_argument("--output", type=Path, default=Path("outputs/bert_finetuning"))
    options = parser.parse_args()
    began = time.perf_counter()
    options.output.mkdir(parents=True, exist_ok=True)
    data = review_classifier.load("movies")
    known = movie_reviews.baselines(
        np.concatenate([data[0][0], data[1][0]]), np.concatenate([data[0][1], data[1][1]]), *data[2]
    )
    if options.quick:
        data = [tuple(values[: 10 * BATCH] for values in part) for part in data]
    print(
        ", ".join(
            f"{len(part[0])} reviews to {use}" for part, use in zip(data, ("train on", "validate", "test"), strict=True)
        )
    )

    rows = []
    for kind in options.only:
        keras.utils.set_random_seed(0)
        model, vocabulary = start(kind, options.pretrained)
        tokenizer = make_tokenizer(vocabulary, LENGTHS[-1])
        sets = [
            LengthBatches(np.array(tokenizer(list(texts))), labels, LENGTHS, BATCH, training=part == 0)
            for part, (texts, labels) in enumerate(data)
        ]
        count, total = trained_weights(model)
        print(f"\n{NAMES[kind]}: {count:,} of {total:,} weights are trained")
        started = time.perf_counter()
        accuracy = tune(model, sets, RATES[kind], options.epochs)
        rows.append((NAMES[kind], accuracy, count, time.perf_counter() - started))
        model.save(options.output / f"{kind}.keras")
        if keras.backend.backend() == "tensorflow":
            saved_model = keras_tx.export.export_saved_model(
                model, options.output / f"{kind}_saved_model", tokenizer=tokenizer, activation="softmax"
            )
    if keras.backend.backend() == "tensorflow":
        print(f"\nThree texts, classified by the SavedModel of {rows[-1][0]}, in a new process without keras_tx:")
        for answer in review_classifier.serve(saved_model, review_classifier.RAW_TEXTS):
            best = int(np.argmax(answer["probabilities"]))
            print(f"  {review_classifier.CLASSES[best]:6} {answer['probabilities'][best]:.2f}  {answer['text']}")
    print("\nAccuracy on the test set:          accuracy  trained weights  seconds")
    for name, accuracy, count, seconds in rows:
        print(f"  {name:32} {accuracy:.4f}  {count:15,}  {seconds:7.0f}")
    print(f"  TF-IDF and logistic regression   {known.tfidf:.4f}")
    print(f"  majority class                   {known.majority:.4f}")
    print(f"\nModels and SavedModels: {options.output}\nDone in {time.perf_counter() - began:.0f} s.")


if __name__ == "__main__":
    main()
