"""What layers from a map (B, Y, X, D) to a sequence (B, Y X, D) have in common: what they take, and the shapes they give."""

import math

import keras

from ..ops import masks
from . import input_checks


class MapReader:
    """Stands before `keras.Layer` among the bases of a layer from a map to a sequence as wide, of which `hidden_dim` is D."""

    def build(self, input_shape):
        self.hidden_dim = input_checks.hidden_size("inputs", input_shape, rank=4)

    def _read(self, inputs, mask):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, rank=4)
        return masks.over_positions(inputs, mask)

    def compute_mask(self, inputs, previous_mask):
        return None  # what carries a mask has it already

    def compute_output_shape(self, input_shape):
        return (input_shape[0], None if None in input_shape[1:3] else math.prod(input_shape[1:3]), input_shape[-1])

    def compute_output_spec(self, inputs, mask=None):
        self._read(inputs, mask)
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)
