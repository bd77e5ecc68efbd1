"""SavedModels of image files: what the model sees is what the file holds, decoded and resized by TensorFlow alone."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_tx import export
from keras_tx.applications import Swin, ViT

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel is written by TensorFlow alone", allow_module_level=True)

import tensorflow as tf

LOADER = """
import json, sys
for name in ("keras_tx", "keras"):
    sys.modules[name] = None
import tensorflow as tf
served = tf.saved_model.load(sys.argv[1])
files = tf.stack([tf.io.read_file(name) for name in sys.argv[2:]])
print(json.dumps([served.serve(files).numpy().tolist(), served.signatures["serve"](files=files)["output_0"].numpy().tolist()]))
"""


def pixels(rows, columns, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, channels)).astype("uint8")


def png(image):
    return tf.io.encode_png(image).numpy()


def as_it_came(rows=4, columns=6, channels=3, dtype="float32"):
    """A model whose outputs are its inputs."""
    images = keras.Input((rows, columns, channels), dtype=dtype)
    return keras.Model(images, keras.layers.Reshape((-1,), dtype=dtype)(images))


@pytest.fixture
def served(tmp_path):
    def serve(model, size, **options):
        return tf.saved_model.load(
            str(export.export_saved_model(model, tmp_path / "saved", image_size=size, **options))
        )

    return serve


def test_a_file_of_the_models_size_arrives_pixel_by_pixel(served):
    image = pixels(4, 6)
    outputs = served(as_it_came(), (4, 6)).serve(tf.constant([png(image)]))
    assert np.array_equal(outputs[0], image.reshape(-1))


def test_files_of_any_size_and_kind_are_resized(served):
    image = pixels(9, 11)
    jpeg = tf.io.encode_jpeg(image, quality=95).numpy()
    serve = served(as_it_came(None, None), (np.int64(4), np.int32(6))).serve
    outputs = serve(tf.constant([jpeg, png(image), png(pixels(2, 3))]))
    decoded = tf.io.decode_jpeg(jpeg)
    for output, original in zip(outputs, (decoded, image, pixels(2, 3)), strict=True):
        expected = tf.image.resize(original, (4, 6), antialias=True)
        np.testing.assert_allclose(output, np.reshape(expected, -1), atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_files_of_any_channels_become_those_of_the_model(served, channels):
    grey, colour, clear = pixels(4, 6, 1), pixels(4, 6, 3), pixels(4, 6, 4)
    outputs = served(as_it_came(channels=channels), (4, 6)).serve(tf.constant([png(grey), png(colour), png(clear)]))
    outputs = np.reshape(outputs, (3, 4, 6, channels))
    assert np.array_equal(outputs[0], np.repeat(grey, channels, axis=-1))
    if channels == 3:
        assert np.array_equal(outputs[1], colour)
        assert np.array_equal(outputs[2], clear[..., :3])
    else:
        weights = [0.299, 0.587, 0.114]  # ITU-R BT.601
        np.testing.assert_allclose(outputs[1, ..., 0], colour @ weights, atol=1.5)
        np.testing.assert_allclose(outputs[2, ..., 0], clear[..., :3] @ weights, atol=1.5)


def test_pixels_are_whole_numbers_for_a_model_of_integers(served):
    outputs = served(as_it_came(2, 2, dtype="uint8"), (2, 2)).serve(tf.constant([png(pixels(5, 5))]))
    expected = tf.image.resize(pixels(5, 5), (2, 2), antialias=True)
    assert outputs.dtype == tf.uint8
    np.testing.assert_allclose(outputs[0], np.reshape(expected, -1), atol=0.5)


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_an_empty_batch_gives_no_outputs(served, kind):
    if kind == "vit":
        model = ViT(4, 1, 2, 8, 16, image_size=8, input_shape=(8, 8, 3), num_classes=5)
    else:
        model = Swin(2, (1, 2), (1, 2), 8, 2, input_shape=(8, 8, 3), num_classes=5)
    loaded = served(model, (8, 8))
    assert loaded.serve(tf.constant([], tf.string)).shape == (0, 5)
    assert loaded.serve(tf.constant([png(pixels(8, 8))])).shape == (1, 5)


@pytest.mark.parametrize("contents", [b"GIF89a and more", b"", b"text", b"BM\x86\xff\x00\x80"])
def test_what_is_no_image_is_named_by_its_place(served, contents):
    start = " ".join(str(byte) for byte in contents[:16])
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=rf"(?s)must be a JPEG or a PNG.* as numbers:\] \[1\] \[{start}\]"
    ):
        served(as_it_came(), (4, 6)).serve(tf.constant([png(pixels(4, 6)), contents]))


def test_an_image_that_is_cut_off_or_corrupt_is_an_error(served):
    serve = served(as_it_came(), (4, 6)).serve
    whole_png, whole_jpeg = png(pixels(40, 60)), tf.io.encode_jpeg(pixels(40, 60)).numpy()
    for contents, names in (
        (whole_png[: len(whole_png) // 2], "PNG"),
        (whole_png[:100] + b"\x00" * 50 + whole_png[150:], "PNG"),
        (whole_jpeg[: len(whole_jpeg) // 2], "JPEG"),
        (whole_jpeg[:20], "JPEG"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=names):
            serve(tf.constant([contents]))


@pytest.mark.slow
def test_a_process_with_tensorflow_alone_gives_the_same_probabilities(tmp_path):
    model = ViT(4, 1, 2, 8, 16, image_size=8, input_shape=(8, 12, 3), num_classes=3)
    folder = export.export_saved_model(
        model, tmp_path / "saved", image_size=(8, 12), activation="softmax", jit_compile=True
    )
    images = [pixels(8, 12, seed=seed) for seed in (1, 2)]
    for number, image in enumerate(images):
        (tmp_path / f"{number}.png").write_bytes(png(image))
    command = [sys.executable, "-c", LOADER, str(folder), *(str(tmp_path / f"{number}.png") for number in (0, 1))]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    by_method, by_signature = json.loads(output.splitlines()[-1])
    np.testing.assert_allclose(by_method, keras.ops.softmax(model(np.stack(images))), atol=1e-5)
    assert by_signature == by_method


class TestRefusals:
    @pytest.mark.parametrize("size", [32, (4,), (4, 0), (4.0, 6), (True, 6), "46"])
    def test_a_size_that_is_none(self, tmp_path, size):
        with pytest.raises(
            ValueError, match=r"`image_size` must be \(rows, columns\), two positive integers. Received"
        ):
            export.export_saved_model(as_it_came(), tmp_path / "saved", image_size=size)

    @pytest.mark.parametrize(("rows", "channels"), [(5, 3), (4, 4)])
    def test_a_model_of_other_images(self, tmp_path, rows, channels):
        with pytest.raises(ValueError, match=rf"must be that of the model's images .*\(None, {rows}, 6, {channels}\)"):
            export.export_saved_model(as_it_came(rows, 6, channels), tmp_path / "saved", image_size=(4, 6))

    def test_a_model_that_takes_no_images(self, tmp_path):
        inputs = keras.Input((4,))
        with pytest.raises(ValueError, match=r"must be that of the model's images .*\(None, 4\)"):
            export.export_saved_model(
                keras.Model(inputs, keras.layers.Dense(2)(inputs)), tmp_path / "saved", image_size=(4, 6)
            )

    def test_a_tokenizer_beside(self, tmp_path):
        with pytest.raises(ValueError, match="`image_size` belongs to a model of images, without `tokenizer`"):
            export.export_saved_model(as_it_came(), tmp_path / "saved", image_size=(4, 6), tokenizer=str)
