"""Decoders of packed rows: each document as if it were alone, and everything else as with the model of one input."""

import keras
import numpy as np
import pytest

from keras_tx import analysis, decoding, export, graph
from keras_tx.applications import GPT, Llama, load_huggingface, save_huggingface

from ..layers.contract_rows import stir
from ..layers.execution import array, compiled, gradients, quick, tensor

SIZE = {"vocabulary_size": 30, "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
MODELS = {
    "learned": lambda **packed: GPT(sequence_length=2048, positions="learned", **SIZE, **packed),
    "sinusoidal": lambda **packed: GPT(sequence_length=2048, positions="sinusoidal", recompute=True, **SIZE, **packed),
    "rotary": lambda **packed: GPT(sequence_length=2048, positions="rotary", **SIZE, **packed),
    "llama": lambda **packed: Llama(num_key_value_heads=1, window=3, **SIZE, **packed),
}  # fmt: skip
SEGMENTS = np.array([[1, 1, 1, 2, 2, 2, 2, 0, 0], [1, 1, 1, 1, 2, 2, 2, 0, 0]], "int32")
IDS = np.random.default_rng(3).integers(1, 30, SEGMENTS.shape).astype("int32")


def inputs(ids, segments):
    return {"token_ids": ids, "segment_ids": segments}


def both(name):
    """A packed model, and the one of one input with the same weights."""
    packed, plain = MODELS[name](packed=True), MODELS[name]()
    stir(packed)
    assert [weight.path for weight in packed.weights] == [weight.path for weight in plain.weights]
    plain.set_weights(packed.get_weights())
    return packed, plain


def check_alone(found, plain, ids, segments, atol=2e-6):
    for row, own in enumerate(segments):
        for segment in set(own.tolist()) - {0}:
            alone = array(quick(plain)(tensor(ids[row : row + 1, own == segment])))[0]
            np.testing.assert_allclose(found[row, own == segment], alone, atol=atol)


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_each_document_alone(name):
    packed, plain = both(name)
    check_alone(array(quick(packed)(inputs(tensor(IDS), tensor(SEGMENTS)))), plain, IDS, SEGMENTS)
    call = compiled(lambda ids, segments: packed(inputs(ids, segments)))
    check_alone(array(call(tensor(IDS), tensor(SEGMENTS))), plain, IDS, SEGMENTS)
    np.testing.assert_array_equal(
        array(quick(lambda ids: packed(inputs(ids, None)))(tensor(IDS))), array(quick(plain)(tensor(IDS)))
    )


@pytest.mark.parametrize("name", ["learned", "llama"])
def test_long_rows_and_their_gradients_are_those_of_each_document(name):
    """Of 2,048 tokens, attention runs in blocks."""
    settings = {**SIZE, "hidden_dim": 8}
    if name == "learned":
        packed, plain = (GPT(sequence_length=640, packed=flag, **settings) for flag in (True, False))
    else:
        packed, plain = (Llama(window=100, packed=flag, **settings) for flag in (True, False))
    stir(packed)
    plain.set_weights(packed.get_weights())
    segments = np.repeat([1, 2, 3, 0], [640, 640, 640, 128]).astype("int32")[None]
    ids = np.random.default_rng(4).integers(1, 30, segments.shape).astype("int32")
    check_alone(
        array(compiled(lambda *x: packed(inputs(*x)))(tensor(ids), tensor(segments))), plain, ids, segments, 1e-5
    )

    def loss(model, inputs, labels, weights):
        losses = keras.losses.sparse_categorical_crossentropy(labels, model(inputs), from_logits=True)
        return keras.ops.sum(losses * weights)

    labels, real = np.roll(ids, -1), (segments > 0).astype("float32")
    call = gradients(lambda *x: loss(packed, inputs(*x[:2]), *x[2:]), packed.trainable_variables)
    found = call(tensor(ids), tensor(segments), tensor(labels), tensor(real))
    call = gradients(lambda ids, *rest: loss(plain, ids, *rest), plain.trainable_variables)
    parts = [call(*(tensor(each[:, segments[0] == segment]) for each in (ids, labels, real))) for segment in (1, 2, 3)]
    for each, *others in zip(found, *parts, strict=True):
        np.testing.assert_allclose(each, sum(others), rtol=1e-3, atol=1e-3)


def test_it_is_decoded_saved_and_looked_into_without_segments(tmp_path):
    packed, plain = both("learned")
    prompts = [[3, 4, 5], [1, 2]]
    tokens = decoding.generate(packed, prompts, max_new_tokens=4)
    np.testing.assert_array_equal(tokens, decoding.generate(plain, prompts, max_new_tokens=4))
    session = decoding.Session(packed, max_length=16)
    assert list(decoding.stream(session, prompts[0], max_new_tokens=4))[0][0] == tokens[0, 3]
    caches = decoding.init_caches(packed, 1, 8)
    outputs, _ = decoding.step(packed, tensor(IDS[:1, :4]), caches)
    np.testing.assert_allclose(array(outputs), array(plain(tensor(IDS[:1, :4]))), atol=2e-6)

    maps = analysis.attention_maps(packed, inputs(IDS, SEGMENTS))
    same = (SEGMENTS[:, None, :, None] == SEGMENTS[:, None, None]) & (SEGMENTS[:, None, None] > 0)
    assert all(np.all((scores > 0) <= same) for scores in maps.values())

    packed.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(array(again(inputs(IDS, SEGMENTS))), array(packed(inputs(IDS, SEGMENTS))))
    np.testing.assert_array_equal(decoding.generate(again, prompts, max_new_tokens=4), tokens)
    with pytest.raises(ValueError, match="`model` must hand nothing of its context .*`segment_ids`"):
        decoding.generate(packed, prompts, max_new_tokens=4, context={"segment_ids": SEGMENTS[:, :3]})


def test_folders_hold_the_model_of_one_input_and_are_read_as_either(tmp_path):
    packed = MODELS["learned"](packed=True)
    save_huggingface(packed, tmp_path / "gpt")
    again = load_huggingface(tmp_path / "gpt", packed=True)
    np.testing.assert_array_equal(array(again(inputs(IDS, SEGMENTS))), array(packed(inputs(IDS, SEGMENTS))))
    assert len(load_huggingface(tmp_path / "gpt").inputs) == 1


@pytest.mark.once
def test_adapters_quantization_and_exports_know_the_part_that_is_decoded(tmp_path):
    packed = MODELS["rotary"](packed=True)
    alone = graph.without_optional_inputs(packed)
    assert graph.optional_inputs(packed) == ["segment_ids"]
    assert len(alone.inputs) == 1
    assert graph.without_optional_inputs(alone) is alone
    structure = packed.get_quantization_layer_structure("gptq")
    assert structure["sequential_blocks"] == [packed.get_layer(f"decoder_{index}") for index in range(1)]
    before = decoding.generate(packed, [[3, 4]], max_new_tokens=4)
    packed.get_layer("decoder_0").attention.query.enable_lora(2)
    np.testing.assert_array_equal(decoding.generate(packed, [[3, 4]], max_new_tokens=4), before)
    export.export_saved_model(packed, tmp_path / "model")
    import tensorflow as tf

    module = tf.saved_model.load(tmp_path / "model")
    np.testing.assert_allclose(module.serve(tf.constant(IDS)), array(alone(IDS)), atol=1e-5)
