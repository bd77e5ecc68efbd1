"""Classifies image files with a SavedModel, in a process that has TensorFlow and nothing of ours.

    python examples/serve_images.py FOLDER image.png image.jpg ...

Prints one line of JSON a file. `keras_tx` and `keras_hub` are made impossible to import first, to show that the SavedModel
needs neither.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import served_alone


def main():
    """Loads the SavedModel and prints its answers."""
    folder, *names = sys.argv[1:]
    tf, served = served_alone.load(folder)
    answers = served.serve(tf.constant([Path(name).read_bytes() for name in names]))
    for name, answer in zip(names, answers.numpy(), strict=True):
        print(json.dumps({"file": name, "probabilities": [round(float(p), 4) for p in answer]}))


if __name__ == "__main__":
    main()
