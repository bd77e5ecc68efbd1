"""Mixing of positions and channels by the Fourier transform, in the place of attention."""

import keras
from keras import ops

from ..ops import masks, padding, sizes
from . import config, input_checks, sublayers
from .traced_subclasses import TracedSubclasses


@keras.saving.register_keras_serializable(package="keras_tx")
class FourierMixing(TracedSubclasses, keras.layers.Layer):
    """The real part of the Fourier transform along positions and channels, for the attention slot of `TransformerEncoder`.

    y = Re(F_T F_D x), with (F_n x)_k = sum_j x_j exp(-2 pi i j k / n): not divided by the root of T D, as published. No weights.

    Every output depends on every position, and on how many there are. With a mask padding is set to zero before the transform,
    and so are its outputs: the numbers of a text then still depend on the length to which it is padded. FNet was trained without
    a mask, on texts padded to 512 tokens, whose padding is mixed like other tokens.

    The transform runs in float32 or wider. Its sums are as large as T D numbers of the inputs' size, which bfloat16 holds and
    float16 (up to 65,504) may not.

    Args:
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor (B, T, D), or (..., T, D): axes before the last two are batch, and stand for B below.
        mask: boolean tensor (B, T), True at real positions; `None` for the mask that Keras carries, if any.

    Returns:
        A tensor like the inputs.

    Raises:
        ValueError: for inputs that are no floats or of less than 3 axes, another width than built, and masks of another shape.

    Example:

    ```python
    block = keras_tx.layers.TransformerEncoder(64, attention=keras_tx.layers.FourierMixing())
    y = block(keras.random.normal((2, 7, 32)))  # (2, 7, 32)
    ```

    Reference:
        Lee-Thorp et al. 2022, "FNet: Mixing Tokens with Fourier Transforms", section 3.2.
    """

    gives_attention_scores = False  # what `analysis` reads: positions are mixed, and not by weights of attention

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, input_shape):
        self.hidden_dim = input_checks.hidden_size("inputs", input_shape, least=3)

    def call(self, inputs, mask=None):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, least=3)
        mask = masks.over_positions(inputs, mask)
        x = ops.cast(padding.zero_masked(inputs, mask), keras.backend.result_type(inputs.dtype, "float32"))
        if 0 in map(sizes.known, x.shape):  # torch has no transform of nothing
            real = x
        else:
            real, _ = ops.fft2((x, ops.zeros_like(x)))
        return padding.zero_masked(ops.cast(real, self.compute_dtype), mask)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def compute_output_spec(self, inputs, mask=None):
        input_checks.check_inputs("inputs", inputs, self.hidden_dim, least=3)
        masks.over_positions(inputs, mask)
        return sublayers.like_inputs(self, inputs)

    def get_config(self):
        return config.of(FourierMixing, self, super().get_config())
