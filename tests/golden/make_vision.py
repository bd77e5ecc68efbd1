"""Makes vision_tiny.npz: the outputs of small models of `transformers`, for tests that run without it.

    python -m tests.golden.make_vision

needs torch and transformers. The weights are those of `seeded.tensor`; the file holds the configs, the names and shapes of
the tensors, and the outputs. The images are those of `images`.
"""

import copy
import json
from pathlib import Path

import numpy as np

from . import seeded

_SIZES = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20}
_VIT = {**_SIZES, "image_size": 16, "patch_size": 4, "num_labels": 3}
_SWIN = {"embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "image_size": 24, "patch_size": 4, "window_size": 3}
CONFIGS = {  # architecture, config, sizes of images
    "vit": ("ViTForImageClassification", _VIT, [(16, 16), (28, 36)]),
    "vit_base": (
        "ViTModel",
        {**_SIZES, "image_size": [28, 36], "patch_size": [4, 6], "num_channels": 2, "hidden_act": "gelu_new"},
        [(28, 36)],
    ),
    "deit_teacher": ("DeiTForImageClassificationWithTeacher", _VIT, [(28, 36)]),
    "deit": ("DeiTForImageClassification", {**_VIT, "hidden_act": "relu", "layer_norm_eps": 1e-2}, [(8, 12)]),
    "deit_base": ("DeiTModel", _SIZES | {"image_size": 12, "patch_size": 4}, [(12, 12)]),
    # Maps of 9 x 7 and 5 x 4, which a window of 3 does not divide, from an image that the patch does not; of 6 x 6 and 3 x 3.
    "swin": ("SwinForImageClassification", {**_SWIN, "num_labels": 3}, [(33, 28), (24, 24)]),
    "swin_base": (
        "SwinModel",
        {
            **_SWIN,
            "depths": [1, 2, 1],
            "num_heads": [2, 4, 1],
            "mlp_ratio": 2.5,
            "window_size": 2,
            "hidden_act": "silu",
        },
        [(28, 36)],
    ),
}


def images(name, size):
    """Two images of normal numbers, channels last."""
    channels = CONFIGS[name][1].get("num_channels", 3)
    return np.random.RandomState(0).normal(size=(2, *size, channels)).astype("float32")


def random_model(name):
    """A model of `transformers` with random weights, none of which is zero."""
    import torch
    import transformers

    architecture, options, _ = CONFIGS[name]
    kind = getattr(transformers, architecture.split("For")[0].removesuffix("Model") + "Config")
    model = getattr(transformers, architecture)(kind(**options)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=generator)
    return model


def outputs(model, name, size):
    """What a model of `transformers` gives: logits, or what this package gives without a head."""
    import torch

    pixels = torch.tensor(images(name, size).transpose(0, 3, 1, 2).copy())
    resampled = (
        {} if "swin" in name or len(set(size)) == 1 or name == "vit_base" else {"interpolate_pos_encoding": True}
    )
    with torch.no_grad():  # a copy, because a small image changes the windows of a Swin for good
        found = copy.deepcopy(model)(pixels, **resampled)
    if hasattr(found, "logits"):
        return found.logits.numpy()
    tokens = found.last_hidden_state.numpy()
    return tokens.reshape(2, 2, 3, -1) if "swin" in name else tokens  # 7 x 9 patches, halved twice


def main():
    """Writes the file beside this script."""
    arrays, folders = {}, {}
    for name, (_, _, sizes) in CONFIGS.items():
        model, config, shapes = seeded.reloaded(random_model(name))
        folders[name] = {"config": config, "shapes": shapes}
        for size in sizes:
            arrays[f"{name}/{size[0]}x{size[1]}"] = outputs(model, name, size)
    np.savez_compressed(Path(__file__).with_name("vision_tiny.npz"), folders=json.dumps(folders), **arrays)


if __name__ == "__main__":
    main()
