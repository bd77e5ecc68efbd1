"""Logits from a quantized table: the values of Keras' own product, and gradients that point where the float model's do."""

import numpy as np
import pytest
from keras import ops
from keras.quantizers import AbsMaxQuantizer, Int4QuantizationConfig, Int8QuantizationConfig

from keras_tx.layers import TiedLogits, TokenAndPositionEmbedding

from .execution import array, compiled, input_gradient, quick, tensor, weighted_sum

VOCABULARY, WIDTH = 40, 32
ROUNDED = AbsMaxQuantizer(axis=-1)
CONFIGS = {
    "int8": Int8QuantizationConfig(),
    "int8 weights": Int8QuantizationConfig(activation_quantizer=None),
    "int4": Int4QuantizationConfig(block_size=8),
    "int4 rounded": Int4QuantizationConfig(activation_quantizer=ROUNDED, block_size=None),
}


def head():
    embedding = TokenAndPositionEmbedding(VOCABULARY, None, WIDTH, embeddings_initializer="normal")
    logits = TiedLogits(embedding, use_bias=True)
    logits.build((None, 5, WIDTH))
    return logits, tensor(np.random.default_rng(0).normal(size=(2, 5, WIDTH)).astype("float32"))


def cosine(one, other):
    return float(one.ravel() @ other.ravel() / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.usefixtures("few_objects_to_collect")
@pytest.mark.filterwarnings("ignore:The use of `x.T` on tensors of dimension other than 2:UserWarning")
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_quantized_logits_are_those_of_keras_with_the_gradient_of_the_float_model(config):
    logits, inputs = head()
    exact = input_gradient(quick(lambda x: weighted_sum(logits(x))), inputs)
    table = logits.embedding.token_embedding
    table.quantize(config=config)
    theirs = table(ops.reshape(inputs, (-1, WIDTH)), reverse=True)
    np.testing.assert_allclose(array(logits(inputs)).reshape(theirs.shape), array(theirs), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(array(compiled(logits)(inputs)), array(logits(inputs)), rtol=1e-4, atol=1e-5)
    for run in (quick, compiled):
        rounded = input_gradient(run(lambda x: weighted_sum(logits(x))), inputs)
        assert cosine(rounded, exact) > 0.99


@pytest.mark.usefixtures("few_objects_to_collect")
@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_an_adapter_of_a_quantized_table_counts_at_both_ends(mode):
    logits, inputs = head()
    table = logits.embedding.token_embedding
    table.quantize(mode)
    before = array(logits(inputs))
    table.enable_lora(2)
    table.lora_embeddings_b.assign(np.full((2, WIDTH), 0.1, "float32"))
    change = array(table.lora_embeddings_a) @ array(table.lora_embeddings_b)
    np.testing.assert_allclose(array(logits(inputs)) - before, array(inputs) @ change.T, atol=1e-4)
