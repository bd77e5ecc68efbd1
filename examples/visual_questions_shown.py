"""What `visual_questions.py` shows of its model: a table, where words look, a picture, and answers of a SavedModel."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import scenes
from keras import ops


def with_image(features, boxes, counts):
    """Returns the region inputs of ViLBERT: before the regions (B, 4, F) one for the whole image, the mean of the real ones."""
    real = ops.cast(ops.arange(scenes.MOST)[None] < ops.cast(counts, "int32")[:, None], "float32")[..., None]
    features = ops.convert_to_tensor(features) * real
    mean = ops.sum(features, 1, keepdims=True) / ops.maximum(ops.sum(real, 1, keepdims=True), 1.0)
    whole = ops.broadcast_to(ops.convert_to_tensor([[[0.0, 0.0, 1.0, 1.0]]]), ops.shape(boxes[:, :1]))
    return {
        "region_features": ops.concatenate([mean, features], 1),
        "boxes": ops.concatenate([whole, ops.cast(boxes, "float32")], 1),
        "num_regions": ops.cast(counts, "int32") + 1,
    }


def table(rows, columns):
    """Returns accuracies as lines of text."""
    lines = [" " * 16 + "  ".join(f"{column:>20}" for column in columns)]
    return "\n".join(
        lines + [f"{name:16}" + "  ".join(f"{row[each]:20.2f}" for each in columns) for name, row in rows.items()]
    )


def looks(analysis, model, inputs):
    """Returns how much words look at regions, by co-attention: (B, T, R) each, the mean over heads."""
    maps = analysis.attention_maps(model, inputs)
    return {name.split("/")[-1]: weights.mean(1) for name, weights in maps.items() if "text_to_regions" in name}


def pointing(analysis, model, inputs, questions, most=2_000):
    """Returns how often the word that names a region looks at it most, in percent by co-attention; and what chance would give."""
    rows = [row for row, question in enumerate(questions) if question.region >= 0][:most]
    weights = looks(analysis, model, {name: value[rows] for name, value in inputs.items()})
    regions = np.array([questions[row].region + 1 for row in rows])  # after the whole image
    words = np.array([questions[row].word + 1 for row in rows])  # after [CLS]
    found = {
        name: 100 * float(np.mean(value[np.arange(len(rows)), words].argmax(-1) == regions))
        for name, value in weights.items()
    }
    return found, 100 * float(np.mean(1 / inputs["num_regions"][rows]))


def draw(analysis, model, inputs, place, made, images, question, path):
    """Draws a scene with its boxes, and how much each word of a question looks at each region there."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    words, count = ["[CLS]", *question.text.split(), "[SEP]"], made.counts[question.scene]
    names = [
        f"{scenes.NAMES[made.colors[question.scene, one]]} {made.labels[question.scene, one]}" for one in range(count)
    ]
    weights = looks(analysis, model, inputs)[place][0, : len(words), : count + 1]
    answer = scenes.ANSWERS[int(np.argmax(model.predict(inputs, verbose=0)))]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9.5, 3.6), width_ratios=(1.2, 1), layout="constrained")
    left.imshow(scenes.picture(made, images, question.scene))
    for one, name in enumerate(names):
        at = made.lefts[question.scene, one], made.tops[question.scene, one]
        left.add_patch(pyplot.Rectangle(at, scenes.SIZE, scenes.SIZE, fill=False, edgecolor="white", linewidth=1))
        left.text(at[0] + 1, at[1] - 2 if at[1] > 8 else at[1] + scenes.SIZE + 7, name, color="white", fontsize=8)
    left.set_title(f"{question.text}?  answered: {answer}, right: {scenes.ANSWERS[question.answer]}", fontsize=9)
    left.axis("off")
    shade = right.imshow(weights, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    right.set_xticks(range(count + 1), ["image", *names], fontsize=8)
    right.set_yticks(range(len(words)), words, fontsize=8)
    right.set_title(f"how much each word looks at each region ({place})", fontsize=9)
    figure.colorbar(shade, ax=right)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def serve(detector, model, made, images, questions, output):
    """Writes a SavedModel and PNG files, and returns what the SavedModel answers in a process without this package."""
    if keras.backend.backend() != "tensorflow":
        return []
    import tensorflow as tf

    export(tf, detector, model, str(output / "saved_model"))
    (output / "files").mkdir(exist_ok=True)
    requests = []
    for number, question in enumerate(questions):
        path = output / "files" / f"{number}.png"
        path.write_bytes(tf.io.encode_png(scenes.picture(made, images, question.scene)).numpy())
        boxes = made.boxes[question.scene, : made.counts[question.scene]].tolist()
        requests.append({"file": str(path), "boxes": boxes, "question": question.text})
    (output / "requests.json").write_text(json.dumps(requests))
    command = [sys.executable, str(Path(__file__).with_name("serve_questions.py")), str(output / "saved_model")]
    answers = subprocess.run(
        [*command, str(output / "requests.json")], check=True, capture_output=True, text=True
    ).stdout
    return [json.loads(line) for line in answers.splitlines() if line.startswith("{")]


def export(tf, detector, model, folder):
    """Writes a SavedModel from the bytes of images, boxes and questions to answers and their probabilities."""
    from keras_tx.export.images import decoder

    decode = decoder(tf, (scenes.ROWS, scenes.COLUMNS), keras.KerasTensor((None, None, None, 3)))
    module = tf.Module()
    module.state = [variable.value for each in (detector, model) for variable in each.variables]
    numbers = tf.lookup.KeyValueTensorInitializer(list(scenes.WORDS), tf.range(len(scenes.WORDS)))
    module.table = tf.lookup.StaticHashTable(numbers, scenes.WORDS.index("[UNK]"))
    module.answers = tf.constant(scenes.ANSWERS)
    size, most = scenes.SIZE, scenes.LENGTH - 2

    def read(questions):
        words = tf.strings.split(tf.strings.regex_replace(tf.strings.lower(questions), r"[^\w\s]", ""))
        longest = tf.reduce_max(tf.cast(words.row_lengths(), tf.int32))
        said = tf.debugging.assert_less_equal(longest, most, message=f"A question must have at most {most} words.")
        with tf.control_dependencies([said]):
            ids = tf.ragged.map_flat_values(module.table.lookup, words)
        ends = [tf.fill((words.nrows(), 1), scenes.WORDS.index(name)) for name in ("[CLS]", "[SEP]")]
        return tf.concat([ends[0], ids, ends[1]], axis=1).to_tensor(0, shape=(None, scenes.LENGTH))

    def answer(files, boxes, num_boxes, questions):
        pixels, ids = decode(files), read(questions)
        batch, count = tf.shape(boxes)[0], tf.shape(boxes)[1]
        said = tf.debugging.assert_less_equal(
            count, scenes.MOST, message=f"A scene must have at most {scenes.MOST} boxes."
        )
        with tf.control_dependencies([said]):
            boxes = tf.pad(boxes, [[0, 0], [0, tf.maximum(scenes.MOST - count, 0)], [0, 0]])
        boxes = tf.ensure_shape(boxes, (None, scenes.MOST, 4))
        scale = tf.constant([scenes.ROWS, scenes.COLUMNS, scenes.ROWS, scenes.COLUMNS], tf.float32)
        corners = tf.gather(boxes, [1, 0, 3, 2], axis=-1) * scale - [
            0.0,
            0.0,
            1.0,
            1.0,
        ]  # of the first and the last pixel
        corners = tf.reshape(corners / (scale - 1.0), (-1, 4))
        owners = tf.repeat(tf.range(batch), scenes.MOST)
        crops = tf.image.crop_and_resize(pixels, corners, owners, (size, size))
        features = detector(crops, training=False)["features"]
        features = tf.reshape(features, (batch, scenes.MOST, features.shape[-1]))
        regions = with_image(features, boxes, num_boxes)
        logits = model({"token_ids": ids, "segment_ids": tf.zeros_like(ids), **regions}, training=False)
        probabilities = tf.nn.softmax(logits)
        return {"answers": tf.gather(module.answers, tf.argmax(logits, -1)), "probabilities": probabilities}

    signature = [tf.TensorSpec((None,), tf.string, name="files"), tf.TensorSpec((None, None, 4), name="boxes")]
    signature += [
        tf.TensorSpec((None,), tf.int32, name="num_boxes"),
        tf.TensorSpec((None,), tf.string, name="questions"),
    ]
    module.serve = tf.function(answer, input_signature=signature)
    tf.saved_model.save(module, folder, signatures=module.serve)
