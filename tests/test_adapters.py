"""Low-rank adapters in one call: which layers get them, that they alone are trained, and what is refused."""

import keras
import numpy as np
import pytest

from keras_tx import layers
from keras_tx.adapters import enable_lora
from keras_tx.applications import BERT, GPT, Llama, Translator, bert_classifier

_SIZES = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 12}
IDS = np.random.default_rng(0).integers(1, 20, (2, 4)).astype("int32")
_ALL = ("query", "key", "value", "attention_output", "gate", "intermediate", "output_dense")


def llama(num_layers=2):
    return Llama(20, **{**_SIZES, "num_layers": num_layers}, num_key_value_heads=1, attention_bias=True, tied=True)


def own():
    """A model with a plain layer that is called twice, and a block."""
    inputs = keras.Input((4, 8))
    query = keras.layers.Dense(8, name="query")
    x = query(query(inputs))
    return keras.Model(inputs, layers.TransformerEncoder(8, num_heads=2, name="block")(x), name="own")


# What is built, what is asked for, and the paths without the model's name that get an adapter.
CASES = {
    "gpt": (
        lambda: GPT(20, 8, **_SIZES),
        {},
        [f"decoder_{index}/attention/{name}" for index in (0, 1) for name in ("query", "value")],
    ),
    "llama": (llama, {"targets": _ALL}, None),
    "one place": (llama, {"targets": "decoder_1/attention/key"}, ["decoder_1/attention/key"]),
    "tied table": (llama, {"targets": ["token_embedding"]}, ["embedding/token_embedding"]),
    "two stacks": (
        lambda: Translator(20, **{**_SIZES, "num_layers": 1}),
        {"targets": ["cross_attention/query"]},
        ["decoder/decoder_0/cross_attention/query"],
    ),
    "nested": (
        lambda: bert_classifier(BERT(20, 8, **{**_SIZES, "num_layers": 1}), 3),
        {},
        [f"bert/encoder_0/attention/{name}" for name in ("query", "value")],
    ),
    "own layers": (own, {}, ["query", "block/attention/query", "block/attention/value"]),
}


@pytest.mark.once
@pytest.mark.parametrize("name", CASES)
def test_the_layers_that_are_named_are_trained_and_no_others(name):
    make, options, expected = CASES[name]
    model = make()
    model.trainable = False
    paths = enable_lora(model, 2, **options)
    if expected is None:
        expected = [path.partition("/")[2] for path in paths]
        assert len(expected) == 2 * len(_ALL)
    assert paths == [f"{model.name}/{path}" for path in expected]
    trained = [weight.path.split("/") for weight in model.trainable_weights]
    assert all(path[-1].startswith("lora_") for path in trained)
    assert len(trained) == 2 * len(expected)
    assert {path[-2] for path in trained} == {path.split("/")[-1] for path in paths}


def fitted(model):
    """Trains a model of ids to predict the ids, and returns the losses before and after."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    eagerly = keras.backend.backend() == "tensorflow"
    model.compile(keras.optimizers.Adam(0.003), loss, run_eagerly=eagerly, jit_compile=False)
    return model.fit(IDS, IDS, epochs=3, verbose=0).history["loss"]


@pytest.mark.usefixtures("few_objects_to_collect")
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("mode", [None, "int8"])
def test_training_changes_the_adapters_alone_and_a_file_has_them_merged(mode, tmp_path):
    model = llama(num_layers=1)
    if mode:
        model.quantize(mode)
    outputs = keras.ops.convert_to_numpy(model(IDS))
    enable_lora(model, 2, _ALL, alpha=4)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(IDS)), outputs, rtol=1e-6, atol=1e-6)
    before = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}
    losses = fitted(model)
    assert losses[-1] < losses[0]
    changed = {
        weight.path for weight in model.weights if np.any(keras.ops.convert_to_numpy(weight) != before[weight.path])
    }
    assert changed == {weight.path for weight in model.trainable_weights}
    assert len(changed) == 2 * len(_ALL)
    outputs = keras.ops.convert_to_numpy(model(IDS))
    model.save(tmp_path / "model.keras")
    with pytest.warns(UserWarning, match="Skipping variable loading for optimizer"):  # which trained the adapters
        again = keras.models.load_model(tmp_path / "model.keras")
    tolerance = 1e-5 if mode is None else 0.1 * np.abs(outputs).max()  # merged kernels are rounded to int8 again
    np.testing.assert_allclose(keras.ops.convert_to_numpy(again(IDS)), outputs, atol=tolerance)
    assert not any("lora" in weight.path for weight in again.weights)
    kernels = {path.rpartition("lora_kernel")[0] + "kernel" for path in changed}  # biases are as frozen as they were
    assert {weight.path for weight in again.trainable_weights} == (set() if mode else kernels)
    if mode is None:
        assert fitted(again)[-1] < losses[-1]
        again.save(tmp_path / "again.keras")
        again = keras.models.load_model(tmp_path / "again.keras")
        assert again.optimizer.iterations == 3
        assert {weight.path for weight in again.trainable_weights} == kernels
        assert len(enable_lora(again, 1)) == 2
        again.trainable = False
        again.trainable = True  # which TensorFlow skips where it is set already
        assert any(weight.path.endswith("/query/bias") for weight in again.trainable_weights)


@pytest.mark.once
def test_an_adapter_outside_of_blocks_is_merged_into_weights_for_a_model_without(tmp_path):
    model, inputs = own(), np.random.default_rng(1).normal(size=(1, 4, 8)).astype("float32")
    enable_lora(model, 2, ["query", "attention_output", "intermediate"])
    model.compile("adam", "mse", run_eagerly=True)
    model.fit(inputs, inputs, verbose=0)  # moves B, which was zero, and so the outputs
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    outputs = keras.ops.convert_to_numpy(model(inputs))
    plain, again = own(), keras.models.load_model(tmp_path / "model.keras", compile=False)
    plain.load_weights(tmp_path / "model.weights.h5")
    for each in (plain, again):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(each(inputs)), outputs, atol=1e-5)
    assert not any("lora" in weight.path for weight in plain.weights)
    factors = [weight for weight in again.weights if "lora" in weight.path]  # Keras' own way with a layer of its own
    assert len(factors) == 2
    assert not any(keras.ops.convert_to_numpy(weight).any() for weight in factors)


@pytest.mark.once
def test_a_model_that_was_compiled_before_is_not_trained_by_what_was_compiled():
    model = llama(num_layers=1)
    fitted(model)
    enable_lora(model, 2)
    with pytest.raises(ValueError, match=r"call `compile\(\)`"):
        model.fit(IDS, IDS, verbose=0)
    fitted(model)


def adapted():
    model = llama()
    model.get_layer("decoder_1").attention.value.enable_lora(1)
    return model


REFUSED = {
    "name": (
        llama,
        {"targets": ["query", "qery"]},
        r"`targets` must name .*llama has .*intermediate.* Received: 'qery'\.",
    ),
    "a layer without": (llama, {"targets": "attention"}, r"`targets` must name layers .* Received: 'attention'\."),
    "no names": (llama, {"targets": []}, r"`targets` must be names of layers, one at least. Received: targets=\[\]"),
    "a layer": (llama, {"targets": layers.LayerScale()}, "`targets` must be names of layers"),
    "rank": (llama, {"rank": 0}, "`rank` must be a positive integer. Received: rank=0"),
    "alpha": (llama, {"alpha": 0}, "`alpha` must be a positive number or None. Received: alpha=0"),
    "twice": (adapted, {}, "`model` must have no adapters yet .* an adapter in llama/decoder_1/attention/value"),
    "not built": (lambda: keras.Sequential([keras.layers.Dense(2)]), {}, "`model` must be a built keras.Model"),
    "no model": (lambda: "llama", {}, "`model` must be a built keras.Model. Received: model='llama'"),
}


@pytest.mark.once
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_leaves_the_model_as_it_was(name):
    make, options, said = REFUSED[name]
    model = make()
    before = [weight.path for weight in getattr(model, "trainable_weights", [])]
    with pytest.raises(ValueError, match=said):
        enable_lora(model, **{"rank": 2, **options})
    assert [weight.path for weight in getattr(model, "trainable_weights", [])] == before
