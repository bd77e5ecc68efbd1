"""Images cut into patches, and each patch made a vector."""

import keras
from keras import ops

from .. import arguments
from ..ops import dynamic_shape_checks, masks, padding, sizes, windows
from ..ops.concrete import check_tensor
from . import cache_protocol, config, input_checks, slot_arguments, slots, sublayers
from .composite import Composite
from .dense import Dense

_PADDINGS = ("refuse", "keep", "mask")


@keras.saving.register_keras_serializable(package="keras_tx")
class PatchEmbedding(Composite, keras.layers.Layer):
    """Cuts images into patches that do not overlap, and maps the pixels of each to a vector.

    z_p = vec(x_p) W + b, with the pixels of a patch in the order row, column, channel; a convolution whose stride is its
    kernel. The result keeps the grid of the patches.

    A stem, a layer that makes a smaller map of the image first, leaves less to cut: patches of `patch_size` over its stride, in
    positions of its map. Convolutions there help where few images have to teach that neighbours belong together.

    Args:
        patch_size: int, or (rows, columns), of a patch in pixels.
        hidden_dim: int, D.
        padding: what becomes of an image that the patch does not divide. "refuse": an error. "keep": zeros fill it up below
            and to the right, and a patch with a real pixel is real. "mask": zeros fill it up, and a patch that is not wholly
            inside the image is not real, which the mask of the outputs says. Nothing is ever cropped in silence.
        use_bias: bool.
        min_grid_size: int, or (rows, columns): an image with fewer patches is an error; `None` for one patch.
        kernel_initializer: of the kernel (rows * columns * C, D), where rows, columns and C are those of the stem's map if there
            is a stem.
        stem: `None`, or a layer such as `ConvolutionalStem`: called as `(x, mask=None)`, it makes of images (B, Y, X, C) a map
            whose rows and columns are Y and X over its `position_stride`, rounded up. This divides the patch.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, Y, X, C), channels last. Integers, such as bytes of pixels, are refused: what range they
            are to be scaled to is not known here (see `keras.layers.Rescaling`).
        mask: boolean tensor (B, Y, X), True at real pixels, for images of different sizes filled up to one; `None` if all
            are. Pixels that are not real may hold anything.

    Returns:
        A float tensor (B, Y', X', D), with Y' and X' rounded up. It carries a mask (B, Y', X') if the call had one or
        `padding` is "mask".

    Raises:
        ValueError: for arguments out of range, images of another rank or another count of channels than built, with
            integer pixels, smaller than a patch, or not divided by it where `padding` is "refuse". Where TensorFlow traces a
            graph before sizes are known, as `predict` does after images of two sizes and in a served model, the graph raises
            `tf.errors.InvalidArgumentError` when it runs; under XLA this names the rule, not the shape.

    Example:

    ```python
    layer = keras_tx.layers.PatchEmbedding(16, hidden_dim=32, padding="keep")
    y = layer(keras.random.uniform((2, 60, 44, 3)))  # (2, 4, 3, 32)
    ```

    Reference:
        Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", section 3.1, equation 1; Xiao et al. 2021, "Early
        Convolutions Help Transformers See Better", for the stem.
    """

    def __init__(
        self,
        patch_size,
        hidden_dim,
        padding="refuse",
        use_bias=True,
        min_grid_size=None,
        kernel_initializer="glorot_uniform",
        stem=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.patch_size = arguments.extent("patch_size", patch_size)
        self.hidden_dim = arguments.positive_int("hidden_dim", hidden_dim)
        self.padding = arguments.choice("padding", padding, _PADDINGS)
        self.use_bias = arguments.flag("use_bias", use_bias)
        self.min_grid_size = None if min_grid_size is None else arguments.extent("min_grid_size", min_grid_size)
        self.kernel_initializer = config.initializer("kernel_initializer", kernel_initializer)
        self.stem = slot_arguments.slot("stem", stem)
        self._cut_size = self.patch_size if stem is None else self._left_by_stem()  # of what is made one vector
        self.supports_masking = True
        self.autocast = False  # integer pixels must be seen as such
        self.projection = None

    @property
    def position_stride(self):
        """(rows, columns): how many of its inputs' positions, which are pixels, lie between two of its outputs'."""
        return self.patch_size

    def build(self, input_shape):
        self.num_channels = input_checks.hidden_size("inputs", input_shape, rank=4)
        if self.projection is None:
            self.projection = Dense(
                self.hidden_dim,
                use_bias=self.use_bias,
                kernel_initializer=sublayers.fresh_initializer(self.kernel_initializer),
                name="projection",
                dtype=self.dtype_policy,
            )
        slots.build(self.stem, keras.KerasTensor(tuple(input_shape), self.compute_dtype))
        channels = self.num_channels
        if self.stem is not None:
            channels = self.stem.compute_output_shape(tuple(input_shape))[-1]
        pixels = self._cut_size[0] * self._cut_size[1] * channels
        sublayers.build_once(self.projection, (input_shape[0], None, None, pixels))

    def call(self, inputs, mask=None):
        mask = self._read(inputs, mask)
        inputs = self._check_when_run(inputs)
        x = padding.zero_masked(ops.cast(inputs, self.compute_dtype), mask)
        if self.stem is not None:
            x = self._through_stem(x, mask)
        x = windows.partition(x, self._cut_size)  # (B P, pixels of a patch, C)
        outputs = self.projection(ops.reshape(x, (*self._grid(inputs), x.shape[1] * x.shape[2])))
        outputs = ops.cast(outputs, self.compute_dtype)
        return padding.attach(outputs, self._patch_mask(mask, inputs))

    def _left_by_stem(self):
        """(rows, columns) of a patch in positions of the stem's map."""
        stride = getattr(self.stem, "position_stride", None)
        if stride is None or not cache_protocol.takes(self.stem, "mask"):
            raise ValueError(
                "`stem` must be a layer with `position_stride` that is called as (x, mask=None), such as ConvolutionalStem. "
                f"Received: stem of class {type(self.stem).__name__}."
            )
        if any(patch % size for patch, size in zip(self.patch_size, stride, strict=True)):
            raise ValueError(
                "`stem` must have a `position_stride` that divides `patch_size`. Received: stem with position_stride="
                f"{tuple(stride)}, patch_size={self.patch_size}."
            )
        return tuple(patch // size for patch, size in zip(self.patch_size, stride, strict=True))

    def _through_stem(self, x, mask):
        """The stem's map of images, with zeros where no pixel is real, so that these fill up a patch as they do an image."""
        x = self.stem(x) if mask is None else self.stem(x, mask=mask)
        mask = mask if mask is None else windows.any_inside(mask, tuple(self.stem.position_stride))
        return padding.zero_masked(ops.cast(x, self.compute_dtype), mask)

    def _grid(self, inputs):
        """(B, Y', X')."""
        batch, rows, columns, _ = ops.shape(inputs)
        grid = (windows.padded_size(n, size) // size for n, size in zip((rows, columns), self.patch_size, strict=True))
        return (batch, *grid)

    def _patch_mask(self, mask, inputs):
        """(B, Y', X'): which patches are real; `None` if all are."""
        whole = self.padding == "mask"
        if mask is None:
            if not whole or windows.divides(self.patch_size, *ops.shape(inputs)[1:3]):
                return None
            mask = ops.ones(ops.shape(inputs)[:3], dtype="bool")
        pixels = windows.partition(mask, self.patch_size)  # (B P, pixels of a patch)
        found = ops.all(pixels, axis=-1) if whole else ops.any(pixels, axis=-1)
        return ops.reshape(found, self._grid(inputs))

    def _read(self, inputs, mask):
        check_tensor("inputs", inputs)
        shape, dtype = tuple(inputs.shape), keras.backend.standardize_dtype(inputs.dtype)
        if "float" not in dtype:
            raise ValueError(
                "`inputs` must hold float pixels: cast and scale them, as keras.layers.Rescaling(1 / 255) does. Received: inputs "
                f"of dtype {dtype}."
            )
        input_checks.check_inputs("inputs", inputs, self.num_channels, rank=4)
        for count, _, _, message in self._rules(map(sizes.known, shape[1:3])):
            if count:
                raise ValueError(f"{message} {shape}.")
        return masks.over_positions(inputs, mask)

    def _rules(self, extent):
        """Yields for each size that is not `None` how much breaks a rule, the names of both and the message."""
        least_sizes = self.min_grid_size or (1, 1)
        for axis, size, patch, least in zip(("rows", "columns"), extent, self.patch_size, least_sizes, strict=True):
            if size is None:
                continue
            missing = patch * least - size
            yield (
                ops.maximum(missing, 0) if sizes.known(missing) is None else max(missing, 0),
                f"{axis}_missing",
                "image_must_have_the_least_size",
                f"An image must have at least {patch * least} {axis} of pixels ({least} patches of {patch}). Received: inputs "
                "of shape",
            )
            if self.padding == "refuse":
                yield (
                    size % patch,
                    f"{axis}_left_over",
                    "patch_size_must_divide_the_image_unless_padding_is_keep_or_mask",
                    "`patch_size` must divide the image, unless `padding` is 'keep' or 'mask'. Received: patch_size="
                    f"{self.patch_size}, inputs of shape",
                )

    def _check_when_run(self, inputs):
        """Returns the inputs; where a size is known only when a graph runs, so that nothing can be computed of a wrong one."""
        unknown = [
            ops.convert_to_tensor(size, dtype="int32") if sizes.known(size) is None else None
            for size in ops.shape(inputs)[1:3]
        ]
        rules = list(self._rules(unknown))
        return dynamic_shape_checks.require_none(inputs, rules) if rules else inputs

    def compute_mask(self, inputs, previous_mask):
        return None  # the outputs carry theirs already

    def compute_output_shape(self, input_shape):
        grid = [
            None if size is None else windows.padded_size(size, patch) // patch
            for size, patch in zip(input_shape[1:3], self.patch_size, strict=True)
        ]
        return (input_shape[0], *grid, self.hidden_dim)

    def compute_output_spec(self, inputs, mask=None):
        self._read(inputs, mask)
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)

    def get_config(self):
        return config.of(PatchEmbedding, self, super().get_config())
