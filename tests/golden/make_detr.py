"""Makes detr_tiny.npz: the outputs of small models of `transformers`, for tests that run without it.

    python -m tests.golden.make_detr

needs torch and transformers. The weights are those of `values`; the file holds the configs, the names and shapes of the tensors,
and what comes of the images of `images`, without a mask and with that of `MASK`.
"""

import json
from pathlib import Path

import numpy as np

from . import seeded

_SIZES = {
    "num_queries": 5,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 20),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2),
    "num_labels": 3,
}
_BASIC = {"embedding_size": 6, "hidden_sizes": [6, 8], "depths": [2, 1], "layer_type": "basic"}
_BOTTLENECK = {"embedding_size": 4, "hidden_sizes": [8, 16, 16], "depths": [1, 2, 1], "layer_type": "bottleneck"}
CONFIGS = {
    "detr": (_SIZES, _BASIC),
    "detr_deep": (
        {**_SIZES, "encoder_layers": 1, "activation_function": "gelu", "num_labels": 1},
        _BOTTLENECK,
    ),
}
MASK = np.zeros((2, 37, 50), dtype="int64")
MASK[0, :, :41] = MASK[1, :22, :] = 1


def images(mask):
    """Two images of normal numbers, channels last, zero where the mask says that nothing is."""
    pixels = np.random.RandomState(0).normal(size=(2, 37, 50, 3)).astype("float32")
    return pixels if mask is None else pixels * mask[..., None].astype("float32")


def values(name, shape):
    """The values of a tensor: scales and variances lie around 1, maps and queries are large, so that each query finds its own."""
    if name.endswith("running_var") or "normalization.weight" in name:
        return 1 + seeded.tensor(name, shape)
    is_large = len(shape) == 2 and name.startswith("model.")
    return seeded.tensor(name, shape) * np.float32(2 if is_large else 1)


def model(name, seed=None):
    """A model of `transformers`, of the weights of the names, or random ones of a seed."""
    import torch
    import transformers

    options, network = CONFIGS[name]
    network = transformers.ResNetConfig(**network, out_features=[f"stage{len(network['depths'])}"])
    config = transformers.DetrConfig(**options, use_timm_backbone=False, backbone_config=network)
    made = transformers.DetrForObjectDetection(config).eval()
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for each, tensor in made.state_dict().items():
                drawn = 0.1 + torch.rand(tensor.shape, generator=generator)
                tensor.copy_(drawn if each.endswith(("running_var", "norm.weight")) else 0.6 * (drawn - 0.6))
    return made


def outputs(made, mask):
    """What a model of `transformers` gives, in the one tensor of this package."""
    import torch

    pixels = torch.tensor(images(mask).transpose(0, 3, 1, 2).copy())
    mask = None if mask is None else torch.tensor(mask)
    with torch.no_grad():
        found = made(pixels, pixel_mask=mask)
    return torch.cat([found.logits, found.pred_boxes], dim=-1)[:, None].numpy()


def main():
    """Writes the file beside this script."""
    arrays, folders = {}, {}
    for name in CONFIGS:
        made, config, shapes = seeded.reloaded(model(name), values)
        folders[name] = {"config": config, "shapes": shapes}
        arrays[f"{name}/whole"], arrays[f"{name}/padded"] = outputs(made, None), outputs(made, MASK)
    np.savez_compressed(Path(__file__).with_name("detr_tiny.npz"), folders=json.dumps(folders), **arrays)


if __name__ == "__main__":
    main()
