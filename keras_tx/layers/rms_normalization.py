"""Root mean square normalization whose scale may be learned as a difference from 1."""

import keras
from keras import ops

from .. import arguments
from ..ops import sizes
from . import config, input_checks, stepwise, sublayers


@keras.saving.register_keras_serializable(package="keras_tx")
class RMSNormalization(keras.layers.Layer):
    """Divides by the root mean square, as `keras.layers.RMSNormalization`; its scale may be stored as a difference from 1.

    y = x / sqrt(mean(x^2) + epsilon) * scale, or * (1 + scale) where it is zero-centered. All of it runs in float32 or wider, the
    sum too: 1 + scale would lose most of a small scale in half floats.

    Args:
        axis: int, or list of ints, over which the mean runs; the scale has an entry for each place in them.
        epsilon: float.
        zero_centered: bool, whether the scale is a difference from 1, as in Gemma; it starts at 0 then, and weight decay pulls
            the gain to 1.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor.

    Returns:
        A tensor like the inputs.

    Raises:
        ValueError: for an epsilon that is not positive, a `zero_centered` that is no bool, and inputs of another width than
            built.

    Example:

    ```python
    block = keras_tx.layers.TransformerEncoder(
        64, num_heads=4, normalize_first=True, norm=keras_tx.layers.RMSNormalization(zero_centered=True)
    )
    y = block(keras.random.normal((2, 7, 32)))  # (2, 7, 32)
    ```

    Reference:
        Zhang and Sennrich 2019, "Root Mean Square Layer Normalization", section 4.
    """

    is_stepwise = property(lambda self: stepwise.normalizes(self, -1))

    def __init__(self, axis=-1, epsilon=1e-6, zero_centered=False, **kwargs):
        super().__init__(**kwargs)
        self.axis, self.epsilon = axis, arguments.positive_float("epsilon", epsilon)
        self.zero_centered = arguments.flag("zero_centered", zero_centered)
        self.supports_masking = True

    def build(self, input_shape):
        self.hidden_dim = input_checks.hidden_size("inputs", input_shape, least=1)
        self.axis = sorted(self.axis) if isinstance(self.axis, (list, tuple)) else [self.axis]
        shape = tuple(input_shape[axis] for axis in self.axis)
        start, autocast = ("zeros", False) if self.zero_centered else ("ones", True)
        self.scale = self.add_weight(shape, start, name="scale", autocast=autocast)

    def call(self, inputs):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, least=1)
        scale = self.scale
        if self.zero_centered:
            scale = 1.0 + ops.cast(scale, keras.backend.result_type(inputs.dtype, "float32"))
        is_traced = keras.backend.backend() == "torch" and sizes.known(inputs.shape[-1]) is None
        if is_traced and self.axis == [*range(-len(self.axis), 0)]:  # ONNX has no form of torch's own operation
            x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
            x = x * ops.rsqrt(ops.mean(x * x, axis=self.axis, keepdims=True) + self.epsilon)
            return ops.cast(x * ops.cast(scale, x.dtype), inputs.dtype)
        return ops.rms_normalization(inputs, scale=scale, axis=self.axis, epsilon=self.epsilon)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def compute_output_spec(self, inputs):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, least=1)
        return sublayers.like_inputs(self, inputs)

    def get_config(self):
        return config.of(RMSNormalization, self, super().get_config())
