"""Keras' dense layers, whose products are formed as TensorFlow runs them fastest: XLA with a single row, as in decoding, and
graphs with many.
"""

import keras

from ..ops import activations, flat_products, row_products


class _Product:
    def call(self, inputs, training=None):
        if row_products.applies(inputs, self._contracted):
            outputs = row_products.row_times_matrix(inputs, self.kernel, self._contracted)
            if self.bias is not None:
                outputs = keras.ops.add(outputs, self.bias)
        elif flat_products.applies(inputs):
            outputs = flat_products.product(inputs, self.kernel, self.bias, self._contracted)
        else:
            return super().call(inputs, training=training)
        return outputs if self.activation is None else activations.fusible(self.activation)(outputs)

    def quantize(self, mode=None, type_check=True, config=None):
        super().quantize(mode, type_check=False, config=config)  # Keras quantizes no subclass unless told to


@keras.saving.register_keras_serializable(package="keras_tx")
class Dense(_Product, keras.layers.Dense):
    """`keras.layers.Dense`."""

    _contracted = 1


@keras.saving.register_keras_serializable(package="keras_tx")
class EinsumDense(_Product, keras.layers.EinsumDense):
    """`keras.layers.EinsumDense` for equations whose contracted axes are the inputs' last and the kernel's first."""

    @property
    def _contracted(self):
        kernel, outputs = self.equation.split(",")[1].split("->")
        return sum(axis not in outputs for axis in kernel)
