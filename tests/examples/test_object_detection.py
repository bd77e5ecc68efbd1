"""The example of detection: its canvases, its measure, the detectors it is compared with, and its whole job on few steps."""

import json
import sys

import keras
import numpy as np
import pytest

pytest.importorskip("PIL")
pytest.importorskip("scipy")

import detection_baselines as baselines
import detection_data as data
import detection_metrics
import detection_stem
import image_data
import object_detection as example

BOXES = np.array([[8, 8, 28, 28], [36, 30, 52, 54]], float)


@pytest.fixture(scope="module")
def digits():
    images = image_data.load()
    return data.Digits(images.train[::80], images.train_labels[::80])


@pytest.fixture
def canvas():
    """Two bright boxes on a dark ground."""
    pixels = np.full((data.CANVAS, data.CANVAS, 1), 20, "uint8")
    for left, top, right, bottom in BOXES.astype(int):
        pixels[top:bottom, left:right] = 220
    return pixels


@pytest.mark.once
def test_boxes_are_those_of_the_ink_and_share_little(digits):
    pixels, labels, boxes = data.compose_many(digits, 40, 0)
    assert (pixels.shape, pixels.dtype) == ((40, data.CANVAS, data.CANVAS, 1), np.uint8)
    assert {len(each) for each in labels} == {1, 2, 3, 4}
    for canvas, its_labels, its_boxes in zip(pixels, labels, boxes, strict=True):
        assert its_boxes.shape == (len(its_labels), 4)
        assert its_boxes.min() >= 0
        assert its_boxes.max() <= data.CANVAS
        longer = (its_boxes[:, 2:] - its_boxes[:, :2]).max(1)
        assert data.SIZES[0] <= longer.min() <= longer.max() <= data.SIZES[1]
        for left, top, right, bottom in its_boxes.astype(int):
            assert canvas[top:bottom, left:right].max() >= np.median(canvas) + 60
    packed = data.targets(labels, boxes)
    np.testing.assert_array_equal((packed[..., 0] >= 0).sum(1), [len(each) for each in labels])


@pytest.mark.once
def test_a_digit_is_cut_at_its_ink_and_scaled_by_its_longer_side(digits):
    image = np.zeros((28, 28), "uint8")
    image[5:15, 10:14] = 200
    image[4, 12] = data.INK - 1  # too faint to count
    assert data.cut_out(image).shape == (10, 4)
    for size in data.SIZES:
        assert max(digits.scaled(3, size).shape) == size


@pytest.mark.once
def test_no_canvas_comes_twice_and_a_seed_gives_the_same_ones(digits):
    first, again = (data.Canvases(digits, 3, 2, seed=5) for _ in range(2))
    seen = [first[index][0] for index in range(2)]
    np.testing.assert_array_equal(again[1][0], seen[1])
    first.on_epoch_end()
    seen += [first[index][0] for index in range(2)]
    assert len(np.unique(np.concatenate(seen).reshape(12, -1), axis=0)) == 12


@pytest.mark.once
def test_average_precision_counts_classes_overlap_and_scores():
    pytest.importorskip("pycocotools")
    labels, boxes = [np.array([1, 2]), np.array([], int)], [BOXES, np.zeros((0, 4))]
    none = (np.zeros(0, int), np.zeros((0, 4)), np.zeros(0))
    scores = np.array([0.9, 0.8])

    def precision(*found):
        return detection_metrics.average_precision(labels, boxes, [found, none])

    assert precision(labels[0], BOXES, scores) == pytest.approx({"mAP": 1.0, "AP50": 1.0})
    assert precision(labels[0][::-1], BOXES, scores) == {"mAP": 0.0, "AP50": 0.0}
    moved = BOXES + [
        [0, 0, 0, 0],
        [3, 0, 3, 0],
    ]  # of 16 columns: an overlap of 13 / 19 = 0.684, thus 4 of 10 thresholds
    assert precision(labels[0], moved, scores) == pytest.approx({"mAP": 0.7, "AP50": 1.0})
    assert precision(*none) == {"mAP": 0.0, "AP50": 0.0}


@pytest.mark.once
def test_the_likeliest_of_boxes_that_overlap_is_kept():
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [20, 0, 30, 10], [0, 0, 10, 10]], float)
    assert baselines.suppress(boxes, np.array([0.5, 0.9, 0.3, 0.0])).tolist() == [1, 2]
    assert baselines.suppress(boxes[:0], np.zeros(0)).tolist() == []


@pytest.mark.once
def test_connected_ink_has_its_own_boxes(canvas, monkeypatch):
    monkeypatch.setattr(baselines, "classify", lambda model, windows: np.tile(np.eye(10)[4], (len(windows), 1)))
    empty = np.full_like(canvas, 20)
    found, nothing = baselines.connect(None, np.stack([canvas, empty]))
    np.testing.assert_allclose(found[1][np.argsort(found[1][:, 0])], BOXES, atol=1)
    assert found[0].tolist() == [4, 4]
    assert nothing[1].shape == (0, 4)


@pytest.mark.once
def test_sliding_windows_find_places_and_sizes(canvas, monkeypatch):
    def brightness(model, windows):
        """More the brighter the middle is and the darker the border."""
        middle = windows[:, 6:-6, 6:-6].mean((1, 2))
        border = np.concatenate(
            [windows[:, :2].reshape(len(windows), -1), windows[:, :, :2].reshape(len(windows), -1)], 1
        )
        return np.eye(10)[0] * np.clip(middle - 2 * border.mean(1), 1, None)[:, None] / 255

    monkeypatch.setattr(baselines, "classify", brightness)
    (labels, boxes, scores), again = baselines.slide(None, np.ones((10, 2)), np.stack([canvas, canvas]), least=0.3)
    assert set(labels) == {0}
    assert np.all(np.diff(scores) <= 0)
    np.testing.assert_allclose(boxes, again[1])
    for box in BOXES:
        assert np.abs(baselines.middle(boxes) - baselines.middle(box[None])).max(1).min() < 4


@pytest.mark.once
def test_windows_are_of_digits_and_of_places_without_one(digits):
    windows, classes = baselines.windows_of(*data.compose_many(digits, 10, 1), np.random.default_rng(0))
    assert windows.shape == (len(classes), 28, 28, 1)
    assert set(classes) > {data.NO_DIGIT}
    assert baselines.make_classifier().output_shape == (None, data.NO_DIGIT + 1)
    shapes = baselines.proportions(digits)
    assert shapes.shape == (10, 2)
    assert shapes[1, 0] < 0.5 < shapes[0, 0]  # a one is narrow


@pytest.mark.once
def test_cells_have_the_digit_whose_box_their_middle_is_in():
    targets = data.targets(
        [np.array([3, 7]), np.array([], int)], [np.array([[0, 0, 16, 32], [12, 0, 32, 8.0]]), np.zeros((0, 4))]
    )
    found = detection_stem.digits_of_cells(targets, 4)  # cells of 16 pixels, whose middles are 8, 24, ...
    no = data.NO_DIGIT
    np.testing.assert_array_equal(found[0], [[3, no, no, no], [3, no, no, no], [no] * 4, [no] * 4])
    assert set(found[1].flat) == {no}
    batch, cells = detection_stem.Cells(data.Digits(*_one_digit()), 8, 2, 1)[0]
    assert (batch.shape, cells.shape) == ((2, data.CANVAS, data.CANVAS, 1), (2, 8, 8))
    assert set(cells.flat) == {4, no}


def _one_digit():
    image = np.zeros((1, 28, 28, 1), "uint8")
    image[:, 6:22, 8:20] = 255
    return image, np.array([4])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_job_ends_with_precision_pictures_and_served_files(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pycocotools")
    small = {"num_queries": 5, "num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8, "dropout": 0.0}
    monkeypatch.setattr(example, "MODEL", small)
    monkeypatch.setattr(detection_stem, "STEM", ((4, 4, 4), (8, 3, 4)))
    monkeypatch.setattr(example, "BATCH", 4)
    monkeypatch.setattr(detection_stem, "BATCH", 4)
    monkeypatch.setattr(baselines, "STEP", 12)  # a ninth of the windows
    monkeypatch.setattr(sys, "argv", ["object_detection.py", "--quick", "--output", str(tmp_path)])
    example.main()
    lines = capsys.readouterr().out.strip().splitlines()
    result = json.loads(lines[-1])
    assert result["steps"] == 4
    assert np.isfinite(result["loss"])
    assert set(result["precision"]) == {"DETR", "sliding windows, non-maximum suppression", "connected ink"}
    for name in ("boxes.png", "queries.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert keras.models.load_model(tmp_path / "model.keras").output_shape == (None, 1, 5, 15)
    if keras.backend.backend() == "tensorflow":
        assert sum(".png: " in line for line in lines) == example.SHOWN
        assert (tmp_path / "saved_model" / "saved_model.pb").exists()
