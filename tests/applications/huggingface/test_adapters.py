"""Low-rank adapters are merged into what is saved, wherever Keras has them; quantized layers are refused by name."""

import keras
import numpy as np
import pytest

from keras_tx import graph
from keras_tx.applications import (
    BERT,
    GPT,
    Swin,
    Translator,
    ViT,
    bert_classifier,
    bert_pretrainer,
    load_huggingface,
    save_huggingface,
)
from keras_tx.checkpoints import Checkpoint

from ...layers.contract_rows import stir
from . import rows

_BART = {"positions": "learned", "position_offset": 2, "sequence_length": 8, "embedding_norm": True}
MODELS = {
    "gpt2": lambda: GPT(**rows.GPT_SIZES),
    "bert": lambda: BERT(**rows.BERT_SIZES),
    "bert_classifier": lambda: bert_classifier(BERT(**rows.BERT_SIZES), 3, pairs=True),
    "bert_pretrainer": lambda: bert_pretrainer(BERT(**rows.BERT_SIZES)),
    "marian": lambda: Translator(**rows.TRANSLATOR_SIZES, positions="sinusoidal_halves", logits_bias=True),
    "bart": lambda: Translator(**rows.TRANSLATOR_SIZES, **_BART, logits_bias=True),
    "vit": lambda: ViT(**rows.VIT_SIZES, include_rescaling=False),
    "deit": lambda: ViT(**rows.VIT_SIZES, include_rescaling=False, distillation_token=True),
    "swin": lambda: Swin(**rows.SWIN_SIZES, include_rescaling=False),
}
# The forward pass of each layer with an adapter is in these.
_EVERYWHERE = ("gpt2", "bart")
every_model = pytest.mark.parametrize(
    "name", [name if name in _EVERYWHERE else pytest.param(name, marks=pytest.mark.once) for name in MODELS]
)


def outputs(model):
    """The outputs by name for ids, none of them padding, or images."""

    def values(tensor):
        random = np.random.RandomState(len(tensor.name))
        if len(tensor.shape) == 4:
            return random.normal(size=(2, 16, 16, 3)).astype("float32")
        return random.randint(1, 2 if tensor.name == "segment_ids" else 3, size=(2, 5)).astype("int32")

    return rows.outputs(model, keras.tree.map_structure(values, model.input))


def adapt(model):
    """Gives every layer of a model that may have one an adapter, and returns their paths."""
    layers = {id(layer): (path, layer) for path, layer in graph.parts(model) if hasattr(layer, "enable_lora")}
    random = np.random.default_rng(0)
    for _, layer in layers.values():
        layer.enable_lora(2, lora_alpha=3)
        for weight in layer.weights:
            if "lora" in weight.name:
                weight.assign(random.normal(size=weight.shape) / 4)
    return [path for path, _ in layers.values()]


@every_model
def test_a_folder_gives_the_outputs_of_the_adapted_model(name, tmp_path):
    model = MODELS[name]()
    stir(model)
    bare = outputs(model)
    paths = adapt(model)
    assert any(path.endswith("query") for path in paths)
    assert any("token_embedding" in path for path in paths) == (name not in ("vit", "deit", "swin"))
    before, adapted = [keras.ops.convert_to_numpy(weight) for weight in model.weights], outputs(model)
    save_huggingface(model, tmp_path)
    for weight, values in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), values, err_msg=weight.path)
    found = outputs(load_huggingface(tmp_path))
    for key, values in adapted.items():
        np.testing.assert_allclose(found[key], values, rtol=1e-4, atol=1e-4, err_msg=key)
        assert np.abs(bare[key] - values).max() > 0.01


def test_what_is_merged_is_rounded_to_the_dtype_of_the_weights(tmp_path):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("bfloat16")
    try:
        model = GPT(**rows.GPT_SIZES)
    finally:
        keras.config.set_dtype_policy(before)
    layer = model.get_layer("decoder_0").feed_forward.intermediate
    layer.enable_lora(1)
    kernel, a, b = (next(w for w in layer.weights if w.name == n) for n in ("kernel", "lora_kernel_a", "lora_kernel_b"))
    kernel.assign(np.ones(kernel.shape))
    a.assign(np.ones(a.shape))
    b.assign(np.full(b.shape, 0.75 * 2**-7))  # bfloat16 has 1 and 1 + 2^-7, and the second is nearer
    save_huggingface(model, tmp_path)
    checkpoint, tensor = Checkpoint(tmp_path, "transformer."), "h.0.mlp.c_fc.weight"
    assert checkpoint.dtype(tensor) == "BF16"
    np.testing.assert_array_equal(checkpoint.read(tensor), np.full(kernel.shape, 1 + 2**-7))


@pytest.mark.once
def test_adapters_of_a_saved_model_go_into_the_folder_once(tmp_path):
    model = MODELS["bert_classifier"]()
    adapt(model)
    model.save(tmp_path / "model.keras")  # merges them too, and keeps those of the head, at zero
    again = keras.models.load_model(tmp_path / "model.keras")
    save_huggingface(again, tmp_path)
    np.testing.assert_allclose(
        outputs(load_huggingface(tmp_path))["logits"], outputs(model)["logits"], rtol=1e-4, atol=1e-4
    )


@pytest.mark.usefixtures("few_objects_to_collect")
@pytest.mark.once
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_quantized_layers_are_named_with_the_way_out(tmp_path):
    model = MODELS["gpt2"]()
    stir(model)
    save_huggingface(model, tmp_path / "float")
    model.quantize("int8")
    query = model.get_layer("decoder_0").attention.query
    query.enable_lora(2)
    query.lora_kernel_b.assign(np.ones(query.lora_kernel_b.shape))
    said = (
        r"`model` must hold float weights.*`load_huggingface`.*of before `quantize`.*`enable_lora` there .*assign theirs. "
        r"Received: quantized layers gpt/embedding/token_embedding \(int8\), .* and \d+ more."
    )
    with pytest.raises(ValueError, match=said):
        save_huggingface(model, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
    # And this is the way out.
    again = load_huggingface(tmp_path / "float")
    same = again.get_layer("decoder_0").attention.query
    same.enable_lora(2)
    same.lora_kernel_a.assign(query.lora_kernel_a)
    same.lora_kernel_b.assign(query.lora_kernel_b)
    save_huggingface(again, tmp_path / "saved")
    found, expected = outputs(load_huggingface(tmp_path / "saved"))["logits"], outputs(model)["logits"]
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()  # but for the rounding to integers


@pytest.mark.once
def test_one_quantized_layer_is_named(tmp_path):
    model = MODELS["vit"]()
    # A feed-forward network has no `quantize` of its own: Keras quantizes the layers that have no parts.
    model.get_layer("encoder_1").feed_forward.intermediate.quantize("int8")
    with pytest.raises(
        ValueError, match=r"Received: quantized layers vit/encoder_1/feed_forward/intermediate \(int8\)\.$"
    ):
        save_huggingface(model, tmp_path)
