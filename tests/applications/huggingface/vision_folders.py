"""Folders of ViT, DeiT and Swin put together without `transformers`, and models of such sizes."""

import json
from pathlib import Path

import numpy as np

from ...golden import seeded
from . import folders

with np.load(Path(__file__).parents[2] / "golden" / "vision_tiny.npz") as file:
    GOLDEN = dict(file)
_FOLDERS = json.loads(str(GOLDEN["folders"]))
CONFIGS = {name: folder["config"] for name, folder in _FOLDERS.items()}
# Arguments of a small `ViT` and a small `Swin`.
VIT = {
    "patch_size": 4,
    "num_layers": 2,
    "num_heads": 3,
    "hidden_dim": 12,
    "intermediate_dim": 20,
    "image_size": 16,
    "num_classes": 3,
    "layer_norm_epsilon": 1e-5,
}
SWIN = {
    "num_layers": (1, 2),
    "num_heads": (1, 2),
    "hidden_dim": 8,
    "window_size": 3,
    "mlp_ratio": 2,
    "num_classes": 3,
    "mask_padding": False,
}


def tensors(name):
    """The tensors of a folder, each with the values of its name."""
    return {tensor: seeded.tensor(tensor, tuple(shape)) for tensor, shape in _FOLDERS[name]["shapes"].items()}


def write(folder, name, config=None, arrays=None, dtype="F32", num_shards=1):
    """Writes a folder; returns its path as a str."""
    return folders.write(
        folder, CONFIGS[name] if config is None else config, arrays or tensors(name), dtype, num_shards
    )
