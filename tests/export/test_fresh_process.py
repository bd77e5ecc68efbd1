"""SavedModels in a process that has TensorFlow alone: one process loads one of each kind, and gives what the models give here."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import text_tokens
from keras import ops

from keras_tx import decoding, export
from keras_tx.applications import TextClassifier, Translator, ViT
from keras_tx.decoding.text import text_of

from ..decoding.conftest import own_model, shaken

pytest.importorskip("keras_hub")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # for all exports and the process
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is written by TensorFlow alone"),
]

SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
REVIEWS = ["a good film", "a bad film !", "", "Unheard-of words, übermäßig"]
WORDS = ["a", "good", "bad", "film", "!", "g", "##o", "##d", "u", "##n"]
TEXTS = ["the cat sat on the mat", "a cat — a naïve one — sat", "on the mat"]
PROMPTS = ["the cat", "a", "on the mat — the cat sat on"]
SOURCES = ["the cat", "", "on the mat — the cat sat on", "a"]

SERVER = """
import json, pathlib, sys
for name in ("keras_tx", "keras_hub", "keras_nlp", "keras"):
    sys.modules[name] = None
import tensorflow as tf

folder = pathlib.Path(sys.argv[1])
given = json.loads((folder / "given.json").read_text())
answers = {}

def load(name):
    return tf.saved_model.load(str(folder / name))

def all_ways(name, key, values):
    served = load(name)
    named = [served.signatures[each](**{key: values})["output_0"] for each in ("serve", "serving_default")]
    answers[name] = [each.numpy().tolist() for each in (served.serve(values), *named)]

all_ways("images", "files", tf.stack([tf.io.read_file(path) for path in given["images"]]))
del sys.modules["keras"]  # tensorflow_text has layers
import tensorflow_text

for name in ("word_piece", "vectorization"):
    all_ways(name, "texts", tf.constant(given[name]))
for name in ("continued", "translated"):
    served = load(name)
    texts = served.serve(tf.constant(given[name]["texts"])).numpy()
    ids, first = tf.constant(given[name]["ids"]), given[name]["first"]
    beside = {key: tf.constant(value) for key, value in given[name]["beside"].items()}
    out = dict(served.signatures["prefill"](token_ids=ids[:, :first], mask=tf.ones((2, first), tf.bool), **beside))
    pieces = [out.pop("logits")]
    for column in range(first, ids.shape[1]):
        out = dict(served.signatures["step"](token_ids=ids[:, column : column + 1], **out))
        pieces.append(out.pop("logits"))
    answers[name] = [[text.decode("utf-8", "replace") for text in texts], tf.concat(pieces, 1).numpy().tolist()]
(folder / "answers.json").write_text(json.dumps(answers))
"""


def softmax(logits):
    return ops.convert_to_numpy(ops.softmax(logits))


def classify(folder, tokenizer, **options):
    """Exports a classifier of texts; returns what it is given, and the probabilities that it gives."""
    model = TextClassifier(len(WORDS) + 2, 6, **SIZES)
    export.export_saved_model(model, folder, tokenizer=tokenizer, activation="softmax", **options)
    return REVIEWS, softmax(model(np.array(tokenizer(REVIEWS))))


def word_piece(folder):
    import keras_hub

    tokenizer = keras_hub.tokenizers.WordPieceTokenizer(
        ["[PAD]", "[UNK]", *WORDS], sequence_length=6, lowercase=True, strip_accents=True, dtype="int32"
    )
    return classify(folder, tokenizer, jit_compile=True)


def vectorization(folder):
    return classify(folder, keras.layers.TextVectorization(vocabulary=WORDS, output_sequence_length=6))


def images(folder):
    import tensorflow as tf

    model = ViT(4, **SIZES, image_size=8, input_shape=(8, 12, 3), num_classes=3)
    export.export_saved_model(model, folder, image_size=(8, 12), activation="softmax", jit_compile=True)
    pixels = np.random.default_rng(1).integers(0, 256, (2, 8, 12, 3)).astype("uint8")
    paths = [folder.parent / f"{number}.png" for number in range(2)]
    for path, image in zip(paths, pixels, strict=True):
        path.write_bytes(tf.io.encode_png(image).numpy())
    return [str(path) for path in paths], softmax(model(pixels))


def continued(folder):
    """A user's own model, from text to text."""
    tokenizer = text_tokens.make_tokenizer("bpe", TEXTS * 3, 280)
    model = shaken(own_model(tokenizer.vocabulary_size(), 128))
    stops = [int(np.array(tokenizer.tokenize("t"))[0])]
    options = {"sampler": decoding.Sample(0.9, top_p=0.9), "stop_ids": stops, "seed": 3}
    written = export.export_saved_model(model, folder, tokenizer=tokenizer, generate={"max_new_tokens": 9, **options})
    assert str(written) == str(folder)
    ids = np.random.default_rng(0).integers(0, 200, (2, 6))
    texts = decoding.generate(model, PROMPTS, 9, tokenizer=tokenizer, **options)
    given = {"texts": PROMPTS, "ids": ids.tolist(), "first": 3, "beside": {}}
    return given, (texts, ops.convert_to_numpy(model(ids)))


def translated(folder):
    """A model with a context, from sentence to sentence by beam search."""
    tokenizer, sampler = text_tokens.make_tokenizer("bpe", TEXTS * 3, 280), decoding.Beam(3, 0.6)
    keras.utils.set_random_seed(6)
    model = shaken(Translator(tokenizer.vocabulary_size(), **SIZES), seed=6, scale=1.0)
    options = {"max_new_tokens": 7, "text_input": "source_ids", "prompt": [1], "sampler": sampler, "stop_ids": [2]}
    export.export_saved_model(model, folder, tokenizer, generate=options)
    rows = [row for row in text_tokens.encode(tokenizer, SOURCES) if row]
    found = decoding.generate(model, [[1]] * 3, 7, sampler, stop_ids=2, context={"source_ids": rows})
    assert len({tuple(row) for row in found.tolist()}) == 3
    texts = [text_of([token for token in row[1:] if token not in (0, 2)], tokenizer) for row in found.tolist()]
    source, target = np.array([[40, 41, 42], [43, 0, 0]]), np.array([[1, 50, 51], [1, 60, 61]])
    given = {"texts": SOURCES, "ids": target.tolist(), "first": 1, "beside": {"context_ids": source.tolist()}}
    full = model({"source_ids": source, "target_ids": target})
    return given, ([texts[0], "", *texts[1:]], ops.convert_to_numpy(full))


def answers(folder):
    """For each kind, what the process answers and what the model gives here."""
    made = {
        make.__name__: make(folder / make.__name__)
        for make in (images, word_piece, vectorization, continued, translated)
    }
    (folder / "given.json").write_text(json.dumps({name: given for name, (given, _) in made.items()}))
    done = subprocess.run([sys.executable, "-c", SERVER, str(folder)], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "answers.json").read_text())
    return {name: (found[name], expected) for name, (_, expected) in made.items()}


def test_one_process_gives_what_each_model_gives(tmp_path):
    """One test: where two workers had one kind each, both would export all of them."""
    found = answers(tmp_path)
    for name in ("images", "word_piece", "vectorization"):  # the probabilities of the model
        (by_method, by_signature, by_default), expected = found.pop(name)
        np.testing.assert_allclose(by_method, expected, atol=1e-5 if name == "images" else 1e-6, err_msg=name)
        assert by_default == by_signature == by_method, name
    assert set(found) == {"continued", "translated"}
    # The texts of `generate`, and in steps the logits of the full pass.
    for name, ((texts, logits), (expected, full)) in found.items():
        assert texts == expected, name
        np.testing.assert_allclose(logits, full, atol=1e-5 * np.abs(full).max(), err_msg=name)
