"""The normalizations of a block: Keras' layer normalization, in the form that takes TensorFlow's graphs the fewest passes and
that torch exports to ONNX, or copies of a layer of the caller's.
"""

import keras
from keras import ops

from .. import arguments
from ..ops import sizes
from . import input_checks, slot_arguments, slots, stepwise, sublayers


@keras.saving.register_keras_serializable(package="keras_tx")
class LayerNormalization(keras.layers.LayerNormalization):
    """`keras.layers.LayerNormalization` over the last axis. Its statistics run in float32 or wider."""

    is_stepwise = property(lambda self: stepwise.normalizes(self, -1))

    def call(self, inputs):
        # torch's own takes no size that is known only when a traced program runs, and ONNX none that is not a constant.
        is_known = keras.backend.backend() != "tensorflow" and sizes.known(inputs.shape[-1]) is not None
        if is_known or self.rms_scaling:
            return super().call(inputs)
        # Centred once: the variance and the outputs share it, and the gradient has fewer terms.
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        x = x - ops.mean(x, axis=-1, keepdims=True)
        x = x * ops.rsqrt(ops.mean(x * x, axis=-1, keepdims=True) + self.epsilon)
        if self.gamma is not None:
            x = x * ops.cast(self.gamma, x.dtype)
        if self.beta is not None:
            x = x + ops.cast(self.beta, x.dtype)
        return ops.cast(x, self.compute_dtype)


class Norms:
    """Makes the normalizations of a block's branches.

    Args:
        layer: the layer that they are copies of, or its config; `None` for layer normalization.
        epsilon: float, of layer normalization; beside a layer, which has its own, that of a block to which none was given.

    Raises:
        ValueError: if the layer is none, or is frozen, which its copies would not be, and for an epsilon beside a layer.
    """

    EPSILON = 1e-5

    def __init__(self, layer, epsilon):
        self.epsilon = arguments.positive_float("layer_norm_epsilon", epsilon)
        self.layer = slot_arguments.slot("norm", layer)
        if self.layer is None:
            return
        if self.epsilon != self.EPSILON:
            raise ValueError(
                f"`layer_norm_epsilon` must be left at {self.EPSILON} beside `norm`, which has its own. Received: "
                f"layer_norm_epsilon={self.epsilon} and norm={self.layer.name}."
            )
        if not self.layer.trainable:
            raise ValueError(
                "`norm` must be trainable: its copies, such as `block.attention_norm`, are frozen one by one. Received: "
                f"norm={self.layer.name} with trainable=False."
            )

    def make(self, name, dtype):
        """Returns a layer of that name and dtype policy, not built."""
        if self.layer is None:
            return LayerNormalization(epsilon=self.epsilon, name=name, dtype=dtype)
        try:
            layer = type(self.layer).from_config({**self.layer.get_config(), "name": name, "dtype": dtype})
        except (TypeError, NotImplementedError) as error:
            raise ValueError(
                "`norm` must hold a layer that can be copied: one whose `get_config` tells its arguments, and whose constructor "
                f"takes `name` and `dtype`. Received: norm of class {type(self.layer).__name__}, for which Python says: {error}"
            ) from error
        layer.supports_masking = True  # Keras warns of masks that end in a layer, and the block has read them already
        return layer

    def build(self, norm, inputs):
        """Builds one that was made, or `None`, for symbolic inputs; raises `ValueError` if it changes their shape."""
        slots.build(norm, inputs)
        if norm is not None and self.layer is not None:
            input_checks.check_branch(inputs, norm.compute_output_spec(inputs), "norm")

    def config(self):
        """Returns the config of the layer that was given, or `None`."""
        return sublayers.slot_config(self.layer)
