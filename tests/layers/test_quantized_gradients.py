"""Gradients through quantized models with tied logits, which adapters learn by."""

import keras
import numpy as np
import pytest
from keras import ops
from keras.quantizers import Int4QuantizationConfig, Int8QuantizationConfig

from keras_tx import graph
from keras_tx.applications import BERT, GPT, Translator, bert_pretrainer
from keras_tx.layers import TiedLogits

from .execution import array, gradients, tensor

VOCABULARY, WIDTH, LENGTH = 40, 32, 6
IDS = np.random.default_rng(0).integers(1, VOCABULARY, (8, LENGTH))
PLACES = np.tile(np.arange(LENGTH), (8, 1))
CONFIGS = {
    "int8": Int8QuantizationConfig(),
    "int8 weights": Int8QuantizationConfig(activation_quantizer=None),
    "int4": Int4QuantizationConfig(block_size=8),
}
pytestmark = [
    pytest.mark.usefixtures("few_objects_to_collect"),
    pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method implemented:UserWarning"),
    pytest.mark.filterwarnings("ignore:The use of `x.T` on tensors of dimension other than 2:UserWarning"),
]


def language_model():
    model = GPT(VOCABULARY, 8, 1, 2, WIDTH, WIDTH)
    return model, lambda: model(tensor(IDS)), model.get_layer("decoder_0")


def translation_model():
    model = Translator(VOCABULARY, 1, 2, WIDTH, WIDTH, dropout=0.0)
    inputs = {"source_ids": tensor(IDS[:, ::-1].copy()), "target_ids": tensor(IDS)}
    return model, lambda: model(inputs), model.get_layer("decoder").get_layer("decoder_0")


def masked_language_model():
    encoder = BERT(VOCABULARY, 8, 1, 2, WIDTH, WIDTH, dropout=0.0)
    model = bert_pretrainer(encoder, next_sentence=False)
    inputs = {"token_ids": tensor(IDS), "segment_ids": tensor(0 * IDS), "mask_positions": tensor(PLACES)}
    return model, lambda: model(inputs)["masked_lm"], encoder.get_layer("encoder_0")


MODELS = [language_model, translation_model, masked_language_model]
every_model = pytest.mark.parametrize(
    "make", [pytest.param(make, marks=[pytest.mark.once] * (make is not language_model)) for make in MODELS]
)


def made(make):
    """A model, the function that gives its logits, and a block of it; the weights are those of every other call."""
    keras.utils.set_random_seed(1)
    model, call, block = make()
    for weight in model.trainable_weights:
        if make is not translation_model and weight.name in ("kernel", "embeddings"):  # drawn too small to learn fast
            weight.assign(5 * array(weight))
    return model, call, block


def loss_of(logits):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)(np.roll(IDS, -1, axis=1), logits)


def weight_that_integers_stand_for(layer, shape):
    """The float weight, of the shape that it had, of a quantized layer, read off its outputs."""
    if isinstance(layer, keras.layers.Embedding):
        return array(layer(tensor(np.arange(layer.input_dim))))
    axes = 1
    if isinstance(layer, keras.layers.EinsumDense):
        inputs, kernel = layer.equation.split("->")[0].split(",")
        axes = len(set(inputs) & set(kernel))
    size = int(np.prod(shape[:axes]))
    unit = tensor(np.eye(size, dtype="float32").reshape(1, size, *shape[:axes]))
    activation, layer.activation = layer.activation, None
    weight = array(layer(unit) - layer(ops.zeros_like(unit))).reshape(shape)
    layer.activation = activation
    return weight


def float_weights(model):
    """Dict from path to each layer whose float weight a quantization replaces, and its weight."""
    found = {}
    for path, part in graph.parts(model):
        if isinstance(part, (keras.layers.Dense, keras.layers.EinsumDense)):
            found[path] = (part, part.kernel)
        elif isinstance(part, keras.layers.Embedding):
            found[path] = (part, part.embeddings)
    return found


def pass_straight_through(layer, name, floats):
    """Makes a layer give its outputs with the gradient of its float twin, where rounding counts as no change."""
    rounded, activation = getattr(layer, name), getattr(layer, "activation", None)
    if activation is not None:
        layer.activation = floats.activation = None

    def call(inputs, training=None):
        outputs = floats(inputs)
        outputs = ops.stop_gradient(rounded(inputs)) + (outputs - ops.stop_gradient(outputs))
        return outputs if activation is None else activation(outputs)

    setattr(layer, name, call)


@every_model
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_gradients_pass_straight_through_all_that_is_rounded(make, config):
    quantized, call, block = made(make)
    shapes = {path: tuple(weight.shape) for path, (_, weight) in float_weights(quantized).items()}
    quantized.quantize(config=config)
    parts, (floats, call_floats, float_block) = dict(graph.parts(quantized)), made(make)
    for path, (_, weight) in float_weights(floats).items():
        weight.assign(weight_that_integers_stand_for(parts[path], shapes[path]))

    def found(call, block):
        return gradients(lambda: loss_of(call()), [block.attention_norm.gamma, block.feed_forward_norm.gamma])()

    ours, exact = found(call, block), found(call_floats, float_block)
    for path, twin in dict(graph.parts(floats)).items():
        if isinstance(twin, (keras.layers.Dense, keras.layers.EinsumDense, TiedLogits)):
            pass_straight_through(parts[path], "call" if isinstance(twin, TiedLogits) else "quantized_call", twin)
    for gradient, expected, of_floats in zip(ours, found(call, block), exact, strict=True):
        scale = np.abs(expected).max()
        assert scale > 1e-5
        np.testing.assert_allclose(gradient / scale, expected / scale, atol=1e-4)
        if config.activation_quantizer is None:  # then nothing else is rounded than weights
            np.testing.assert_allclose(gradient / scale, of_floats / scale, atol=1e-3)


@every_model
def test_adapters_of_a_quantized_model_learn_as_those_of_a_float_one(make):
    rate = 10.0 if make is masked_language_model else 1.5

    def gained(config, steps=6):
        model, call, block = made(make)
        if config:
            model.quantize(config=config)
        model.trainable = False
        adapted = [block.attention.value, block.feed_forward.output_dense]
        for part in adapted:
            part.trainable = True
            part.enable_lora(4)
        weights = [weight for part in adapted for weight in part.trainable_weights if "lora" in weight.name]
        assert len(weights) == 4
        step, before = gradients(lambda: loss_of(call()), weights), float(array(loss_of(call())))
        for _ in range(steps):
            for weight, gradient in zip(weights, step(), strict=True):
                weight.assign(array(weight) - rate * gradient)
        return before - float(array(loss_of(call()))), before

    exact, before = gained(None)
    assert exact > 0.05 * before
    for mode, share in (("int8", 0.8), ("int4", 0.4)):  # sixteen steps of a weight are another model
        found, _ = gained(CONFIGS[mode])
        assert share * exact < found < exact / share, mode
