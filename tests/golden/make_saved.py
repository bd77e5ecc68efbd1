"""Makes saved/: a small file of each application as it was written on 2026-11-26, and what the model gives.

    python -m tests.golden.make_saved

needs TensorFlow. The files are made once: what is written today must load in every later version, on every backend, with
the same weights under the same paths and the same outputs.
"""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np

from keras_tx import applications

from . import seeded

FOLDER = Path(__file__).with_name("saved")


def _bert():
    return applications.BERT(13, 8, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=12)


def _in_eight_bits(model):
    model.quantize("int8", filters=lambda layer: type(layer).quantize is not keras.Layer.quantize)
    return model


MODELS = {
    "bert_classifier": lambda: applications.bert_classifier(_bert(), 3),
    "bert_pretrainer": lambda: applications.bert_pretrainer(_bert(), span_boundary=True, max_span_length=3),
    "gpt": lambda: applications.GPT(13, 8, 2, 2, 8, 12),
    "gpt_int8": lambda: _in_eight_bits(applications.GPT(13, 8, 1, 2, 8, 12)),  # written on 2026-11-28
    "gpt_rotary": lambda: applications.GPT(13, 8, 1, 2, 8, 12, positions="rotary", recompute=True),
    "swin": lambda: applications.Swin(2, (2,), (2,), 8, 4, input_shape=(16, 16, 3), num_classes=3, drop_path=0.1),
    "text_classifier": lambda: applications.TextClassifier(13, 8, 3, 8, 1, 2, 12),
    "translator": lambda: applications.Translator(13, 1, 2, 8, 12, 11),
    "translator_learned": lambda: applications.Translator(
        13, 1, 2, 8, 12, sequence_length=8, positions="learned", normalize_first=True, logits_bias=True
    ),
    "vit": lambda: applications.ViT(
        4, 1, 2, 8, 12, image_size=8, num_classes=3, distillation_token=True, drop_path=0.1
    ),
}


def inputs_for(model):
    """Arrays in the structure of the model's inputs: pixels, or ids below 3 that every input takes, 0 among them."""

    def values(tensor):
        random = np.random.RandomState(len(tensor.name))
        if len(tensor.shape) == 4:
            return random.uniform(0, 255, (2, *(size or 8 for size in tensor.shape[1:]))).astype("float32")
        return random.randint(0, 2, (2, 6)).astype("int32")

    return keras.tree.map_structure(values, model.input)


def outputs_of(model):
    """The model's outputs as a dict of arrays, by the names of a dict, or numbered."""
    outputs = model(inputs_for(model))
    if not isinstance(outputs, dict):
        outputs = dict(enumerate(outputs if isinstance(outputs, (list, tuple)) else [outputs]))
    return {str(name): keras.ops.convert_to_numpy(value) for name, value in outputs.items()}


def _compress(path):
    """Packs what Keras stores as it is: h5 files of small weights are mostly zeros."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def main():
    """Writes the folder beside this script."""
    FOLDER.mkdir()
    arrays, paths = {}, {}
    for name, make in MODELS.items():
        model = make()
        for weight in model.weights:
            if "seed" not in weight.path:
                weight.assign(seeded.tensor(weight.path, tuple(weight.shape)))
        model.save(FOLDER / f"{name}.keras")
        _compress(FOLDER / f"{name}.keras")
        paths[name] = [weight.path for weight in model.weights if "seed" not in weight.path]
        arrays.update({f"{name}:{output}": value for output, value in outputs_of(model).items()})
    np.savez_compressed(FOLDER / "outputs.npz", paths=json.dumps(paths), **arrays)


if __name__ == "__main__":
    main()
