"""A DETR trained to find handwritten digits on noisy canvases, never the same twice, and served image files.

    python examples/object_detection.py [--epochs N] [--quick] [--output FOLDER]

Its convolutions first learn to name digits (see `detection_stem.py`). Beside it stand two detectors without attention, made of
the same training digits (see `detection_baselines.py`). All are measured on 1,000 canvases of digits that none of them has seen.
It runs on each backend (`KERAS_BACKEND=jax`); files are served on TensorFlow alone. The last line is JSON.
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

import detection_baselines as baselines
import detection_data as data
import detection_metrics
import detection_pictures as pictures
import detection_stem
import image_data
import keras
import numpy as np
from PIL import Image

import keras_tx
from keras_tx.applications import DETR, detections
from keras_tx.losses import SetPredictionLoss

MODEL = {"num_queries": 8, "num_layers": 2, "num_heads": 4, "hidden_dim": 64, "intermediate_dim": 128, "dropout": 0.0}
BATCH, STEPS, EPOCHS = 32, 500, 14
STEM_STEPS = 1000
PEAK_RATE = 1e-3
TEST_CANVASES, TEST_SEED = 1000, 99
CLASSIFIER_CANVASES, CLASSIFIER_EPOCHS = 8000, 4
SHOWN = 6


def make_model(stem):
    """Returns a DETR of canvases and digits on a stem of convolutions."""
    shape = (data.CANVAS, data.CANVAS, 1)
    return DETR(len(image_data.DIGITS), stem, input_shape=shape, include_rescaling=False, **MODEL)


def train(model, canvases, epochs):
    """Fits the model under XLA, the learning rate rising for a twentieth of the steps, then falling as a cosine.

    Returns:
        The seconds taken, and the loss of each epoch.
    """
    steps = epochs * len(canvases)
    warm_up = max(1, steps // 20)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm_up), warmup_target=PEAK_RATE, warmup_steps=warm_up
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-4, global_clipnorm=0.1)
    few = steps < 10  # the step takes half a minute to compile
    model.compile(
        optimizer, SetPredictionLoss(), jit_compile=not few and keras.backend.backend() != "torch", run_eagerly=few
    )
    start = time.perf_counter()
    history = model.fit(canvases, epochs=epochs, verbose=2).history
    return time.perf_counter() - start, history["loss"]


def find(model, pixels):
    """Returns what the model finds on canvases (B, Y, X, 1): for each its labels, boxes in pixels and scores."""
    outputs = model.predict(pixels.astype("float32"), batch_size=100, verbose=0)
    found = detections(outputs, image_sizes=pixels.shape[1:3])
    return list(zip(*(keras.ops.convert_to_numpy(found[key]) for key in ("labels", "boxes", "scores")), strict=True))


def draw(model, pixels, labels, boxes, found, output):
    """Draws what was found on the first canvases, and where each query looked on the one with most digits among them."""
    count = min(SHOWN, len(pixels))
    pictures.draw_boxes(pixels[:count], labels, boxes, found, output / "boxes.png")
    chosen = max(range(count), key=lambda place: len(labels[place]))
    canvas = pixels[chosen : chosen + 1].astype("float32")
    maps, outputs = keras_tx.analysis.attention_maps(model, canvas, return_outputs=True)
    last = f"decoder_{MODEL['num_layers'] - 1}/cross_attention"
    rows = data.CANVAS // int(np.prod([stride for *_, stride in detection_stem.STEM]))
    weights = maps[last][0].mean(axis=0).reshape(-1, rows, rows)  # (Q, rows, columns)
    outputs = keras.ops.convert_to_numpy(outputs)[0, -1]  # (Q, C + 5): the queries in their own order
    shares = np.exp(outputs[:, :-4] - outputs[:, :-4].max(1, keepdims=True))
    shares = (shares / shares.sum(1, keepdims=True))[:, :-1]
    center, half = data.CANVAS * outputs[:, -4:-2], data.CANVAS * outputs[:, -2:] / 2
    of_queries = shares.argmax(1), np.concatenate([center - half, center + half], axis=1), shares.max(1)
    pictures.draw_queries(pixels[chosen], weights, of_queries, output / "queries.png")


def serve(model, pixels, output):
    """Writes a SavedModel from image files to boxes, and returns what it answers in a new process without keras_tx."""
    size = (data.CANVAS, data.CANVAS)
    detector = keras.Model(model.inputs, detections(model.output, image_sizes=size))
    folder = keras_tx.export.export_images(detector, output / "saved_model", image_size=size)
    (output / "files").mkdir(exist_ok=True)
    paths = []
    for number, canvas in enumerate(pixels):
        paths.append(str(output / "files" / f"{number}.png"))
        Image.fromarray(canvas[..., 0]).save(paths[-1])
    command = [sys.executable, str(Path(__file__).with_name("serve_boxes.py")), str(folder), *paths]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


def main():
    """Runs the whole job and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, help=f"of {STEPS} steps of {BATCH} canvases; {EPOCHS} by default")
    parser.add_argument("--quick", action="store_true", help="few steps and canvases: to see that it runs")
    parser.add_argument("--output", type=Path, default=Path("outputs/object_detection"))
    options = parser.parse_args()
    start, output = time.time(), options.output
    output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    steps, count, stem_steps, of_classifier = (
        (4, 12, 2, (30, 1))
        if options.quick
        else (STEPS, TEST_CANVASES, STEM_STEPS, (CLASSIFIER_CANVASES, CLASSIFIER_EPOCHS))
    )
    epochs = options.epochs or (1 if options.quick else EPOCHS)

    images = image_data.load()
    digits = data.Digits(images.train, images.train_labels)
    pixels, labels, boxes = data.compose_many(data.Digits(images.test, images.test_labels), count, TEST_SEED)
    print(f"{len(digits.labels):,} digits to train on; {count:,} canvases of {len(images.test):,} others to test")
    stem, before = detection_stem.make_stem(), time.perf_counter()
    accuracy = detection_stem.pretrain(stem, digits, stem_steps)
    stem_seconds = time.perf_counter() - before
    print(f"Its convolutions name the digit in {100 * accuracy:.1f} % of the cells, after {stem_seconds:.0f} s")
    model = make_model(stem)
    print(f"DETR: {model.count_params():,} parameters, {epochs * steps:,} steps of {BATCH} canvases")
    seconds, losses = train(model, data.Canvases(digits, BATCH, steps), epochs)
    found = find(model, pixels)
    model.save(output / "model.keras")
    before = time.perf_counter()
    classifier = baselines.train_classifier(digits, *of_classifier)
    classifier_seconds = time.perf_counter() - before
    rows = {
        "DETR": found,
        "sliding windows, non-maximum suppression": baselines.slide(classifier, baselines.proportions(digits), pixels),
        "connected ink": baselines.connect(classifier, pixels),
    }
    rows = {name: detection_metrics.average_precision(labels, boxes, each) for name, each in rows.items()}
    draw(model, pixels, labels, boxes, found, output)
    if keras.backend.backend() == "tensorflow":
        print("\nImage files, looked at by the SavedModel in a new process without keras_tx:")
        for answer, its_labels in zip(serve(model, pixels[:SHOWN], output), labels, strict=False):
            found_there = zip(answer["labels"], answer["scores"], answer["boxes"], strict=True)
            seen = ", ".join(
                f"{label} {score:.2f} at {[round(edge, 1) for edge in box]}" for label, score, box in found_there
            )
            print(f"  {answer['file']}: {seen or 'nothing'}  (digits {' '.join(map(str, its_labels))})")
    print(f"\nAverage precision on the test canvases:\n  {'':42} mAP@[.5:.95]   AP50")
    for name, precision in rows.items():
        print(f"  {name:42} {precision['mAP']:12.4f} {precision['AP50']:6.4f}")
    print(
        f"Convolutions trained in {stem_seconds:.0f} s, DETR in {seconds:.0f} s, the classifier in {classifier_seconds:.0f} s"
    )
    print(f"Model, SavedModel and pictures: {output}\nDone in {time.time() - start:.0f} s.")
    result = {"backend": keras.backend.backend(), "steps": epochs * steps, "batch": BATCH, "seconds": round(seconds, 1)}
    result |= {"stem_seconds": round(stem_seconds, 1), "job_seconds": round(time.time() - start)}
    print(json.dumps({**result, "loss": round(losses[-1], 4), "parameters": model.count_params(), "precision": rows}))


if __name__ == "__main__":
    main()
