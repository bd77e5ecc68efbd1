"""What surrounds the calibration of a layer in the modes "gptq" and "awq": until then it is a float layer, whatever its policy
says.
"""

import copy

import keras
import numpy as np
from keras import ops

CALIBRATED_MODES = ("gptq", "awq")


def is_awaited(layer):
    """Whether a layer has been given a mode that needs calibration data and has seen none: its float kernel is in use."""
    mode = layer.quantization_mode
    return mode in CALIBRATED_MODES and not getattr(layer, f"is_{mode}_calibrated", False)


def float_policy(policy):
    """Returns the policy that a layer had before it was quantized."""
    return keras.dtype_policies.get(policy.name.rpartition("_from_")[2])


def without_data(config):
    """Returns a quantization config without what its one run needed: data, a tokenizer and the layers of the model.

    Every layer keeps its config, and would keep these alive; and a config that holds the layers that hold it cannot be
    serialized.
    """
    if config is None or config.mode not in CALIBRATED_MODES:
        return config
    config = copy.copy(config)
    config.dataset = config.tokenizer = config.quantization_layer_structure = None
    return config


def requantize_displaced(layer, kernel):
    """Rounds again what a calibration has put out of place: outputs that have a group of weights of one sign.

    Keras 3.15 keeps zero points in a byte and the 0 not in the range of a group. The zero point of a group of positive weights
    is then negative and wraps around, as does that of negative weights far from 0, and the integers stand for other numbers
    altogether; GPTQ hands their error on to all weights of the output. Such outputs get the integers that are nearest to the
    float weights, with a range for each group that 0 is in.

    Args:
        layer: a calibrated layer.
        kernel: its float kernel, which the calibration started from.
    """
    most = 2**layer.quantization_config.weight_bits - 1
    packed = most == 15
    integers, scale, zero = (ops.convert_to_numpy(each) for each in _weights(layer, packed))
    group = ops.convert_to_numpy(layer.g_idx).astype("int32")  # (rows,)
    floats = ops.convert_to_numpy(ops.cast(kernel, "float32")).reshape(len(group), -1).T  # (columns, rows)
    if layer.quantization_mode == "awq":
        floats = floats * ops.convert_to_numpy(layer.awq_scales)
    members = {number: group == number for number in np.unique(group)}
    displaced = np.zeros(len(floats), bool)
    for number, member in members.items():
        middle = (floats[:, member].min(axis=1) + floats[:, member].max(axis=1)) / 2
        held = (most / 2 - zero[:, number].astype("float32")) * scale[:, number]
        displaced |= np.abs(held - middle) > 0.75 * most * scale[:, number]  # a wrap moves it by more than its width
    if not displaced.any():
        return
    integers, scale, zero, floats = integers.copy(), scale.copy(), zero.copy(), floats[displaced]
    for number, member in members.items():
        low, high = np.minimum(floats[:, member].min(axis=1), 0), np.maximum(floats[:, member].max(axis=1), 0)
        step = np.where(high > low, (high - low) / most, 1).astype("float32")
        origin = np.round(-low / step)
        rounded = np.round(floats[:, member] / step[:, None] + origin[:, None])
        integers[np.ix_(displaced, member)] = np.clip(rounded, 0, most)
        scale[displaced, number], zero[displaced, number] = step, origin
    layer.quantized_kernel.assign(
        keras.quantizers.pack_int4(integers, axis=0, dtype="uint8")[0] if packed else integers
    )
    layer.kernel_scale.assign(scale)
    layer.kernel_zero.assign(zero)


def _weights(layer, packed):
    integers = layer.quantized_kernel
    if packed:
        integers = keras.quantizers.unpack_int4(integers, layer.kernel_scale.shape[0], axis=0, dtype="uint8")
    return integers, layer.kernel_scale, layer.kernel_zero
