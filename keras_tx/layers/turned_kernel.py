"""Kernels in eight bits that lie outputs by inputs in memory, and inputs by outputs in files and for all who ask for `kernel`."""

import math

from keras import ops

from ..ops import eight_bits


class TurnedKernel:
    """What Keras' dense layers take after in mode "int8", and in no other: a kernel that is fast to read for a single row."""

    _turned = False

    def build(self, input_shape):
        rank, self.lora_rank = self.lora_rank, None
        super().build(input_shape)
        if self.quantization_mode == "int8":
            self._turn()
        self.lora_rank = rank
        if rank:
            self.enable_lora(rank)

    def quantize(self, mode=None, type_check=True, config=None):
        super().quantize(mode, type_check=type_check, config=config)
        if mode == "int8":
            self._turn(ops.convert_to_numpy(self._kernel))

    def _turn(self, values=None):
        """Replaces the kernel (D, F) by one that is (F, D), of these values or of zeros."""
        self.original_kernel_shape = tuple(self._kernel.shape)  # as Keras has it where it stores another
        del self._kernel
        self._kernel = self.add_weight(
            name="kernel",
            shape=self._outputs + self._inputs,
            initializer="zeros",
            dtype="int8",
            trainable=False,
        )
        if values is not None:
            self._kernel.assign(self._to_outputs_first(values))
        self._turned = True

    @property
    def _inputs(self):
        return tuple(self.original_kernel_shape[: self._contracted])

    @property
    def _outputs(self):
        return tuple(self.original_kernel_shape[self._contracted :])

    def _to_outputs_first(self, kernel):
        """(D..., F...) -> (F..., D...)."""
        axes = list(range(len(kernel.shape)))
        return ops.transpose(kernel, axes[self._contracted :] + axes[: self._contracted])

    def _as_keras_has_it(self):
        """Returns a layer that shares all with this one but its kernel, which is (D, F); threads may use this one meanwhile."""
        if not self._turned:
            return self
        twin, axes, count = object.__new__(type(self)), list(range(len(self._kernel.shape))), len(self._outputs)
        kernel = ops.transpose(ops.convert_to_tensor(self._kernel), axes[count:] + axes[:count])
        vars(twin).update(vars(self), _kernel=kernel, _turned=False)
        return twin

    @property
    def kernel(self):
        return super(TurnedKernel, self._as_keras_has_it()).kernel

    def save_own_variables(self, store):
        super(TurnedKernel, self._as_keras_has_it()).save_own_variables(store)

    def load_own_variables(self, store):
        if self._turned:
            store = {str(key): store[key] for key in list(store.keys())}
            if "0" in store and len(store["0"].shape) == len(self.original_kernel_shape):
                store["0"] = self._to_outputs_first(ops.convert_to_tensor(store["0"][...], "int8"))
        super().load_own_variables(store)

    def _int8_call(self, inputs, training=None):
        quantizer, count = self.inputs_quantizer, self._contracted
        size = math.prod(self._outputs)
        y = eight_bits.product(
            inputs,
            ops.reshape(ops.convert_to_tensor(self._kernel), (size, -1)),  # (F, D)
            ops.reshape(ops.convert_to_tensor(self.kernel_scale), (size,)),
            self.compute_dtype,
            None if quantizer is None else lambda x: quantizer(x, axis=tuple(range(-count, 0))),
            count,
        )
        y = ops.reshape(y, (*ops.shape(inputs)[:-count], *self._outputs))
        if self.lora_enabled:
            change = ops.matmul(ops.tensordot(inputs, self.lora_kernel_a, axes=count), self.lora_kernel_b)
            y = ops.cast(ops.add(y, (self.lora_alpha / self.lora_rank) * change), self.compute_dtype)
        if self.bias is not None:
            y = ops.add(y, self.bias)
        return y if self.activation is None else self.activation(y)
