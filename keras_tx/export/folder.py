"""The folder of a SavedModel: what it must track, and how it is written."""

import os
import shutil
import tempfile


def tracking_module(tf, model, tokenizers):
    """Returns a module that keeps what the endpoints use: SavedModel knows no Keras variable and no tokenizer."""
    module = tf.Module()
    module.model_variables = [variable.value for variable in model.variables]
    # Without these the tokenizers' tables would be saved as "untracked resource".
    module.tokenizer_parts = [list(vars(each).values()) for each in tokenizers if each is not None]
    return module


def save_whole(tf, module, signatures, path):
    """Saves a module into a folder beside `path` and renames it, so that a save that dies leaves what was there.

    The signature "serve" stands there twice: servers and converters that are told no name ask for "serving_default".
    """
    signatures = {**signatures, tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY: signatures["serve"]}
    path = os.path.abspath(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    workshop = tempfile.mkdtemp(prefix=".saving-", dir=os.path.dirname(path))
    try:
        tf.saved_model.save(module, os.path.join(workshop, "new"), signatures=signatures)
        if os.path.exists(path):
            os.rename(path, os.path.join(workshop, "old"))
        os.rename(os.path.join(workshop, "new"), path)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
