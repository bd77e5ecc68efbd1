"""Classifies or answers texts with a SavedModel, in a process that has TensorFlow and tensorflow-text and nothing of ours.

    python examples/serve_texts.py FOLDER "a text" "another text"

Prints one line of JSON a text. `keras_tx` and `keras_hub` are made impossible to import first, to show that the
SavedModel needs neither.
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
BLOCKED = ("keras_tx", "keras_hub", "keras_nlp")


def main():
    """Loads the SavedModel and prints its answers."""
    for name in BLOCKED:
        sys.modules[name] = None  # an import of it raises from now on
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  (registers the tokenizers' operations)

    for name in BLOCKED:
        try:
            __import__(name)
        except ImportError:
            continue
        raise SystemExit(f"{name} can be imported: this proves nothing.")
    folder, *texts = sys.argv[1:]
    served = tf.saved_model.load(folder)
    for text, answer in zip(texts, served.serve(tf.constant(texts)).numpy(), strict=True):
        if isinstance(answer, bytes):
            print(json.dumps({"text": text, "answer": answer.decode(errors="replace")}))
        else:
            print(json.dumps({"text": text, "probabilities": [round(float(p), 4) for p in answer]}))


if __name__ == "__main__":
    main()
