"""Makes mixer_tiny.npz: the outputs of small Mixers of `timm`, for tests that run without it.

    python -m tests.golden.make_mixer

needs timm and safetensors; it was run with timm 1.0.31, torch 2.14.1 and torchvision 0.29.1, which do not fit the torch of the
tests. `timm` names patch, depth and width together, so that images are small here and the networks narrow. The weights are those
of `values`; the file holds the configs that `timm` writes, the shapes of the tensors, and the outputs. `timm` makes its model
again from such a folder, with the weights that are written here.

    python -m tests.golden.make_mixer FOLDER

makes the model of a folder that `save_huggingface` wrote, and prints how far its outputs for ones are from those in
`outputs.npy` there.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from . import seeded

CONFIGS = {
    "timm": (
        "mixer_s32_224",
        {"img_size": (64, 96), "in_chans": 1, "num_classes": 3, "mlp_ratio": (0.02, 0.05)},
    ),
    "timm_patches": (
        "mixer_s16_224",
        {"img_size": 32, "in_chans": 1, "num_classes": 0, "mlp_ratio": 0.03, "global_pool": ""},
    ),
    "timm_mean": ("mixer_s32_224", {"img_size": 64, "in_chans": 2, "num_classes": 0, "mlp_ratio": 0.01}),
}


def values(name, shape):
    """The values of a tensor: scales of norms around 1, all else small."""
    scale = np.float32("norm" in name and name.endswith("weight"))
    return scale + seeded.tensor(name, shape) / np.float32(4)


def images(name):
    """Two images of normal numbers, channels last."""
    options = CONFIGS[name][1]
    rows, columns = np.broadcast_to(options["img_size"], 2)
    return np.random.RandomState(0).normal(size=(2, rows, columns, options["in_chans"])).astype("float32")


def outputs(model, pixels):
    """What a model of `timm` gives."""
    import torch

    with torch.no_grad():
        return model.eval()(torch.tensor(pixels.transpose(0, 3, 1, 2).copy())).numpy()


def of_folder(folder):
    """The model that `timm` makes of a folder."""
    import timm

    return timm.create_model(f"local-dir:{folder}", pretrained=True)


def made(name):
    """The outputs of a model, with the config and the shapes of its folder."""
    import timm
    from safetensors.numpy import load_file, save_file
    from timm.models import save_for_hf

    architecture, options = CONFIGS[name]
    with tempfile.TemporaryDirectory() as folder:
        save_for_hf(timm.create_model(architecture, **options), folder, safe_serialization=True)
        file = Path(folder) / "model.safetensors"
        shapes = {each: array.shape for each, array in load_file(file).items()}
        save_file({each: values(each, shape) for each, shape in shapes.items()}, file)
        config = json.loads((Path(folder) / "config.json").read_text())
        return {"config": config, "shapes": shapes}, outputs(of_folder(folder), images(name))


def main(folder=None):
    """Writes the file beside this script, or compares a folder."""
    if folder is not None:
        expected, model = np.load(Path(folder) / "outputs.npy"), of_folder(folder)
        channels, rows, columns = model.pretrained_cfg["input_size"]
        found = outputs(model, np.ones((1, rows, columns, channels), "float32"))
        print(
            f"{model.pretrained_cfg['architecture']}: {np.abs(found - expected).max():.1e} of {np.abs(found).max():.1f}"
        )
        return
    folders, arrays = {}, {}
    for name in CONFIGS:
        folders[name], arrays[name] = made(name)
        print(name, arrays[name].shape, np.abs(arrays[name]).max())
    np.savez_compressed(Path(__file__).with_name("mixer_tiny.npz"), folders=json.dumps(folders), **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
