"""A quantized model is the same after a reload, in every mode: what a part was quantized with is in its owner's config."""

import json

import keras
import numpy as np
import pytest
from keras.quantizers import AbsMaxQuantizer, Float8QuantizationConfig, Int4QuantizationConfig, Int8QuantizationConfig

from keras_tx import graph

from .contract_rows import joint_model, joint_numbers, reloaded, stir
from .contract_table import ROWS
from .execution import array

QUANTIZED = [row for row in ROWS if row.inner and row.variant in ("", "slots")]
CONFIGS = {
    "int8 weights": Int8QuantizationConfig(activation_quantizer=None),
    "int4": Int4QuantizationConfig(block_size=8),
    "int4 rounded": Int4QuantizationConfig(activation_quantizer=AbsMaxQuantizer(axis=-1), block_size=None),
    "float8": Float8QuantizationConfig(),
}


@pytest.mark.usefixtures("few_objects_to_collect")
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method implemented:UserWarning")
@pytest.mark.filterwarnings("ignore:Invalid quantization mode:UserWarning")  # embeddings have no float8
@pytest.mark.filterwarnings("ignore:The use of `x.T` on tensors of dimension other than 2:UserWarning")
@pytest.mark.parametrize(
    "config",
    # What the configs carry does not depend on the backend, and JAX compiles each operation of int4 by itself.
    [
        pytest.param(each, id=name, marks=[pytest.mark.once] * (name != "int8 weights"))
        for name, each in CONFIGS.items()
    ],
)
def test_a_quantized_model_reloads_with_equal_outputs(config, tmp_path):
    model, numbers = joint_model(QUANTIZED), joint_numbers(QUANTIZED)
    stir(model)
    model.quantize(config.mode, config=config)
    outputs = model(numbers)
    copy = reloaded(model, tmp_path)
    again = reloaded(copy, tmp_path)
    for each in (copy, again):
        assert states(each) == states(model)
    for row, ours, theirs in zip(QUANTIZED, outputs, again(numbers), strict=True):
        np.testing.assert_array_equal(array(theirs), array(ours), err_msg=str(row))


def states(model):
    """How each part is quantized."""
    return {
        path.split("/", 1)[1]: (
            part.quantization_mode,
            json.dumps(keras.saving.serialize_keras_object(getattr(part, "quantization_config", None))),
        )
        for path, part in graph.parts(model)
        if part.quantization_mode is not None
    }
