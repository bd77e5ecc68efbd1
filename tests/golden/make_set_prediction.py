"""Makes set_prediction.npz: DETR's loss of `transformers`, and its gradient, for tests that run without it.

    python -m tests.golden.make_set_prediction

needs torch, scipy and transformers. The predictions and targets are those of `predictions` and `objects`.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

CLASSES, QUERIES, LAYERS = 5, 6, 3
CASES = {  # objects in each image
    "mixed": [3, 0, 2],
    "as_many_as_queries": [6, 1],
    "none": [0, 0],
}
OTHER_WEIGHTS = {"no_object_weight": 0.4, "box_weight": 2.0, "giou_weight": 3.0}


def predictions(case):
    """Logits and boxes (images, layers, queries, classes + 5), with boxes from very small to whole images."""
    random, images = np.random.RandomState(0), len(CASES[case])
    logits = 2 * random.normal(size=(images, LAYERS, QUERIES, CLASSES + 1))
    return np.concatenate([logits, random.uniform(0.01, 0.99, (images, LAYERS, QUERIES, 4))], axis=-1).astype("float32")


def objects(case):
    """The labels of each image, and its boxes as fractions: center, width and height."""
    random = np.random.RandomState(1)
    labels = [random.randint(0, CLASSES, count) for count in CASES[case]]
    sizes = [random.uniform(0.05, 0.5, (count, 2)) for count in CASES[case]]
    return labels, [np.concatenate([random.uniform(size / 2, 1 - size / 2), size], axis=1) for size in sizes]


def reference(case, no_object_weight=0.1, box_weight=5.0, giou_weight=2.0):
    """The loss of transformers and its gradient by the predictions."""
    import torch
    from transformers.loss.loss_for_object_detection import ForObjectDetectionLoss

    config = SimpleNamespace(
        class_cost=1,
        bbox_cost=box_weight,
        giou_cost=giou_weight,
        bbox_loss_coefficient=box_weight,
        giou_loss_coefficient=giou_weight,
        eos_coefficient=no_object_weight,
        num_labels=CLASSES,
        auxiliary_loss=True,
        decoder_layers=LAYERS,
    )
    outputs = torch.tensor(predictions(case), requires_grad=True)
    logits, boxes = outputs[..., :-4].transpose(0, 1), outputs[..., -4:].transpose(0, 1)
    targets = [
        {"class_labels": torch.tensor(labels, dtype=torch.int64), "boxes": torch.tensor(found, dtype=torch.float32)}
        for labels, found in zip(*objects(case), strict=True)
    ]
    loss, *_ = ForObjectDetectionLoss(logits[-1], targets, "cpu", boxes[-1], config, logits, boxes)
    loss.backward()
    return loss.detach().numpy(), outputs.grad.numpy()


def main():
    """Writes the file beside this one."""
    found = {case: reference(case) for case in CASES} | {"other_weights": reference("mixed", **OTHER_WEIGHTS)}
    arrays = {}
    for name, (loss, gradient) in found.items():
        arrays |= {f"{name}/loss": loss, f"{name}/gradient": gradient}
    np.savez_compressed(Path(__file__).with_name("set_prediction.npz"), **arrays)


if __name__ == "__main__":
    main()
