"""Two detectors without attention: a classifier of windows that slide over the canvas, and one of connected ink.

Both ask the same small convolutional network, which knows ten digits and "no digit" and is trained on windows of the training
canvases. The windows are squares whose side is 1.25 of the longer side of the digit that they are for.
"""

import detection_data as data
import keras
import numpy as np
from PIL import Image
from scipy import ndimage

WINDOW = 28  # pixels of what the network sees
MARGIN = 1.25
SIDES = (21, 25, 30, 35, 40)  # of the sliding windows, in pixels of the canvas
STEP = 4  # of the sliding windows, in the network's pixels
BORDER = 24  # pixels around a canvas, which repeat its edge
SAME = 0.3  # the overlap above which the less likely of two boxes is dropped


def window(canvas, center, side):
    """Returns the square of a canvas, bytes (Y, X, 1), around a place (x, y), in the network's size."""
    padded = Image.fromarray(np.pad(canvas[..., 0], BORDER, mode="edge"))
    left, top = (float(np.clip(place + BORDER - side / 2, 0, padded.width - side)) for place in center)
    size = (WINDOW, WINDOW)
    return np.asarray(padded.resize(size, Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)))


def windows_of(pixels, labels, boxes, random):
    """Returns windows (n, 28, 28, 1) of canvases, and what is in them: digits, not quite in the middle, and as many misses."""
    found, classes = [], []
    for canvas, its_labels, its_boxes in zip(pixels, labels, boxes, strict=True):
        centers, sides = middle(its_boxes), MARGIN * (its_boxes[:, 2:] - its_boxes[:, :2]).max(1)
        for label, center, side in zip(its_labels, centers, sides, strict=True):
            moved = center + side * random.uniform(-0.08, 0.08, 2)
            found.append(window(canvas, moved, side * random.uniform(0.9, 1.12)))
            classes.append(label)
            # A miss is a place anywhere, or one beside the digit; of any size.
            away = random.uniform(0, data.CANVAS, 2)
            if random.uniform() < 0.5:
                away = center + side * random.uniform(0.2, 0.6) * random.choice([-1, 1], 2)
            size = random.uniform(SIDES[0], SIDES[-1])
            near = (np.abs(centers - away).max(1) < 0.17 * sides) & (np.abs(np.log(size / sides)) < 0.25)
            if not near.any():
                found.append(window(canvas, away, size))
                classes.append(data.NO_DIGIT)
    return np.stack(found)[..., None], np.array(classes)


def middle(boxes):
    """Returns the centers (x, y) of boxes."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def make_classifier():
    """Returns a small convolutional network from windows of pixels 0 to 255 to logits of the digits and of none."""
    images = keras.Input((WINDOW, WINDOW, 1))
    x = keras.layers.Rescaling(1 / 255)(images)
    for filters in (16, 32):
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Dense(128, activation="relu")(keras.layers.Flatten()(x))
    x = keras.layers.Dropout(0.3)(x)
    return keras.Model(images, keras.layers.Dense(data.NO_DIGIT + 1)(x), name="classifier")


def train_classifier(digits, canvases, epochs, seed=1):
    """Returns the network, trained on the windows of so many canvases."""
    windows, classes = windows_of(*data.compose_many(digits, canvases, seed), np.random.default_rng(seed))
    model = make_classifier()
    steps = max(1, epochs * len(windows) // 100)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    model.fit(windows.astype("float32"), classes, batch_size=100, epochs=epochs, verbose=2)
    return model


def classify(model, windows):
    """Returns the probabilities of the digits (n, 10), which sum to 1 with that of none."""
    if not len(windows):
        return np.zeros((0, data.NO_DIGIT))
    logits = model.predict(windows[..., None].astype("float32"), batch_size=500, verbose=0)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return (shares / shares.sum(1, keepdims=True))[:, : data.NO_DIGIT]


def proportions(digits):
    """Returns the mean width and height of each digit, (10, 2), in units of the longer side."""
    sizes = np.array([cut.size for cut in digits.cuts], float)
    sizes /= sizes.max(1, keepdims=True)
    return np.stack([sizes[digits.labels == label].mean(0) for label in range(data.NO_DIGIT)])


def slide(model, shapes, pixels, least=0.05):
    """Returns what windows of all places and sizes find: labels, boxes, scores of each canvas, the likeliest of what overlaps.

    Args:
        model: the classifier.
        shapes: array (10, 2), the width and height of each digit that `proportions` gives, by which a window becomes a box.
        pixels: canvases (B, Y, X, 1), bytes.
        least: float, the probability below which a window is left out.
    """
    found = []
    for canvas in pixels:
        padded = Image.fromarray(np.pad(canvas[..., 0], BORDER, mode="edge"))
        windows, centers, sides = [], [], []
        for side in SIDES:
            scale = WINDOW / side
            size = round(padded.width * scale)
            scaled = np.asarray(padded.resize((size, size), Image.Resampling.BILINEAR))
            views = np.lib.stride_tricks.sliding_window_view(scaled, (WINDOW, WINDOW))[::STEP, ::STEP]
            places = (np.arange(len(views)) * STEP + WINDOW / 2) * padded.width / size - BORDER
            inside = np.flatnonzero((places > side / 4) & (places < data.CANVAS - side / 4))
            windows.append(views[np.ix_(inside, inside)].reshape(-1, WINDOW, WINDOW))
            rows, columns = np.meshgrid(places[inside], places[inside], indexing="ij")
            centers.append(np.stack([columns.ravel(), rows.ravel()], 1))
            sides.append(np.full(rows.size, side / MARGIN))
        found.append((np.concatenate(windows), np.concatenate(centers), np.concatenate(sides)))
    likely = np.split(
        classify(model, np.concatenate([windows for windows, *_ in found])),
        np.cumsum([len(windows) for windows, *_ in found])[:-1],
    )
    answers = []
    for probabilities, (_, centers, sides) in zip(likely, found, strict=True):
        labels, scores = probabilities.argmax(1), probabilities.max(1)
        half = np.maximum(sides[:, None] * shapes[labels] / 2, 1)
        boxes = np.concatenate([centers - half, centers + half], 1).clip(0, data.CANVAS)
        kept = suppress(boxes, np.where(scores >= least, scores, 0))
        answers.append((labels[kept], boxes[kept], scores[kept]))
    return answers


def suppress(boxes, scores):
    """Returns the places of boxes with a score that overlap no likelier one, the likeliest first (non-maximum suppression)."""
    kept = []
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    waiting = [place for place in np.argsort(-scores) if scores[place] > 0]
    while waiting:
        first, rest = waiting[0], np.array(waiting[1:], int)
        kept.append(first)
        sides = np.minimum(boxes[rest, 2:], boxes[first, 2:]) - np.maximum(boxes[rest, :2], boxes[first, :2])
        common = sides.clip(0).prod(1)
        waiting = rest[common <= SAME * (areas[rest] + areas[first] - common)].tolist()
    return np.array(kept, int)


def connect(model, pixels):
    """Returns what the pieces of connected ink are: labels, boxes and scores of each canvas.

    Ink is what is brighter, in a canvas that is smoothed a little against noise, than its ground by about a third of what the
    brightest pixels are; the ground is a low percentile of what stands around.
    """
    windows, boxes = [], []
    for canvas in pixels:
        smooth = ndimage.gaussian_filter(canvas[..., 0].astype("float32"), 0.6)
        ground = ndimage.gaussian_filter(ndimage.percentile_filter(smooth, 30, size=33), 8)
        above = smooth - ground
        pieces, _ = ndimage.label(above > 0.35 * np.percentile(above, 99), structure=np.ones((3, 3)))
        places = [
            (columns.start, rows.start, columns.stop, rows.stop) for rows, columns in ndimage.find_objects(pieces)
        ]
        of_canvas = np.array(places, float).reshape(-1, 4)
        of_canvas = of_canvas[(of_canvas[:, 2:] - of_canvas[:, :2]).max(1) >= data.SIZES[0] / 2]
        sides = MARGIN * (of_canvas[:, 2:] - of_canvas[:, :2]).max(1)
        windows += [window(canvas, center, side) for center, side in zip(middle(of_canvas), sides, strict=True)]
        boxes.append(of_canvas)
    likely = np.split(classify(model, np.array(windows)), np.cumsum([len(each) for each in boxes])[:-1])
    return [
        (probabilities.argmax(1), of_canvas, probabilities.max(1))
        for probabilities, of_canvas in zip(likely, boxes, strict=True)
    ]
