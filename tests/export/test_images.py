"""SavedModels of image files: what the model sees is what the file holds, decoded and resized by TensorFlow."""

import io

import keras
import numpy as np
import pytest
from PIL import Image

from keras_tx import export
from keras_tx.applications import Swin, ViT

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel is written by TensorFlow alone", allow_module_level=True)

import tensorflow as tf

BT601 = np.array([0.299, 0.587, 0.114])  # the greys of ITU-R BT.601


def pixels(rows, columns, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, channels)).astype("uint8")


def png(image):
    return tf.io.encode_png(image).numpy()


def saved_by_pillow(image, kind, mode=None, **options):
    file = io.BytesIO()
    picture = Image.fromarray(image)
    (picture.convert(mode) if mode else picture).save(file, kind, **options)
    return file.getvalue()


def as_it_came(rows=4, columns=6, channels=3, dtype="float32"):
    """A model whose outputs are its inputs."""
    images = keras.Input((rows, columns, channels), dtype=dtype)
    return keras.Model(images, keras.layers.Reshape((-1,), dtype=dtype)(images))


@pytest.fixture
def served(tmp_path):
    def serve(model, size, **options):
        return tf.saved_model.load(str(export.export_images(model, tmp_path / "saved", size, **options)))

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
    fine = colour.astype("uint16") * 256 + 200  # 16 bits a channel, of which the upper 8 are read
    even = np.repeat(np.repeat(pixels(2, 3), 2, 0), 2, 1)
    palette = saved_by_pillow(even, "PNG", "P", transparency=0)
    files = {
        "grey": (png(grey), np.repeat(grey, 3, axis=-1)),
        "colour": (png(colour), colour),
        "clear": (png(clear), clear[..., :3]),
        "16 bits": (png(fine), colour),
        "grey of 16 bits": (png(fine[..., :1]), np.repeat(colour[..., :1], 3, axis=-1)),
        "grey and clear": (png(np.concatenate([grey, grey], axis=-1)), np.repeat(grey, 3, axis=-1)),
        "palette": (palette, np.array(Image.open(io.BytesIO(palette)).convert("RGB"))),
        "1 bit": (saved_by_pillow(even, "PNG", "1", dither=0), None),
        "moving": (
            saved_by_pillow(colour, "PNG", save_all=True, append_images=[Image.fromarray(colour[::-1])]),
            colour,
        ),
        "CMYK": (saved_by_pillow(even, "JPEG", "CMYK", quality=100, subsampling=0), even),
        "progressive": (saved_by_pillow(even, "JPEG", progressive=True, quality=100, subsampling=0), even),
        "grey JPEG": (saved_by_pillow(even, "JPEG", "L", quality=100), even @ BT601[:, None] * np.ones(3)),
        "bytes behind": (png(colour) + b"more", colour),
    }
    serve = served(as_it_came(channels=channels), (4, 6)).serve
    outputs = np.reshape(serve(tf.constant([contents for contents, _ in files.values()])), (-1, 4, 6, channels))
    for output, (name, (_, expected)) in zip(outputs, files.items(), strict=True):
        if expected is None:
            assert set(np.unique(output)) <= {0, 255}
            continue
        # A JPEG is as near as it was written; libpng and libjpeg round their greys.
        error = 12 if name in ("CMYK", "progressive", "grey JPEG") else 0 if channels == 3 else 1.5
        expected = expected if channels == 3 else (expected @ BT601)[..., None]
        np.testing.assert_allclose(output, expected, rtol=0, atol=error, err_msg=name)


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


@pytest.mark.parametrize("channels", [1, 3])
def test_files_that_are_no_whole_images_are_errors(served, channels):
    serve = served(as_it_came(channels=channels), (4, 6)).serve
    others = [saved_by_pillow(pixels(4, 6), kind) for kind in ("GIF", "BMP", "WEBP", "TIFF")]
    moving = saved_by_pillow(pixels(4, 6), "GIF", save_all=True, append_images=[Image.fromarray(pixels(4, 6, seed=1))])
    for contents in (b"GIF89a and more", b"", b"text", b"BM\x86\xff\x00\x80", moving, *others):
        start = " ".join(str(byte) for byte in contents[:16])
        said = rf"(?s)must be a JPEG or a PNG.* as numbers:\] \[1\] \[{start}\]"
        with pytest.raises(tf.errors.InvalidArgumentError, match=said):
            serve(tf.constant([png(pixels(4, 6)), contents]))
    whole_png, whole_jpeg = png(pixels(40, 60)), tf.io.encode_jpeg(pixels(40, 60)).numpy()
    cmyk = saved_by_pillow(pixels(40, 60), "JPEG", "CMYK")
    for contents, names in (
        (whole_png[: len(whole_png) // 2], "PNG"),
        (whole_png[:-4], "PNG"),
        (whole_png[:100] + b"\x00" * 50 + whole_png[150:], "PNG"),
        (whole_png[:8], "PNG"),
        (whole_jpeg[: len(whole_jpeg) // 2], "JPEG"),
        (whole_jpeg[:-2], "JPEG"),
        (whole_jpeg[:20], "JPEG"),
        (whole_jpeg[:3], "JPEG"),
        (cmyk[: len(cmyk) // 2], "JPEG"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=names):
            serve(tf.constant([contents]))


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
