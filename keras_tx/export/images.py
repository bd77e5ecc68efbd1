"""SavedModels of images: the bytes of files are made the pixels that a model takes, by TensorFlow's own operations."""

import os
from collections.abc import Callable

import keras

from .. import arguments
from . import folder

_CHANNELS = (1, 3)


def export_images(
    model: keras.Model,
    path: str | os.PathLike,
    image_size: tuple[int, int],
    activation: str | Callable | None = None,
    jit_compile: bool = False,
) -> str | os.PathLike:
    """Writes a SavedModel whose endpoint `serve` maps the bytes of image files, strings (B,), to the model's outputs.

    `serve` is also the signature "serving_default". JPEG and PNG files are decoded to the model's channels, resized to one size
    whatever their own (bilinear with antialiasing; the proportions are not kept), and given to the model as pixels from
    0 to 255. So a model that takes other numbers must begin with a `keras.layers.Rescaling`. Greys are those of ITU-R
    BT.601, of a CMYK file as well; of 16 bits a channel the upper 8 are read, and of a moving PNG the first picture.
    Transparency is dropped, as is what a file says of the camera's orientation. A file that is cut off or cannot be
    decoded is an `InvalidArgumentError` when served; one that is neither JPEG nor PNG is named by its place in the
    batch. Files do not enter XLA: they are decoded outside the compiled function.

    Args:
        model: `keras.Model` of images (B, Y, X, C), C 1 or 3.
        path: folder to write. One that exists is replaced, when the new one is whole.
        image_size: (rows, columns), the size that images are given to the model in.
        activation: name of, or function from, `keras.activations` applied to the outputs, or `None`.
        jit_compile: bool, whether the model inside is compiled by XLA when served, once for each batch size.

    Returns:
        The path.

    Raises:
        ValueError: if the backend is not TensorFlow, or `image_size` is not that of the model's images.
        ImportError: if TensorFlow is missing, with the command that installs it.

    Example:

    ```python
    digits = keras_tx.applications.ViT(7, 1, 2, 8, 16, image_size=28, input_shape=(28, 28, 1), num_classes=10)
    if keras.backend.backend() == "tensorflow":
        path = keras_tx.export.export_images(digits, folder + "/digits", image_size=(28, 28))
    ```
    """
    tf, image_size = folder.tensorflow(), _check_size(model, image_size)
    compiled, decode = folder.compiled(tf, model, activation, jit_compile), decoder(tf, image_size, model.inputs[0])
    signature = [tf.TensorSpec((None,), tf.string, name="files")]
    return folder.export(tf, model, lambda files: compiled(decode(files)), signature, path)


def _check_size(model, image_size):
    """Returns (rows, columns) as ints; raises `ValueError` unless the model takes images of this size from files."""
    is_size = isinstance(image_size, (list, tuple)) and len(image_size) == 2
    if not is_size or not all(arguments.is_integer(size) and size > 0 for size in image_size):
        raise ValueError(
            f"`image_size` must be (rows, columns), two positive integers. Received: image_size={image_size!r}."
        )
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    fits = len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][-1] in _CHANNELS
    if not fits or any(own not in (None, size) for own, size in zip(shapes[0][1:3], image_size, strict=True)):
        raise ValueError(
            "`image_size` must be that of the model's images (B, rows, columns, channels), with 1 or 3 channels. Received: "
            f"image_size={image_size!r}, a model with inputs of shape {shapes}."
        )
    return tuple(int(size) for size in image_size)


def decoder(tf, image_size, target):
    """Returns the function from the bytes of JPEG and PNG files (B,) to pixels (B, rows, columns, C) from 0 to 255, of the
    channels and the dtype of the model's input `target`.
    """
    channels, dtype = target.shape[-1], tf.as_dtype(target.dtype)

    def read(numbered):
        index, contents = numbered
        is_png = tf.strings.substr(contents, 0, 8) == b"\x89PNG\r\n\x1a\n"
        known = is_png | (tf.strings.substr(contents, 0, 3) == b"\xff\xd8\xff")
        message = [
            "A file must be a JPEG or a PNG. Received: at this place of the batch, and beginning with these bytes, as numbers:"
        ]
        # As numbers: a message that is no UTF-8 text cannot be read by whoever asked.
        start = tf.io.decode_raw(tf.strings.substr(contents, 0, 16), tf.uint8)
        with tf.control_dependencies([tf.debugging.Assert(known, [*message, index, start], summarize=16)]):
            contents = tf.identity(contents)

        def of_channels(count):
            return tf.io.decode_image(contents, channels=count, expand_animations=False)

        if channels == 1:
            # libjpeg makes no grey of a CMYK file's four channels, but colours.
            is_cmyk = tf.logical_not(is_png) & (
                tf.cond(is_png, lambda: 0, lambda: tf.io.extract_jpeg_shape(contents)[2]) == 4
            )
            pixels = tf.cond(is_cmyk, lambda: tf.image.rgb_to_grayscale(of_channels(3)), lambda: of_channels(1))
        else:
            pixels = of_channels(channels)
        pixels.set_shape((None, None, channels))
        return tf.image.resize(pixels, image_size, antialias=True)

    def decode(files):
        signature = tf.TensorSpec((*image_size, channels), tf.float32)
        pixels = tf.map_fn(read, (tf.range(tf.size(files)), files), fn_output_signature=signature)
        return tf.cast(tf.round(pixels) if dtype.is_integer else pixels, dtype)

    return decode
