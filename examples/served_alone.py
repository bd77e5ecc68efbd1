"""Loads a SavedModel where neither `keras_tx` nor `keras_hub` can be imported, to show that it needs neither."""

import importlib
import sys

BLOCKED = ("keras_tx", "keras_hub", "keras_nlp")


def load(folder, *modules):
    """Makes the packages impossible to import, imports modules that register operations, and loads a SavedModel.

    Returns:
        The module tensorflow, and the SavedModel.
    """
    for name in BLOCKED:
        sys.modules[name] = None  # an import of it raises from now on
    import tensorflow as tf

    for name in modules:
        importlib.import_module(name)
    for name in BLOCKED:
        try:
            __import__(name)
        except ImportError:
            continue
        raise SystemExit(f"{name} can be imported: this proves nothing.")
    return tf, tf.saved_model.load(folder)
