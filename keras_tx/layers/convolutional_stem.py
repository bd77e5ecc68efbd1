"""A few convolutions that make a smaller map of images before it is cut into patches."""

import math

import keras
from keras import ops

from .. import arguments
from ..ops import masks, padding, sizes, windows
from . import config, input_checks, sublayers
from .composite import Composite
from .normalization import LayerNormalization

_KERNEL = 3
_BORDER = ((0, 0), (_KERNEL // 2,) * 2, (_KERNEL // 2,) * 2, (0, 0))


@keras.saving.register_keras_serializable(package="keras_tx")
class ConvolutionalStem(Composite, keras.layers.Layer):
    """Convolutions of 3 x 3, one after the other, for the `stem` slot of `PatchEmbedding`.

    x <- activation(norm(x * K)) for each of them, * being a convolution with its stride and without a bias. The norm is over the
    channels of each position, so that nothing depends on a batch or on padding. A border of zeros stands around each map, alike
    on all sides, so that a position lies where it lies whatever the size of the map.

    Args:
        filters: tuple of ints, how many channels each convolution gives.
        strides: tuple of ints, as long, or an int for all: 1, 2 or 3. The product is what rows and columns are divided by.
        activation: name or function.
        layer_norm_epsilon: float.
        kernel_initializer: of each kernel (3, 3, channels, filters).
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, Y, X, C), channels last.
        mask: boolean tensor (B, Y, X), True at real pixels; `None` for the mask that Keras carries, if any. What is not real
            counts as zeros before each convolution, whatever it holds, so that an image gives the same whether it stands alone
            or filled up to a larger one.

    Returns:
        A float tensor (B, Y', X', last of `filters`), Y' and X' being Y and X over the product of the strides, rounded up. With
        a mask it carries one, of the positions under which a pixel is real, and has zeros elsewhere.

    Raises:
        ValueError: for arguments out of range, and inputs of another rank or another count of channels than built, or without
            rows or columns.

    Example:

    ```python
    stem = keras_tx.layers.ConvolutionalStem((8, 16))
    layer = keras_tx.layers.PatchEmbedding(4, hidden_dim=32, stem=stem)
    y = layer(keras.random.uniform((2, 28, 28, 1)))  # (2, 7, 7, 32)
    ```

    Reference:
        Xiao et al. 2021, "Early Convolutions Help Transformers See Better", section 4, with layer in place of batch
        normalization.
    """

    def __init__(
        self,
        filters,
        strides=2,
        activation="relu",
        layer_norm_epsilon=1e-5,
        kernel_initializer="he_normal",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = _each("filters", filters)
        self.strides = _each("strides", [strides] * len(self.filters) if arguments.is_integer(strides) else strides, 3)
        if len(self.strides) != len(self.filters):
            raise ValueError(
                "`strides` must be an integer, or a tuple as long as `filters`. Received: "
                f"strides={strides!r}, filters={filters!r}."
            )
        self.activation = config.activation("activation", activation)
        self.layer_norm_epsilon = arguments.positive_float("layer_norm_epsilon", layer_norm_epsilon)
        self.kernel_initializer = config.initializer("kernel_initializer", kernel_initializer)
        self.supports_masking = True
        self.convolutions = [
            keras.layers.Conv2D(
                count,
                _KERNEL,
                stride,
                use_bias=False,
                data_format="channels_last",
                kernel_initializer=sublayers.fresh_initializer(self.kernel_initializer),
                name=f"conv_{index}",
                dtype=self.dtype_policy,
            )
            for index, (count, stride) in enumerate(zip(self.filters, self.strides, strict=True))
        ]
        self.norms = [
            LayerNormalization(epsilon=self.layer_norm_epsilon, name=f"norm_{index}", dtype=self.dtype_policy)
            for index in range(len(self.filters))
        ]

    @property
    def position_stride(self):
        """(rows, columns): how many positions of its inputs lie between two of its outputs."""
        return (math.prod(self.strides),) * 2

    def build(self, input_shape):
        self.num_channels = input_checks.hidden_size("inputs", input_shape, rank=4)
        channels = self.num_channels
        for convolution, norm, count in zip(self.convolutions, self.norms, self.filters, strict=True):
            sublayers.build_once(convolution, (input_shape[0], None, None, channels))
            sublayers.build_once(norm, (input_shape[0], None, None, count))
            channels = count

    def call(self, inputs, mask=None):
        mask = self._read(inputs, mask)
        x = padding.zero_masked(ops.cast(inputs, self.compute_dtype), mask)
        for convolution, norm, stride in zip(self.convolutions, self.norms, self.strides, strict=True):
            batch, *extent = ops.shape(x)[:3]
            shape = (batch, *(windows.padded_size(size, stride) // stride for size in extent), convolution.filters)
            # TensorFlow gives an empty batch the inputs' shape on a processor, with Keras' own layer alone too.
            x = ops.reshape(convolution(ops.pad(x, _BORDER)), shape)
            x = self.activation(norm(x))
            mask = mask if mask is None else windows.any_inside(mask, (stride, stride))
            x = padding.zero_masked(x, mask)
        return padding.attach(ops.cast(x, self.compute_dtype), mask)

    def _read(self, inputs, mask):
        input_checks.check_inputs("inputs", inputs, self.num_channels, rank=4)
        if 0 in map(sizes.known, inputs.shape[1:3]):
            raise ValueError(
                f"`inputs` must have at least a row and a column. Received: inputs of shape {tuple(inputs.shape)}."
            )
        return masks.over_positions(inputs, mask)

    def compute_mask(self, inputs, previous_mask):
        return None  # the outputs carry theirs already

    def compute_output_shape(self, input_shape):
        stride = math.prod(self.strides)
        grid = [None if size is None else -(-size // stride) for size in input_shape[1:3]]
        return (input_shape[0], *grid, self.filters[-1])

    def compute_output_spec(self, inputs, mask=None):
        self._read(inputs, mask)
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)

    def get_config(self):
        return config.of(ConvolutionalStem, self, super().get_config())


def _each(name, values, most=None):
    """Returns a tuple of positive integers; raises `ValueError` for anything else, and for none."""
    if not isinstance(values, (list, tuple)) or not values:
        kind = "an integer or a tuple of integers" if most else "a tuple of positive integers, one for each convolution"
        raise ValueError(f"`{name}` must be {kind}. Received: {name}={values!r}.")
    return tuple(arguments.integer(name, value, least=1, most=most) for value in values)
