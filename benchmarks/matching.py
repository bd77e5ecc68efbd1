"""The share of a DETR's training step that the loss and its matching take, and the matching beside scipy's.

    python benchmarks/matching.py [--rounds 15]

The step is that of `examples/object_detection.py`; matching is also timed at the size of the published training. Candidates are
compiled (on torch they are not) and take turns. scipy gets the same costs as arrays, one matrix after another, and no copy from a
device is counted. Prints a table, and one line of JSON last.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import keras
import numpy as np
import object_detection as example
from scipy.optimize import linear_sum_assignment
from timing import alternate, machine, medians

import keras_tx

# Matrices, most and real rows, columns: images times layers, objects, queries.
SIZES = {
    "example": (example.BATCH * example.MODEL["num_layers"], 4, 2.5, example.MODEL["num_queries"]),
    "published": (2 * 6, 63, 7.3, 100),  # two images a device, the most and the mean of objects in an image of COCO
}


def compiled(function):
    """Returns the function under XLA, that waits for its result."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        function = tf.function(function, jit_compile=True, autograph=False)
    elif backend == "jax":
        import jax

        function = jax.jit(function)
    return lambda *inputs: keras.ops.convert_to_numpy(function(*map(keras.ops.convert_to_tensor, inputs)))


def matchings(size):
    """Returns the candidates of one size, on random costs."""
    count, rows, real, columns = size
    random = np.random.default_rng(0)
    cost = random.normal(size=(count, rows, columns)).astype("float32")
    mask = np.arange(rows) < random.poisson(real, (count, 1)).clip(0, rows)
    ours = compiled(keras_tx.ops.assignment.linear_sum_assignment)
    return {
        "keras_tx": lambda: ours(cost, mask),
        "scipy": lambda: [linear_sum_assignment(each[kept]) for each, kept in zip(cost, mask, strict=True)],
    }


def main():
    """Measures, and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    keras.utils.set_random_seed(0)
    images = example.image_data.load()
    digits = example.data.Digits(images.train[::40], images.train_labels[::40])
    pixels, targets = example.data.Canvases(digits, example.BATCH, 1)[0]
    model, loss = example.make_model(example.detection_stem.make_stem()), keras_tx.losses.SetPredictionLoss()
    model.compile(keras.optimizers.AdamW(1e-3), loss, jit_compile=keras.backend.backend() != "torch")
    outputs = model.predict(pixels, verbose=0)
    value = compiled(loss)
    candidates = {"step": lambda: model.train_on_batch(pixels, targets), "loss": lambda: value(targets, outputs)}
    for size, dimensions in SIZES.items():
        candidates |= {f"{size}, {name}": function for name, function in matchings(dimensions).items()}
    found = {name: round(each, 3) for name, each in medians(alternate(candidates, rounds)).items()}
    for name, each in found.items():
        print(f"{name:22} {each:9.2f} ms")
    shares = {
        name: round(found[key] / found["step"], 4)
        for name, key in (("loss", "loss"), ("matching", "example, keras_tx"))
    }
    packages = ["keras", "scipy", keras.backend.backend()]
    print(json.dumps({"machine": machine(*packages), "milliseconds": found, "share of a step": shares}))


if __name__ == "__main__":
    main()
