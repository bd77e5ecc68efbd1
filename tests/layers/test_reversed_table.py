"""Logits from a quantized table: the values of Keras' own product, and gradients that point where the float model's do."""

import keras
import numpy as np
import pytest
from keras import ops
from keras.quantizers import AbsMaxQuantizer, Int4QuantizationConfig, Int8QuantizationConfig

from keras_tx.applications import GPT
from keras_tx.layers import TiedLogits, TokenAndPositionEmbedding

from .execution import array, compiled, gradients, input_gradient, quick, tensor, weighted_sum

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


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method implemented:UserWarning")
def test_adapters_of_a_quantized_gpt_learn_as_those_of_a_float_one():
    ids = np.random.default_rng(0).integers(1, VOCABULARY, (8, 6))
    labels = np.roll(ids, -1, axis=1)

    def losses(mode, rate=0.5, steps=12):
        keras.utils.set_random_seed(1)
        model = GPT(VOCABULARY, 8, 1, 2, WIDTH, WIDTH, dropout=0.0)
        for weight in model.trainable_weights:
            weight.assign(array(weight) * (5 if weight.name in ("kernel", "embeddings") else 1))
        if mode:
            model.quantize(mode)
        model.trainable = False
        decoder = model.get_layer("decoder_0")
        adapted = [decoder.attention.value, decoder.feed_forward.output_dense]
        for part in adapted:
            part.trainable = True
            part.enable_lora(4)
        weights = [weight for part in adapted for weight in part.trainable_weights if "lora" in weight.name]
        assert len(weights) == 4
        loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        step = gradients(lambda x: loss_of(labels, model(x)), weights)
        found = []
        for _ in range(steps):
            found.append(float(array(loss_of(labels, model(tensor(ids))))))
            for weight, gradient in zip(weights, step(tensor(ids)), strict=True):
                weight.assign(array(weight) - rate * gradient)
        return found

    exact = losses(None)
    assert exact[-1] < 0.9 * exact[0]
    for mode in ("int8", "int4"):
        found = losses(mode)
        assert found[0] - found[-1] > 0.8 * (exact[0] - exact[-1]), mode
