"""GPT-2 folders: the logits of `transformers`, both ways, in every layout; what is saved loads bit-equal."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_tx import graph, layers
from keras_tx.applications import GPT, load_huggingface, save_huggingface
from keras_tx.checkpoints import Checkpoint
from keras_tx.ops.activations import gelu_tanh

from ...golden import make_gpt2
from . import folders

BACKEND = keras.backend.backend()
ATOL = 5e-5  # of float32 logits around 3
IDS = np.array([[1, 2, 3, 10], [0, 5, 5, 7]], "int32")

with np.load(Path(__file__).parents[2] / "golden" / "gpt2_tiny.npz") as file:
    GOLDEN = dict(file)
CONFIGS = json.loads(str(GOLDEN["configs"]))

live = pytest.mark.skipif(BACKEND != "torch", reason="transformers runs on torch")


def run(model, ids=IDS):
    return keras.ops.convert_to_numpy(keras.ops.cast(model(ids), "float32"))


def numbers(weight):
    return keras.ops.convert_to_numpy(weight).view(f"uint{8 * keras.ops.convert_to_numpy(weight).dtype.itemsize}")


def assert_bit_equal(model, other):
    assert [weight.path for weight in model.weights] == [weight.path for weight in other.weights]
    for weight, same in zip(model.weights, other.weights, strict=True):
        assert np.array_equal(numbers(weight), numbers(same)), weight.path


def assert_golden(folder, name="default"):
    model = load_huggingface(folder)
    np.testing.assert_allclose(run(model, GOLDEN["ids"]), GOLDEN[f"logits_{name}"], atol=ATOL)
    return model


@pytest.mark.parametrize("name", make_gpt2.CONFIGS)
def test_logits_are_those_of_transformers(name, tmp_path):
    assert_golden(folders.write(tmp_path, CONFIGS[name]), name)


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F64"])
def test_weights_are_widened_without_loss(dtype, tmp_path):
    model = assert_golden(folders.write(tmp_path, dtype=dtype))
    assert {weight.dtype for weight in model.weights} == {"float32"}


def test_shards_are_read(tmp_path):
    assert_golden(folders.write(tmp_path, num_shards=3))


def test_names_may_come_without_prefix_and_with_masks_and_the_tied_head(tmp_path):
    arrays = {name.removeprefix("transformer."): array for name, array in folders.tensors(folders.CONFIG).items()}
    for index in range(2):
        arrays[f"h.{index}.attn.bias"] = np.tril(np.ones((1, 1, 10, 10)))
        arrays[f"h.{index}.attn.masked_bias"] = np.float32(-1e4)
    assert_golden(folders.write(tmp_path, arrays={**arrays, "lm_head.weight": arrays["wte.weight"]}))


def test_the_tanh_form_of_gelu_is_told_from_the_exact_one(tmp_path):
    exact = load_huggingface(folders.write(tmp_path, {**folders.CONFIG, "activation_function": "gelu"}))
    assert np.abs(run(exact, GOLDEN["ids"]) - GOLDEN["logits_default"]).max() > 10 * ATOL


@pytest.mark.parametrize("name", ["default", "gelu", "upcast"])
@pytest.mark.parametrize("max_shard_bytes", [None, 2000])
def test_what_is_loaded_saves_as_it_was(name, max_shard_bytes, tmp_path):
    model = load_huggingface(folders.write(tmp_path, CONFIGS[name]))
    save_huggingface(model, tmp_path / "saved", max_shard_bytes)
    old, new = Checkpoint(tmp_path), Checkpoint(tmp_path / "saved")
    assert old.shapes == new.shapes
    assert all(np.array_equal(old.read(tensor), new.read(tensor)) for tensor in old.shapes)
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())
    known = {
        **CONFIGS[name],
        "reorder_and_upcast_attn": False,
        "n_inner": model.get_layer("decoder_0").intermediate_dim,
    }
    assert {key: value for key, value in saved.items() if key in known} == {
        key: value for key, value in known.items() if key in saved
    }
    assert_bit_equal(model, assert_golden(tmp_path / "saved", name))


@pytest.mark.parametrize("dtype", [None, "bfloat16", "float16", "mixed_bfloat16", "mixed_float16"])
def test_a_dtype_policy_is_that_of_every_layer_and_survives_a_round_trip(dtype, tmp_path):
    before = keras.config.dtype_policy()
    model = load_huggingface(folders.write(tmp_path, CONFIGS["upcast"]), dtype=dtype)
    assert keras.config.dtype_policy() == before
    policy = keras.dtype_policies.get(dtype or before)
    assert {weight.dtype for weight in model.weights} == {policy.variable_dtype}
    assert keras.backend.standardize_dtype(model(GOLDEN["ids"]).dtype) == policy.compute_dtype
    np.testing.assert_allclose(run(model, GOLDEN["ids"]), GOLDEN["logits_upcast"], atol=ATOL if dtype is None else 0.1)
    save_huggingface(model, tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["dtype"] == policy.variable_dtype
    assert_bit_equal(model, load_huggingface(tmp_path / "saved", dtype=dtype))


def test_a_loaded_model_trains_and_reloads_like_any_other(tmp_path):
    model = load_huggingface(folders.write(tmp_path, CONFIGS["upcast"]))
    assert model.get_layer("embedding_dropout").rate == 0.1
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, jit_compile="auto")
    losses = model.fit(GOLDEN["ids"], GOLDEN["ids"], epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert np.array_equal(run(again), run(model))
    save_huggingface(again, tmp_path / "saved")
    assert np.array_equal(run(load_huggingface(tmp_path / "saved")), run(model))


def test_saves_agree_to_the_byte(tmp_path):
    model = load_huggingface(folders.write(tmp_path))
    for name in ("a", "b"):
        save_huggingface(model, tmp_path / name)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def own_layers():
    """A GPT-2 wired by hand, under other names."""
    embedding = layers.TokenAndPositionEmbedding(11, 8, 12, name="words")
    attention = layers.MultiHeadSelfAttention(3, causal=True, dropout=0.2, name="look")
    network = layers.FeedForward(20, activation="silu", name="think")
    options = {"dropout": 0.2, "normalize_first": True, "layer_norm_epsilon": 1e-3}
    blocks = [
        layers.TransformerDecoder(attention=attention, feed_forward=network, name="first", **options),
        layers.TransformerDecoder(20, 3, activation="silu", name="second", **options),
    ]
    norm = keras.layers.LayerNormalization(epsilon=1e-3, name="norm")
    return [embedding, keras.layers.Dropout(0.2), *blocks, norm, layers.TiedLogits(embedding, name="scores")]


@pytest.mark.parametrize("wiring", ["functional", "sequential"])
def test_a_model_wired_by_hand_is_saved_under_the_names_of_the_layout(wiring, tmp_path):
    with graph.without_values():
        x = inputs = keras.Input((None,), dtype="int32")
        if wiring == "functional":
            for layer in own_layers():
                x = layer(x)
            model = keras.Model(inputs, x)
        else:
            model = keras.Sequential([inputs, *own_layers()])
    rng = np.random.default_rng(0)
    for weight in model.weights:
        graph.fill(weight, rng.normal(size=weight.shape))
    save_huggingface(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["n_layer"], config["n_head"], config["n_inner"], config["activation_function"]) == (2, 3, 20, "silu")
    assert (config["resid_pdrop"], config["layer_norm_epsilon"]) == (0.2, 1e-3)
    assert set(Checkpoint(tmp_path, "transformer.").shapes) == set(folders.shapes(config))
    # Keras' layer normalization, which the model has at its end, rounds as it does.
    np.testing.assert_allclose(run(load_huggingface(tmp_path)), run(model), rtol=0, atol=1e-5)


@live
@pytest.mark.parametrize(
    "options", [{}, {"n_inner": 7, "activation_function": "relu"}, {"activation_function": "gelu_fast"}]
)
@pytest.mark.parametrize("saved_as", [{}, {"max_shard_size": "4KB"}])
def test_a_random_model_of_transformers_gives_the_same_logits(options, saved_as, tmp_path):
    reference = random_reference(**options)
    reference.save_pretrained(tmp_path, **saved_as)
    model = load_huggingface(tmp_path)
    np.testing.assert_allclose(run(model), reference_logits(reference), atol=ATOL)
    base = tmp_path / "base"
    reference.transformer.save_pretrained(base)  # without the head, so without the prefix
    assert_bit_equal(model, load_huggingface(base))


@live
def test_a_half_precision_model_of_transformers_is_read(tmp_path):
    import torch

    reference = random_reference().to(torch.bfloat16)
    reference.save_pretrained(tmp_path)
    assert {Checkpoint(tmp_path).dtype(name) for name in Checkpoint(tmp_path).shapes} == {"BF16"}
    np.testing.assert_allclose(run(load_huggingface(tmp_path)), reference_logits(reference.float()), atol=ATOL)


@live
@pytest.mark.parametrize("max_shard_bytes", [None, 2000])
@pytest.mark.parametrize("activation", [gelu_tanh, "gelu"])
def test_transformers_reads_what_is_saved(activation, max_shard_bytes, tmp_path):
    import transformers

    model = GPT(**folders.SMALL, activation=activation, layer_norm_epsilon=1e-2, dropout=0.1)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape) / 2)
    save_huggingface(model, tmp_path, max_shard_bytes)
    reference, report = transformers.GPT2LMHeadModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    np.testing.assert_allclose(run(model), reference_logits(reference.eval()), atol=ATOL)


def random_reference(**options):
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 11, "n_positions": 8, "n_embd": 12, "n_layer": 2, "n_head": 3, "initializer_range": 0.5}
    config = transformers.GPT2Config(**{**sizes, **options}, bos_token_id=None, eos_token_id=None)
    transformers.set_seed(0)
    return transformers.GPT2LMHeadModel(config).eval()


def reference_logits(model):
    import torch

    with torch.no_grad():
        return model(torch.tensor(IDS, dtype=torch.int64)).logits.numpy()
