"""Endless canvases with handwritten digits to be found: real digits of random size, on grounds with noise and scratches.

The digits are MNIST's (see `image_data.py`). A canvas is composed anew each time: 1 to 4 digits, the longer side of their ink
from 16 to 32 of 64 pixels, placed so that they may touch but hardly overlap, on a ground that brightens to one side, with
noise and up to three scratches. The box of a digit is that of its ink. Test canvases are made of digits that are in no
training canvas.
"""

import functools

import keras
import numpy as np
from PIL import Image

import keras_tx

CANVAS = 64
SIZES = (16, 32)  # of the longer side of a digit's ink, in pixels
MOST = 4  # digits on a canvas
NO_DIGIT = 10  # the class of a place without one
OVERLAP = 0.1  # of the smaller box's area, that another box may cover
INK = 96  # of 255: where a digit's ink begins, for its box
SCRATCHES = 3
_ALONG = np.linspace(-0.5, 0.5, CANVAS, dtype="float32")


class Digits:
    """The digits (N, 28, 28, 1), uint8, cut out at their ink, and their labels."""

    def __init__(self, images, labels):
        self.labels = labels
        self.cuts = [Image.fromarray(cut_out(image[..., 0])) for image in images]
        self.scaled = functools.lru_cache(maxsize=None)(self._scaled)

    def _scaled(self, number, size):
        """Returns a digit, floats from 0 to 1, whose longer side has `size` pixels."""
        cut = self.cuts[number]
        factor = size / max(cut.size)
        columns, rows = (max(2, round(side * factor)) for side in cut.size)
        return np.asarray(cut.resize((columns, rows), Image.Resampling.BICUBIC), "float32") / 255


def cut_out(image):
    """Returns the part of an image, bytes (Y, X), with ink in its first and last row and column."""
    rows, columns = np.flatnonzero((image >= INK).any(1)), np.flatnonzero((image >= INK).any(0))
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def compose(digits, random):
    """Returns a new canvas: its pixels, bytes (CANVAS, CANVAS, 1), the labels (n,) and the boxes (n, 4) in pixels.

    Boxes are left, top, right and bottom.
    """
    labels, boxes = [], []
    ink = np.zeros((CANVAS, CANVAS), "float32")
    for number in random.integers(len(digits.labels), size=random.integers(1, MOST + 1)):
        digit = digits.scaled(number, int(random.integers(SIZES[0], SIZES[1] + 1)))
        box = _free_place(*digit.shape, boxes, random)
        if box is not None:
            left, top, right, bottom = box
            part = ink[top:bottom, left:right]
            np.maximum(part, digit * np.float32(random.uniform(0.6, 1.0)), out=part)
            labels.append(digits.labels[number])
            boxes.append(box)
    for _ in range(random.integers(SCRATCHES + 1)):
        _scratch(ink, random)
    level, down, across = random.uniform([0.0, -0.15, -0.15], [0.25, 0.15, 0.15]).astype("float32")
    pixels = random.standard_normal((CANVAS, CANVAS), "float32")
    pixels *= random.uniform(0.02, 0.1)
    pixels += level + down * _ALONG[:, None] + across * _ALONG
    pixels += (1 - level) * ink
    return (255 * pixels.clip(0, 1)).astype("uint8")[..., None], np.array(labels), np.array(boxes, "float64")


def _free_place(rows, columns, boxes, random, tries=20):
    """Returns a box on the canvas, of so many rows and columns, that shares little with the boxes there, or `None`."""
    starts = random.integers([CANVAS - columns + 1, CANVAS - rows + 1], size=(tries, 2)).tolist()
    for left, top in starts:
        for x0, y0, x1, y1 in boxes:
            common = max(0, min(left + columns, x1) - max(left, x0)) * max(0, min(top + rows, y1) - max(top, y0))
            if common > OVERLAP * min(rows * columns, (x1 - x0) * (y1 - y0)):
                break
        else:
            return left, top, left + columns, top + rows
    return None


def _scratch(ink, random):
    """Draws a thin straight line, 6 to 24 pixels long."""
    row, column, angle, length, shade = random.uniform([0, 0, 0, 6, 0.3], [CANVAS, CANVAS, np.pi, 24, 0.7])
    rows, columns = (
        (row + length * np.sin(angle) * _ALONG).astype(int),
        (column + length * np.cos(angle) * _ALONG).astype(int),
    )
    inside = (rows >= 0) & (rows < CANVAS) & (columns >= 0) & (columns < CANVAS)
    ink[rows[inside], columns[inside]] = shade


def compose_many(digits, count, seed):
    """Returns `count` canvases, bytes (count, CANVAS, CANVAS, 1), and for each its labels and its boxes in pixels."""
    random = np.random.default_rng(seed)
    pixels, labels, boxes = zip(*(compose(digits, random) for _ in range(count)), strict=True)
    return np.stack(pixels), list(labels), list(boxes)


class Canvases(keras.utils.PyDataset):
    """Batches of new canvases and their targets, in each epoch others."""

    def __init__(self, digits, batch_size, steps, seed=0):
        super().__init__(workers=1, max_queue_size=8)
        self.digits, self.batch_size, self.steps, self.seed, self.epoch = digits, batch_size, steps, seed, 0

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        pixels, labels, boxes = compose_many(self.digits, self.batch_size, (self.seed, self.epoch, index))
        return pixels.astype("float32"), targets(labels, boxes)

    def on_epoch_end(self):
        self.epoch += 1


def targets(labels, boxes):
    """Returns labels and boxes as `keras_tx.losses.SetPredictionLoss` takes them."""
    return keras_tx.losses.pack_targets(labels, boxes, MOST, 10, image_size=(CANVAS, CANVAS))
