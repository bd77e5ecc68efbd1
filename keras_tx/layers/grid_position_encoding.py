"""Learned positions on a grid, for grids of any size."""

import keras
from keras import ops

from .. import arguments
from ..ops import resampling
from . import config, input_checks, sublayers
from .traced_subclasses import TracedSubclasses


@keras.saving.register_keras_serializable(package="keras_tx")
class GridPositionEncoding(TracedSubclasses, keras.layers.Layer):
    """Adds a learned vector for each position of a grid; the table is resampled to grids of other sizes.

    y_{r,c} = x_{r,c} + E[r, c], with E resampled by cubic convolution where the grid has another size than the table, so that
    a model trained at one resolution runs at another. At the table's own size nothing is changed, to the last bit.

    Args:
        grid_size: int, or (rows, columns), of the table.
        embeddings_initializer: of the table.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, Y, X, D), of any Y and X.

    Returns:
        A tensor like the inputs.

    Raises:
        ValueError: for arguments out of range, and inputs of another rank or width than built.

    Example:

    ```python
    layer = keras_tx.layers.GridPositionEncoding((14, 14))
    y = layer(keras.ops.zeros((2, 24, 32, 16)))  # (2, 24, 32, 16)
    ```

    Reference:
        Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", section 3.2 (fine-tuning at higher resolution).
    """

    def __init__(self, grid_size, embeddings_initializer="uniform", **kwargs):
        super().__init__(**kwargs)
        self.grid_size = arguments.extent("grid_size", grid_size)
        self.embeddings_initializer = config.initializer("embeddings_initializer", embeddings_initializer)
        self.supports_masking = True

    def build(self, input_shape):
        self.hidden_dim = input_checks.hidden_size("inputs", input_shape, rank=4)
        self.position_table = self.add_weight(
            (*self.grid_size, self.hidden_dim),
            sublayers.fresh_initializer(self.embeddings_initializer),
            name="position_table",
            autocast=False,  # resampled in the dtype that it is kept in
        )

    def call(self, inputs):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, rank=4)
        rows, columns = ops.shape(inputs)[1:3]
        table = resampling.resample(ops.convert_to_tensor(self.position_table), rows, columns)
        return inputs + ops.cast(table, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def compute_output_spec(self, inputs):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, rank=4)
        return sublayers.like_inputs(self, inputs)

    def get_config(self):
        return config.of(GridPositionEncoding, self, super().get_config())
