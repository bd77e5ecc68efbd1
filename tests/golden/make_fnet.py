"""Makes fnet_tiny.npz: the outputs of small models of `transformers`, for tests that run without it.

    python -m tests.golden.make_fnet

needs torch and transformers. The weights are those of `seeded.tensor`; the file holds the configs, the shapes of the tensors,
the inputs and the outputs. Padding is among the inputs, and is mixed as other tokens are.
"""

import json
from pathlib import Path

import numpy as np

from . import make_bert, seeded

SIZES = {name: size for name, size in make_bert.SIZES.items() if name != "num_attention_heads"}
CONFIGS = {
    "fnet": ("FNetModel", SIZES),
    "fnet_pretraining": ("FNetForPreTraining", {**SIZES, "hidden_act": "relu", "type_vocab_size": 3}),
    "fnet_classifier": ("FNetForSequenceClassification", {**SIZES, "num_hidden_layers": 1, "num_labels": 3}),
}


def outputs(model, ids, segments):
    """What a model of `transformers` gives, by the names of this package."""
    import torch

    tensors = {"input_ids": ids, "token_type_ids": segments}
    with torch.no_grad():
        found = model(**{name: torch.tensor(np.asarray(value, "int64")) for name, value in tensors.items()})
    return {make_bert.OUTPUTS.get(name, "logits"): value.numpy() for name, value in found.items()}


def main():
    """Writes the file beside this script."""
    import transformers

    arrays, folders = {}, {}
    for name, (architecture, options) in CONFIGS.items():
        model = getattr(transformers, architecture)(transformers.FNetConfig(**options))
        model, config, shapes = seeded.reloaded(model)
        folders[name] = {"config": config, "shapes": shapes}
        ids, segments = arrays[f"{name}/token_ids"], arrays[f"{name}/segment_ids"] = make_bert.inputs(3)
        found = outputs(model, ids, segments)
        arrays.update({f"{name}/outputs/{output}": value for output, value in found.items()})
    np.savez_compressed(Path(__file__).with_name("fnet_tiny.npz"), folders=json.dumps(folders), **arrays)


if __name__ == "__main__":
    main()
