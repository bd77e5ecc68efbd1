"""Image files, as bytes, made the pixels that a model takes, by TensorFlow's own operations."""

from .. import arguments

_CHANNELS = (1, 3)


def check(model, image_size, tokenizer=None, generate=None):
    """Returns (rows, columns) as ints; raises `ValueError` unless the model takes images of this size from files."""
    if tokenizer is not None or generate is not None:
        raise ValueError(
            "`image_size` belongs to a model of images, without `tokenizer` and `generate`. Received: "
            f"image_size={image_size!r}, tokenizer={tokenizer!r}, generate={generate!r}."
        )
    is_size = isinstance(image_size, (list, tuple)) and len(image_size) == 2
    if not is_size or not all(_is_count(size) for size in image_size):
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


def _is_count(value):
    return arguments.is_integer(value) and value > 0


def decoder(tf, image_size, target):
    """Returns the function from the bytes of JPEG and PNG files (B,) to pixels (B, rows, columns, C) from 0 to 255.

    Args:
        tf: the module tensorflow.
        image_size: (rows, columns).
        target: the model's input, whose channels and dtype the pixels get.
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
            is_cmyk = tf.logical_not(is_png) & (tf.cond(is_png, lambda: 0, lambda: _jpeg_channels(tf, contents)) == 4)
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


def _jpeg_channels(tf, contents):
    return tf.io.extract_jpeg_shape(contents)[2]
