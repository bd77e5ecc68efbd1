"""Answers questions on image files with a SavedModel, in a process that has TensorFlow and nothing of ours.

    python examples/serve_questions.py FOLDER REQUESTS.json

The requests are a list of objects: a file, its boxes in fractions of the image, a question. Prints one line of JSON for each.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import served_alone


def main():
    """Loads the SavedModel and prints its answers."""
    folder, path = sys.argv[1:]
    tf, served = served_alone.load(folder)
    requests = json.loads(Path(path).read_text())
    counts = [len(request["boxes"]) for request in requests]
    boxes = tf.ragged.constant([request["boxes"] for request in requests], ragged_rank=1, dtype="float32").to_tensor()
    files = tf.constant([Path(request["file"]).read_bytes() for request in requests])
    found = served.serve(files, boxes, tf.constant(counts), tf.constant([request["question"] for request in requests]))
    for request, answer, likely in zip(requests, found["answers"].numpy(), found["probabilities"].numpy(), strict=True):
        print(json.dumps({**request, "answer": answer.decode(), "probability": round(float(likely.max()), 4)}))


if __name__ == "__main__":
    main()
