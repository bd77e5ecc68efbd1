"""What `visual_questions.py` trains with: the network that looks at regions, and batches of captions and of questions."""

import time

import keras
import numpy as np
import scenes
import visual_questions_shown as shown

from keras_tx import pretraining

FEATURES, BATCH, RATE = 64, 128, 1e-3


class Cosine(keras.callbacks.Callback):
    """A rate that rises for a tenth of the steps and then falls as a cosine: one compiled step serves for any number of steps."""

    def __init__(self, peak, steps):
        super().__init__()
        self.peak, self.steps, self.step = peak, steps, 0

    def on_train_batch_begin(self, batch, logs=None):
        warm_up = max(1, self.steps // 10)
        falling = 0.5 * (1 + np.cos(np.pi * max(0, self.step - warm_up) / max(1, self.steps - warm_up)))
        self.model.optimizer.learning_rate = self.peak * min((self.step + 1) / warm_up, falling)
        self.step += 1


def fit(model, batches, steps, losses, rate=RATE, jit=True):
    """Trains on endless batches; returns seconds a step, the first two, which compile, apart."""
    if not model.compiled:
        optimizer, is_long = keras.optimizers.AdamW(rate, weight_decay=0.01, clipnorm=1.0), steps > 10
        model.compile(
            optimizer, losses, jit_compile=jit and is_long, run_eagerly=not is_long
        )  # a compilation takes a minute
    schedule, start = Cosine(rate, steps), time.perf_counter()
    model.fit(batches, steps_per_epoch=2, verbose=0, shuffle=False, callbacks=[schedule])
    first, start = time.perf_counter() - start, time.perf_counter()
    history = model.fit(
        batches, steps_per_epoch=max(1, steps - 2), verbose=0, shuffle=False, callbacks=[schedule]
    ).history
    seconds = time.perf_counter() - start
    model.jit_compile = False  # predictions are few, and of several sizes
    print(
        f"{model.name}: {steps} steps, loss {history['loss'][-1]:.4f}, {first:.0f} s to compile and {seconds:.0f} s",
        flush=True,
    )
    return seconds / max(1, steps - 2)


def make_detector():
    """Returns the network from crops, floats from 0 to 255, to logits of digits and colours, by its layer "features"."""
    x = pixels = keras.Input((scenes.SIZE, scenes.SIZE, 3), name="crops")
    x = keras.layers.Rescaling(1 / 255)(x)
    for width, stride in ((16, 1), (32, 2), (64, 2)):
        x = keras.layers.Conv2D(width, 3, stride, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Dropout(0.3)(keras.layers.Flatten()(x))
    x = keras.layers.Dense(FEATURES, activation="relu", name="features")(x)
    outputs = {
        "digit": keras.layers.Dense(10, name="digit")(x),
        "color": keras.layers.Dense(len(scenes.NAMES), name="color")(x),
    }
    return keras.Model(pixels, outputs, name="detector")


def train_detector(images, labels, steps):
    """Returns the model from crops to features and the probabilities of digits."""
    random = np.random.default_rng(3)
    change = [
        keras.layers.RandomTranslation(0.1, 0.1, fill_mode="constant", interpolation="nearest"),  # by whole pixels
        keras.layers.RandomRotation(0.04, fill_mode="constant"),
    ]
    detector, size = make_detector(), 100

    def batches():
        while True:  # twenty at a time, as a call of each layer costs more than what it computes
            rows = random.integers(0, len(images), (20, size))
            digits = images[rows.reshape(-1)][..., None].astype("float32")
            for layer in change:
                digits = layer(digits, training=True)
            for place, drawn in zip(
                rows, np.array(digits)[..., 0].reshape(*rows.shape, *digits.shape[1:3]), strict=True
            ):
                colors = random.integers(0, len(scenes.NAMES), size)
                shades = np.clip(scenes.PALETTE[colors] + random.normal(0, 15, (size, 3)), 0, 255)
                painted = scenes.paint(drawn, shades, random.integers(0, 40, size))
                yield painted.astype("float32"), {"digit": labels[place], "color": colors}

    losses = dict.fromkeys(detector.output, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    # Convolutions take twice as long under XLA on a processor.
    fit(detector, batches(), steps, losses, 3e-3, jit=False)
    probabilities = keras.layers.Softmax(name="probabilities")(detector.output["digit"])
    # Of length 1, as boxes are: `RegionEmbedding` adds both up, and longer features would drown where a region lies.
    features = keras.layers.UnitNormalization(name="unit_features")(detector.get_layer("features").output)
    return keras.Model(detector.input, {"features": features, "digit": probabilities})


def look(detector, made, images):
    """Returns the inputs of ViLBERT that show scenes, the first region the whole image; and the digits' probabilities."""
    crops = scenes.crops(made, images).reshape(-1, scenes.SIZE, scenes.SIZE, 3)
    found = {name: [] for name in detector.output}
    for start in range(0, len(crops), 4_000):
        outputs = detector.predict(crops[start : start + 4_000].astype("float32"), batch_size=500, verbose=0)
        for name, value in outputs.items():
            found[name].append(value)
    features, digits = (
        np.concatenate(found[name]).reshape(len(made.counts), scenes.MOST, -1) for name in ("features", "digit")
    )
    return {name: np.array(x) for name, x in shown.with_image(features, made.boxes, made.counts).items()}, digits


def pretraining_batches(regions, digits, texts, seed=4):
    """Yields batches: half of the captions are another scene's; words and regions are hidden where the caption is the scene's."""
    random, ids, number = np.random.default_rng(seed), scenes.encode(texts), 0
    while True:
        rows, number = random.integers(0, len(ids), BATCH), number + 1
        moved = random.random(BATCH) < 0.5
        captions = np.where(moved, random.permutation(rows), rows)
        hidden = pretraining.mask_tokens(ids[captions], (seed, number), len(scenes.WORDS), 3, 2, (0, 1, 2, 4), rate=0.2)
        region = random.integers(1, regions["num_regions"][rows])
        is_hidden = ~moved & (random.random(BATCH) < 0.3)
        features = regions["region_features"][rows]
        features[is_hidden, region[is_hidden]] = 0.0
        inputs = {name: value[rows] for name, value in regions.items()} | {"region_features": features}
        inputs |= {"token_ids": hidden["token_ids"], "segment_ids": np.zeros_like(hidden["token_ids"])}
        inputs |= {"mask_positions": hidden["mask_positions"], "region_mask_positions": region[:, None].astype("int32")}
        targets = {"masked_lm": hidden["mask_ids"], "alignment": moved.astype("int32")}
        targets["masked_regions"] = digits[rows, region - 1][:, None]
        weights = {"masked_lm": hidden["mask_weights"] * ~moved[:, None], "alignment": np.ones(BATCH, "float32")}
        yield inputs, targets, weights | {"masked_regions": is_hidden[:, None].astype("float32")}


def inputs_of(questions, regions, knows):
    """Returns the inputs of ViLBERT for questions, blank where it is to know nothing: "both", "question" or "scene"."""
    ids = scenes.encode([question.text if knows != "scene" else "" for question in questions])
    rows = np.array([question.scene for question in questions])
    seen = {name: value[rows] for name, value in regions.items()}
    if knows == "question":
        seen = {**seen, "region_features": 0 * seen["region_features"], "num_regions": 1 + 0 * seen["num_regions"]}
    return {"token_ids": ids, "segment_ids": 0 * ids, **seen}


def answer_batches(inputs, questions, seed=5):
    """Yields batches of questions, whose inputs these are, and their answers, in random order."""
    random, answers = np.random.default_rng(seed), np.array([question.answer for question in questions])
    while True:
        order = random.permutation(len(answers))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            yield {name: value[rows] for name, value in inputs.items()}, answers[rows]


def start_again(model, weights):
    """Gives a model weights, and its optimizer nothing of what was before: its compiled step trains another model."""
    model.set_weights(weights)
    for variable in model.optimizer.variables:
        variable.assign(keras.ops.zeros_like(variable))
