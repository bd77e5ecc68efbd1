"""What makes maps of features of images: residual networks as they were published, and a small stack of convolutions."""

import keras

from .. import arguments
from ..layers import FrozenBatchNormalization
from ..layers.normalization import LayerNormalization
from .images import image_input, stage_sizes

_WIDE = {"hidden_sizes": (256, 512, 1024, 2048), "bottleneck": True}
_NARROW = {"hidden_sizes": (64, 128, 256, 512), "bottleneck": False}
# He et al. 2016, table 1.
RESNET_SIZES = {
    "resnet18": {"depths": (2, 2, 2, 2), **_NARROW},
    "resnet34": {"depths": (3, 4, 6, 3), **_NARROW},
    "resnet50": {"depths": (3, 4, 6, 3), **_WIDE},
    "resnet101": {"depths": (3, 4, 23, 3), **_WIDE},
    "resnet152": {"depths": (3, 8, 36, 3), **_WIDE},
}
_LAST = {"data_format": "channels_last"}


def resnet_backbone(
    depths=(3, 4, 6, 3),
    hidden_sizes=(256, 512, 1024, 2048),
    embedding_size=64,
    bottleneck=True,
    input_shape=(None, None, 3),
    name="backbone",
) -> keras.Model:
    """Builds a residual network (version 1.5) without its head, with frozen batch normalization.

    A convolution of 7 x 7 and a pooling of 3 x 3 quarter the image, each stage but the first halves the map. Padding is
    symmetric and the stride lies in the 3 x 3 convolutions, as in torchvision, timm and `transformers`;
    `keras.applications.ResNet50` is version 1, whose weights do not fit.

    Args:
        depths: tuple of ints, how many residual blocks each stage has.
        hidden_sizes: tuple of ints, as long: how many channels each stage gives.
        embedding_size: int, how many channels the first convolution gives.
        bottleneck: bool, whether a block is three convolutions, the middle one on a quarter of the channels, or two of 3 x 3.
        input_shape: (rows, columns, channels) of the images; `None` for rows and columns of any size.
        name: str, the model's name.

    Returns:
        A functional `keras.Model` from images (B, Y, X, C) to a map (B, Y / 32, X / 32, last of `hidden_sizes`), rounded up, for
        four stages.

    Raises:
        ValueError: for `depths` and `hidden_sizes` that are no tuples of positive integers of one length, channels that 4 does
            not divide in a bottleneck, and an `input_shape` of another rank.

    Example:

    ```python
    backbone = keras_tx.applications.resnet_backbone(
        **keras_tx.applications.RESNET_SIZES["resnet18"], input_shape=(64, 96, 3)
    )
    features = backbone(np.zeros((1, 64, 96, 3)))  # (1, 2, 3, 512)
    ```

    Reference:
        He et al. 2016, "Deep Residual Learning for Image Recognition", section 3.3; Goyal et al. 2017, "Accurate, Large
        Minibatch SGD", section 5.1, for version 1.5.
    """
    depths, hidden_sizes = stage_sizes(depths=depths, hidden_sizes=hidden_sizes)
    arguments.positive_int("embedding_size", embedding_size)
    if arguments.flag("bottleneck", bottleneck) and any(size % 4 for size in hidden_sizes):
        raise ValueError(
            f"`hidden_sizes` must be multiples of 4 in a bottleneck. Received: hidden_sizes={hidden_sizes!r}."
        )
    images = image_input(input_shape)
    x = _convolve(images, embedding_size, 7, 2, "stem", "relu")
    x = keras.layers.ZeroPadding2D(1, name="pool_padding", **_LAST)(x)  # no more than what follows a relu can be
    x = keras.layers.MaxPooling2D(3, 2, name="pool", **_LAST)(x)  # (B, Y / 4, X / 4, embedding_size)
    for stage, (depth, filters) in enumerate(zip(depths, hidden_sizes, strict=True)):
        for block in range(depth):
            stride = 2 if stage and not block else 1
            x = _block(x, filters, stride, bottleneck, f"stage_{stage}_block_{block}")
    return keras.Model(images, x, name=name)


def convolutional_stem(filters=(32, 64, 128), input_shape=(None, None, 3), name="backbone") -> keras.Model:
    """Builds a small stack of convolutions to be trained from scratch, each of 3 x 3 with stride 2, a norm and a relu.

    The norms are over the channels of each place, so that nothing depends on a batch or on padding. What stands before patches,
    with masks of padded images, is the layer `ConvolutionalStem`.

    Args:
        filters: tuple of ints, how many channels each convolution gives.
        input_shape: (rows, columns, channels) of the images; `None` for rows and columns of any size.
        name: str, the model's name.

    Returns:
        A functional `keras.Model` from images (B, Y, X, C) to a map (B, Y / 2^n, X / 2^n, last of `filters`), rounded up, for n
        convolutions.

    Raises:
        ValueError: for `filters` that are no tuple of positive integers, and an `input_shape` of another rank.

    Example:

    ```python
    stem = keras_tx.applications.convolutional_stem((8, 16), input_shape=(None, None, 1))
    features = stem(np.zeros((1, 30, 40, 1)))  # (1, 8, 10, 16)
    ```

    Reference:
        Xiao et al. 2021, "Early Convolutions Help Transformers See Better", section 4.
    """
    (filters,) = stage_sizes(filters=filters)
    x = images = image_input(input_shape)
    for index, count in enumerate(filters):
        options = {"padding": "same", "use_bias": False, "kernel_initializer": _initializer(), **_LAST}
        x = keras.layers.Conv2D(count, 3, 2, name=f"conv_{index}", **options)(x)
        x = LayerNormalization(epsilon=1e-5, name=f"norm_{index}")(x)
        x = keras.layers.Activation("relu", name=f"relu_{index}")(x)
    return keras.Model(images, x, name=name)


def _block(x, filters, stride, bottleneck, name):
    """A residual block: what its convolutions give is added to its inputs, mapped where they have another shape."""
    inner = filters // 4 if bottleneck else filters
    steps = (
        [(inner, 1, 1), (inner, 3, stride), (filters, 1, 1)] if bottleneck else [(inner, 3, stride), (filters, 3, 1)]
    )
    y = x
    for index, step in enumerate(steps):
        activation = "relu" if index + 1 < len(steps) else None
        y = _convolve(y, *step, f"{name}_{index}", activation)
    if stride > 1 or x.shape[-1] != filters:
        x = _convolve(x, filters, 1, stride, f"{name}_shortcut", None)
    x = keras.layers.Add(name=f"{name}_add")([y, x])
    return keras.layers.Activation("relu", name=f"{name}_relu")(x)


def _convolve(x, filters, size, stride, name, activation):
    """A convolution without bias, padded alike on all sides, and its norm."""
    if size > 1:
        x = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_padding", **_LAST)(x)
    options = {"use_bias": False, "kernel_initializer": _initializer(), **_LAST}
    x = keras.layers.Conv2D(filters, size, stride, name=f"{name}_conv", **options)(x)
    x = FrozenBatchNormalization(name=f"{name}_norm")(x)
    return x if activation is None else keras.layers.Activation(activation, name=f"{name}_relu")(x)


def _initializer():
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
