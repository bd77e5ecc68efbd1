"""Training steps of DETR for `train_step.py`: ours and transformers', on the same images and objects, at the same sizes.

Each candidate is one whole step on one batch: forward, matching, losses of every decoder block, backward, clipping, AdamW.
Ours steps by `train_on_batch`, as `fit` does, and matches inside the compiled step; `transformers.DetrForObjectDetection`
steps in torch, as its users write it, and matches by scipy. The backbone's norms are frozen in both, and so are its first
convolution and stage.
"""

import keras
import numpy as np

from keras_tx.applications import DETR, RESNET_SIZES, resnet_backbone
from keras_tx.losses import SetPredictionLoss, pack_targets

_SIZES = {
    "num_layers": 3,
    "num_heads": 4,
    "hidden_dim": 128,
    "intermediate_dim": 512,
    "num_queries": 20,
    "num_classes": 10,
}
SIZES = {"detr-small": {**_SIZES, "batch": 8, "pixels": 128, "objects": 5, "backbone": "resnet18"}}
RATE, DECAY, CLIP = 1e-4, 1e-4, 0.1


def batch(size, seed=0):
    """Returns images of normal numbers, channels last, and the labels and the boxes (center, size) of their objects."""
    random = np.random.default_rng(seed)
    rows, pixels, objects = size["batch"], size["pixels"], size["objects"]
    images = random.standard_normal((rows, pixels, pixels, 3)).astype("float32")
    labels = random.integers(0, size["num_classes"], (rows, objects))
    boxes = np.concatenate(
        [random.uniform(0.3, 0.7, (rows, objects, 2)), random.uniform(0.1, 0.5, (rows, objects, 2))], -1
    )
    return images, labels, boxes.astype("float32")


def ours(size, dropout, jit):
    options = {name: size[name] for name in _SIZES}
    backbone = resnet_backbone(**RESNET_SIZES[size["backbone"]], input_shape=(size["pixels"], size["pixels"], 3))
    for layer in backbone.layers:
        layer.trainable = not layer.name.startswith(("stem", "stage_0"))
    options |= {"input_shape": backbone.input_shape[1:], "dropout": dropout, "attention_dropout": 0.0}
    model = DETR(backbone=backbone, include_rescaling=False, **options)
    optimizer = keras.optimizers.AdamW(RATE, weight_decay=DECAY, global_clipnorm=CLIP)
    model.compile(optimizer, SetPredictionLoss(), jit_compile=jit)
    images, labels, boxes = batch(size)
    targets = pack_targets(labels, boxes, size["objects"], size["num_classes"], box_format="center_xywh")
    return lambda: float(np.ravel(model.train_on_batch(images, targets))[0])


def transformers(size, dropout, jit):
    import torch
    import transformers

    network = {**RESNET_SIZES[size["backbone"]], "embedding_size": 64}
    network["layer_type"] = "bottleneck" if network.pop("bottleneck") else "basic"
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        backbone_config=transformers.ResNetConfig(**network, out_features=["stage4"]),
        num_queries=size["num_queries"],
        d_model=size["hidden_dim"],
        encoder_layers=size["num_layers"],
        decoder_layers=size["num_layers"],
        encoder_attention_heads=size["num_heads"],
        decoder_attention_heads=size["num_heads"],
        encoder_ffn_dim=size["intermediate_dim"],
        decoder_ffn_dim=size["intermediate_dim"],
        num_labels=size["num_classes"],
        dropout=dropout,
        auxiliary_loss=True,
    )
    model = transformers.DetrForObjectDetection(config).train()
    for name, parameter in model.named_parameters():
        parts = (".embedder.", ".stages.0.")
        if ".backbone." in name:  # which its own code freezes by names that these do not have
            parameter.requires_grad_(not any(part in name for part in parts))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, RATE, weight_decay=DECAY)
    images, labels, boxes = batch(size)
    pixels = torch.tensor(images.transpose(0, 3, 1, 2).copy())
    wanted = [
        {"class_labels": torch.tensor(row), "boxes": torch.tensor(box)} for row, box in zip(labels, boxes, strict=True)
    ]

    def step():
        loss = model(pixels, labels=wanted).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, CLIP)
        optimizer.step()
        return loss.item()

    return step


CANDIDATES = {"keras_tx": ours, "transformers": transformers}
