"""Neighbouring positions of a map made one."""

import keras
from keras import ops

from .. import arguments
from ..ops import masks, padding, windows
from . import config, input_checks, sublayers
from .composite import Composite
from .dense import Dense
from .normalization import LayerNormalization

_SIZE = (2, 2)


@keras.saving.register_keras_serializable(package="keras_tx")
class PatchMerging(Composite, keras.layers.Layer):
    """Makes one position of each 2 x 2 on a map, twice as wide: half the rows and half the columns.

    y = norm([x_{0,0}; x_{1,0}; x_{0,1}; x_{1,1}]) W, the indices being row and column. A map of odd size is filled up with
    zeros below and to the right.

    Args:
        output_dim: int, the width of the outputs; `None` for 2 D.
        layer_norm_epsilon: float.
        kernel_initializer: of W.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, Y, X, D).
        mask: boolean tensor (B, Y, X), True at real positions; `None` for the mask that Keras carries, if any. Positions that
            are not real count as zeros, whatever they hold.

    Returns:
        A float tensor (B, Y', X', 2 D), Y' = Y / 2 and X' = X / 2 rounded up. With a mask it carries one: a position is real
        if one of the four was.

    Raises:
        ValueError: for arguments out of range, and inputs of another rank or width than built.

    Example:

    ```python
    y = keras_tx.layers.PatchMerging()(keras.random.normal((2, 7, 9, 16)))  # (2, 4, 5, 32)
    ```

    Reference:
        Liu et al. 2021, "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", section 3.1.
    """

    def __init__(self, output_dim=None, layer_norm_epsilon=1e-5, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.output_dim = arguments.positive_int("output_dim", output_dim, optional=True)
        self.layer_norm_epsilon = arguments.positive_float("layer_norm_epsilon", layer_norm_epsilon)
        self.kernel_initializer = config.initializer("kernel_initializer", kernel_initializer)
        self.supports_masking = True
        self.norm = LayerNormalization(epsilon=self.layer_norm_epsilon, name="norm", dtype=self.dtype_policy)
        self.reduction = None

    @property
    def position_stride(self):
        """(rows, columns): how many positions of its inputs lie between two of its outputs."""
        return _SIZE

    def build(self, input_shape):
        self.hidden_dim = input_checks.hidden_size("inputs", input_shape, rank=4)
        if self.reduction is None:
            self.reduction = Dense(
                self.output_dim or 2 * self.hidden_dim,
                use_bias=False,
                kernel_initializer=sublayers.fresh_initializer(self.kernel_initializer),
                name="reduction",
                dtype=self.dtype_policy,
            )
        merged = (input_shape[0], None, None, 4 * self.hidden_dim)
        sublayers.build_once(self.norm, merged)
        sublayers.build_once(self.reduction, merged)

    def call(self, inputs, mask=None):
        mask = self._read(inputs, mask)
        x = windows.pad(padding.zero_masked(inputs, mask), _SIZE)
        batch, rows, columns, width = ops.shape(x)
        half = (rows // 2, columns // 2)
        x = ops.reshape(x, (batch, half[0], 2, half[1], 2, width))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 4, 2, 5)), (batch, *half, 4 * width))
        outputs = ops.cast(self.reduction(self.norm(x)), self.compute_dtype)
        return outputs if mask is None else padding.attach(outputs, windows.any_inside(mask, _SIZE))

    def _read(self, inputs, mask):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, rank=4)
        return masks.over_positions(inputs, mask)

    def compute_mask(self, inputs, previous_mask):
        return None  # the outputs carry theirs already

    def compute_output_shape(self, input_shape):
        half = [None if size is None else (size + 1) // 2 for size in input_shape[1:3]]
        return (input_shape[0], *half, self.output_dim or 2 * input_shape[-1])

    def compute_output_spec(self, inputs, mask=None):
        self._read(inputs, mask)
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)

    def get_config(self):
        return config.of(PatchMerging, self, super().get_config())
