"""Finds objects in image files with a SavedModel, in a process that has TensorFlow and nothing of ours.

    python examples/serve_boxes.py FOLDER image.png image.jpg ...

Prints one line of JSON a file: what was found with a score above that of the SavedModel. `keras_tx` and `keras_hub` are made
impossible to import first, to show that the SavedModel needs neither.
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
    found = {
        key: value.numpy()
        for key, value in served.serve(tf.constant([Path(name).read_bytes() for name in names])).items()
    }
    for place, name in enumerate(names):
        valid = found["valid"][place]
        answer = {key: found[key][place][valid].round(2).tolist() for key in ("labels", "scores", "boxes")}
        print(json.dumps({"file": name, **answer}))


if __name__ == "__main__":
    main()
