"""A mask that goes by name is made one that Keras carries."""

import keras

from ..private_keras import set_keras_mask


@keras.saving.register_keras_serializable(package="keras_tx")
class CarryMask(keras.layers.Layer):
    """Gives its first inputs, which carry the second as their mask from then on.

    Keras takes a mask from what a layer gives, and not from an input of the model.

    Call arguments:
        inputs: tensor (B, T, ...).
        given: boolean tensor (B, T).
    """

    def call(self, inputs, given):
        outputs = keras.ops.copy(inputs)
        set_keras_mask(outputs, given)
        return outputs
