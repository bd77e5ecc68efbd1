"""How well boxes and labels were found: COCO's average precision, by pycocotools."""

import contextlib
import io

import numpy as np


def average_precision(labels, boxes, found, num_classes=10):
    """Returns COCO's average precision over thresholds of overlap from 0.5 to 0.95 ("mAP"), and at 0.5 ("AP50").

    Args:
        labels: for each image, integers (n,).
        boxes: for each image, its boxes (n, 4), left, top, right and bottom in pixels.
        found: for each image, (labels (m,), boxes (m, 4), scores (m,)).
        num_classes: int.

    Raises:
        ModuleNotFoundError: if pycocotools is missing, with the command that installs it.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Average precision is pycocotools'. Install it: pip install pycocotools.", name=error.name
        ) from error
    with contextlib.redirect_stdout(io.StringIO()):
        truth, answers = COCO(), COCO()
        truth.dataset = _dataset(labels, boxes, num_classes)
        answers.dataset = _dataset([label for label, *_ in found], [box for _, box, _ in found], num_classes)
        for entry, score in zip(
            answers.dataset["annotations"], np.concatenate([scores for *_, scores in found]), strict=True
        ):
            entry["score"] = float(score)
        truth.createIndex()
        answers.createIndex()
        evaluation = COCOeval(truth, answers, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {"mAP": float(evaluation.stats[0]), "AP50": float(evaluation.stats[1])}


def _dataset(labels, boxes, num_classes):
    """Returns labels and boxes in the form of COCO's files."""
    entries = []
    for image, (of_image, its_boxes) in enumerate(zip(labels, boxes, strict=True)):
        for label, (left, top, right, bottom) in zip(of_image, np.asarray(its_boxes, "float64"), strict=True):
            width, height = right - left, bottom - top
            entries.append(
                {
                    "id": len(entries) + 1,
                    "image_id": image,
                    "category_id": int(label),
                    "bbox": [left, top, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                }
            )
    return {
        "info": {},
        "images": [{"id": image} for image in range(len(labels))],
        "categories": [{"id": label} for label in range(num_classes)],
        "annotations": entries,
    }
