"""What the models of images have in common: their input, and the checks of the arguments that are named alike."""

import keras

from .. import arguments

# Of the pixels of ImageNet, from 0 to 1.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def image_input(input_shape):
    """Returns the input of a model of images.

    Args:
        input_shape: (rows, columns, channels); rows and columns may be `None`, for images of any size.

    Returns:
        A symbolic tensor (B, Y, X, C) of floats; integer pixels that a model is given become floats here.

    Raises:
        ValueError: for another rank, unknown channels, or sizes that are no positive integers.
    """
    is_shape = isinstance(input_shape, (list, tuple)) and len(input_shape) == 3
    sizes = [size for size in input_shape if size is not None] if is_shape else []
    if not is_shape or input_shape[-1] is None or not all(arguments.is_integer(size) and size > 0 for size in sizes):
        raise ValueError(
            "`input_shape` must be (rows, columns, channels), rows and columns positive integers or None, channels a positive "
            f"integer. Received: input_shape={input_shape!r}."
        )
    return keras.Input(tuple(size if size is None else int(size) for size in input_shape), name="images")


def check_head(include_top, num_classes, pooling, poolings):
    """Raises `ValueError` unless a model of these arguments has either a head or outputs of features."""
    if arguments.flag("include_top", include_top):
        arguments.positive_int("num_classes", num_classes)
        if pooling is not None:
            raise ValueError(
                f"`pooling` must be None where `include_top` is True: the head pools. Received: pooling={pooling!r}."
            )
    elif pooling is not None and (not isinstance(pooling, str) or pooling not in poolings):
        names = ", ".join(map(repr, poolings))
        raise ValueError(f"`pooling` must be None or one of {names}. Received: pooling={pooling!r}.")


def grid_of_patches(patch_size, image_size):
    """Returns the sizes of a patch, of an image and of its grid of patches, each (rows, columns).

    Raises:
        ValueError: for sizes that are no positive integers or pairs of them, and an image that the patch does not divide.
    """
    patch, image = arguments.extent("patch_size", patch_size), arguments.extent("image_size", image_size)
    if any(size % part for size, part in zip(image, patch, strict=True)):
        raise ValueError(
            "`image_size` must be a multiple of `patch_size`. Received: "
            f"image_size={image_size!r}, patch_size={patch_size!r}."
        )
    return patch, image, (image[0] // patch[0], image[1] // patch[1])


def stochastic_depth_rates(drop_path, count):
    """Returns the probability of dropping a branch for each of a model's blocks, from 0 to `drop_path` in equal steps.

    Reference:
        Huang et al. 2016, "Deep Networks with Stochastic Depth", section 3 (linear decay).
    """
    last = arguments.rate("drop_path", drop_path)
    return [last * (index / max(count - 1, 1)) for index in range(count)]


def stage_sizes(**tuples):
    """Returns the values, an int for each stage, as tuples; raises `ValueError` unless they are of one length."""
    found = {}
    for name, values in tuples.items():
        if not isinstance(values, (list, tuple)) or not values:
            raise ValueError(f"`{name}` must be a tuple with an integer for each stage. Received: {name}={values!r}.")
        found[name] = tuple(arguments.positive_int(name, value) for value in values)
    if len({len(values) for values in found.values()}) > 1:
        received = ", ".join(f"{name}={values!r}" for name, values in tuples.items())
        raise ValueError(
            f"{' and '.join(f'`{name}`' for name in tuples)} must be of one length, that of the stages. Received: {received}."
        )
    return found.values()


def imagenet_rescaling(num_channels):
    """Returns the layer from pixels from 0 to 255 to numbers of mean 0 and deviation 1 over ImageNet.

    Raises:
        ValueError: for other than three channels.
    """
    if num_channels != len(_MEAN):
        raise ValueError(
            "`input_shape` must have 3 channels where `include_rescaling` is True, which knows the mean of red, green and "
            f"blue. Received: {num_channels} channels."
        )
    scale = [1 / (255 * std) for std in _STD]
    offset = [-mean / std for mean, std in zip(_MEAN, _STD, strict=True)]
    # Of three axes, so that a global `image_data_format` of "channels_first" does not turn them.
    layer = keras.layers.Rescaling([[scale]], offset=[[offset]], name="rescaling")
    # One channel would broadcast to three. A config holds no such rule: a copy or a loaded model has it no more.
    layer.input_spec = keras.InputSpec(ndim=4, axes={-1: len(_MEAN)})
    return layer
