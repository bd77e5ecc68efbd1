"""Keras' dense layers, whose products are formed as TensorFlow runs them fastest, XLA with a single row, as in decoding, and
graphs with many; and which GPTQ and AWQ calibrate, and files hold whole.
"""

import math

import keras

from ..ops import activations, linear
from . import calibration, stepwise
from .turned_kernel import TurnedKernel


def _is_calibrated(mode):
    """Returns the property that Keras sets when a calibration ends, and when a file is read."""
    name = f"_{mode}_calibrated"

    def write(self, value):
        setattr(self, name, value)
        if value and self._float_kernel is not None:
            calibration.requantize_displaced(self, self._float_kernel)
            self._keep(None)

    return property(lambda self: getattr(self, name, False), write)


class _Product:
    _float_kernel = None  # from the quantization to the end of the calibration
    is_gptq_calibrated, is_awq_calibrated = _is_calibrated("gptq"), _is_calibrated("awq")

    def _keep(self, kernel):
        object.__setattr__(self, "_float_kernel", kernel)  # a weight of the layer no more, when Keras is done with it

    def call(self, inputs, training=None):
        if linear.is_one_row(inputs, self._contracted):
            outputs = linear.row_times_matrix(inputs, self.kernel, self._contracted)
            if self.bias is not None:
                outputs = keras.ops.add(outputs, self.bias)
        elif linear.fuses_flat(inputs):
            outputs = linear.flat_product(inputs, self.kernel, self.bias, self._contracted)
        else:
            return super().call(inputs, training=training)
        return outputs if self.activation is None else activations.fusible(self.activation)(outputs)

    def quantized_call(self, inputs, training=None):
        if calibration.is_awaited(self):
            return self.call(
                inputs, training=training
            )  # where Keras' calibration listens, which sees nothing otherwise
        return super().quantized_call(inputs, training=training)

    def quantize(self, mode=None, type_check=True, config=None):
        if mode in calibration.CALIBRATED_MODES:
            self._check_adapter(mode)
            self._check_matrix(mode)
            self._keep(self._kernel)
        config = calibration.without_data(config)
        super().quantize(mode, type_check=False, config=config)  # Keras quantizes no subclass unless told to

    def _check_adapter(self, mode):
        if self.lora_enabled:
            raise ValueError(
                f"`quantize({mode!r})` must be called when adapters are merged, as they are in a file: save the weights and load "
                f"them into a model without adapters. Received: {self.path}, with an adapter of rank {self.lora_rank}."
            )

    def _check_matrix(self, mode):
        """Raises `ValueError` where Keras takes other axes of a kernel than these for its rows."""
        shape = tuple(self.kernel.shape)
        rows = shape[0] if len(shape) == 2 or max(shape) == shape[0] else shape[0] * shape[1]
        if len(shape) > 3 or rows != math.prod(shape[: self._contracted]):
            raise ValueError(
                f"`quantize({mode!r})` cannot be done in {self.path}: Keras takes the longest of a kernel's three axes for the "
                f"width of the model. Received: a kernel of shape {shape}. Leave the layer out by `filters`."
            )

    def enable_lora(self, rank, *args, **kwargs):
        if self.quantization_mode in calibration.CALIBRATED_MODES:
            raise NotImplementedError(
                f"`enable_lora` must be called on float, int8 or int4 layers: Keras has no adapters for other modes. Received: "
                f"{self.path}, in mode {self.quantization_mode!r}."
            )
        super().enable_lora(rank, *args, **kwargs)

    def get_config(self):
        config = super().get_config()
        if calibration.is_awaited(self):
            config["quantization_config"] = None
            config["dtype"] = keras.dtype_policies.serialize(calibration.float_policy(self.dtype_policy))
        return config

    def save_own_variables(self, store):
        if self.quantization_mode not in calibration.CALIBRATED_MODES or not self.built:
            super().save_own_variables(store)
            return
        # Keras leaves the zero points out of what it writes, and asks for them when it reads.
        for number, weight in enumerate(self._stored()):
            store[str(number)] = weight

    def load_own_variables(self, store):
        if self.quantization_mode not in calibration.CALIBRATED_MODES or not self.built:
            super().load_own_variables(store)
            return
        awaits, whole = calibration.is_awaited(self) and hasattr(self, "_kernel"), len(self._stored(calibrated=True))
        if awaits and len(store.keys()) < whole - 1:
            self._load_floats(store)
            return
        if len(store.keys()) == whole - 1:
            raise ValueError(
                f"The file must hold the zero points of {self.path}, which Keras 3.15 leaves out of what it writes of a layer "
                f"in mode {self.quantization_mode!r}. They cannot be told from the rest: quantize the float model again."
            )
        if awaits:  # from now on it is a layer that was calibrated, as that of the file
            self._keep(None)
            del self._kernel
        super().load_own_variables(store)

    def _stored(self, calibrated=None):
        """Lists what a file holds of a layer in a mode that is calibrated, in the order of Keras."""
        if calibrated is None:
            calibrated = not calibration.is_awaited(self)
        names = self.variable_serialization_spec[self.quantization_mode if calibrated else None]
        weights = [self._kernel if name == "kernel" else getattr(self, name) for name in names]
        return [weight for weight in weights if weight is not None]

    def _load_floats(self, store):
        weights = self._stored()
        shapes = [tuple(weight.shape) for weight in weights]
        found = [tuple(store[str(number)].shape) for number in range(len(store.keys()))]
        if found != shapes:
            raise ValueError(
                f"The file must hold float weights of {self.path}, which awaits its calibration. Received: arrays of shapes "
                f"{found} for weights of shapes {shapes}."
            )
        for number, weight in enumerate(weights):
            weight.assign(store[str(number)])


@keras.saving.register_keras_serializable(package="keras_tx")
class Dense(_Product, TurnedKernel, keras.layers.Dense):
    """`keras.layers.Dense`."""

    is_stepwise = property(stepwise.has_known_activation)

    _contracted = 1


@keras.saving.register_keras_serializable(package="keras_tx")
class EinsumDense(_Product, TurnedKernel, keras.layers.EinsumDense):
    """`keras.layers.EinsumDense` for equations whose contracted axes are the inputs' last and the kernel's first."""

    is_stepwise = property(stepwise.has_known_activation)

    @property
    def _contracted(self):
        kernel, outputs = self.equation.split(",")[1].split("->")
        return sum(axis not in outputs for axis in kernel)
