"""The folder of a SavedModel: what it must track, and how it is written."""

import os
import shutil
import tempfile

import keras


def tensorflow():
    """Returns the module tensorflow; raises an error unless it is there and is the backend."""
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ImportError("A SavedModel needs TensorFlow: pip install 'keras-tx[tensorflow]'") from error
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "The backend must be TensorFlow for a SavedModel: save the model with model.save(), load that file in a process with "
            f"KERAS_BACKEND=tensorflow and export it there. Received: backend {keras.backend.backend()}."
        )
    return tf


def compiled(tf, model, activation, jit_compile):
    """Returns the function from a model's inputs, one after the other, to its outputs with an activation."""
    activation = keras.activations.get(activation)

    def run(*inputs):
        outputs = model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
        return activation(outputs) if activation is not keras.activations.linear else outputs

    return tf.function(run, jit_compile=jit_compile)


def export(tf, model, serve, signature, path, tokenizers=()):
    """Writes a SavedModel with one endpoint, `serve`; returns the path."""
    module = tracking_module(tf, [model], tokenizers)
    module.serve = tf.function(serve, input_signature=signature)
    save_whole(tf, module, {"serve": module.serve}, path)
    return path


def tracking_module(tf, models, tokenizers):
    """Returns a module that keeps what the endpoints use: SavedModel knows no Keras variable and no tokenizer."""
    module = tf.Module()
    module.model_variables = [variable.value for model in models for variable in model.variables]
    # Without these the tokenizers' tables would be saved as "untracked resource".
    module.tokenizer_parts = [list(vars(each).values()) for each in tokenizers]
    return module


def save_whole(tf, module, signatures, path):
    """Saves a module into a folder beside `path` and renames it, so that a save that dies leaves what was there.

    The signature "serve" stands there twice: servers and converters that are told no name ask for "serving_default".
    """
    signatures = {**signatures, tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY: signatures["serve"]}
    path = os.path.abspath(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    staging = tempfile.mkdtemp(prefix=".saving-", dir=os.path.dirname(path))
    try:
        tf.saved_model.save(module, os.path.join(staging, "new"), signatures=signatures)
        if os.path.exists(path):
            os.rename(path, os.path.join(staging, "old"))
        os.rename(os.path.join(staging, "new"), path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
