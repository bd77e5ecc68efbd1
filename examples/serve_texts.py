"""Classifies or answers texts with a SavedModel, in a process that has TensorFlow and tensorflow-text and nothing of ours.

    python examples/serve_texts.py FOLDER "a text" "another text"

Prints one line of JSON a text. `keras_tx` and `keras_hub` are made impossible to import first, to show that the
SavedModel needs neither.
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import served_alone


def main():
    """Loads the SavedModel and prints its answers."""
    folder, *texts = sys.argv[1:]
    tf, served = served_alone.load(folder, "tensorflow_text")  # which has the tokenizers' operations
    for text, answer in zip(texts, served.serve(tf.constant(texts)).numpy(), strict=True):
        if isinstance(answer, bytes):
            print(json.dumps({"text": text, "answer": answer.decode(errors="replace")}))
        else:
            print(json.dumps({"text": text, "probabilities": [round(float(p), 4) for p in answer]}))


if __name__ == "__main__":
    main()
