"""Folders that are wrong or hostile: each refused before anything is built, naming what is wrong."""

import json
import time
import tracemalloc

import keras
import numpy as np
import pytest

from keras_tx.applications import load_huggingface

from ...checkpoints.files import entry, packed
from . import folders
from .folders import CONFIG, changed, tensors


def refused(folder, message, **arguments):
    with pytest.raises(ValueError, match=message) as refusal:
        load_huggingface(folder, **arguments)
    return str(refusal.value)


@pytest.mark.once
@pytest.mark.parametrize("key", ["model_type", "vocab_size", "n_positions", "n_embd", "n_layer", "n_head"])
def test_a_key_that_the_config_lacks_is_named(key, tmp_path):
    config = {name: value for name, value in CONFIG.items() if name != key}
    refused(folders.write(tmp_path, config, tensors(CONFIG)), f"`{key}` must be in config.json. Received: none in .*")


@pytest.mark.once
@pytest.mark.parametrize("key", ["vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner"])
@pytest.mark.parametrize("value", [0, -1, 1.5, 12.0, "12", True, [12], {}])
def test_a_size_that_is_none_is_named(key, value, tmp_path):
    message = refused(
        folders.write(tmp_path, {**CONFIG, key: value}, tensors(CONFIG)), f"`{key}` must be a positive integer"
    )
    assert f"Received: {key}={value!r}" in message


@pytest.mark.once
@pytest.mark.parametrize("value", [12 * 10**6, 12 * 10**30, 12 * 10**4000], ids=["large", "larger", "largest"])
@pytest.mark.parametrize("key", ["vocab_size", "n_positions", "n_embd", "n_layer", "n_head"])
def test_a_size_beyond_reason_is_refused_at_once(key, value, tmp_path):
    folder = folders.write(tmp_path, {**CONFIG, key: value}, tensors(CONFIG))
    started = time.perf_counter()
    assert len(refused(folder, "must")) < 1000
    assert time.perf_counter() - started < 5


@pytest.mark.once
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model_type", "llama", "`model_type` must be one of 'gpt2', 'bert', .*'swin'. Received: model_type='llama'"),
        ("model_type", ["gpt2"], "`model_type` must be one of"),
        ("activation_function", "quick_gelu", "`activation_function` must be one of 'gelu_new'.*Received: .*'quick_gelu'"),
        ("activation_function", "leaky_relu", "`activation_function` must be one of"),
        ("activation_function", None, "`activation_function` must be one of"),
        ("scale_attn_weights", False, "`scale_attn_weights` must be True. Received: scale_attn_weights=False"),
        ("scale_attn_weights", 1, "`scale_attn_weights` must be True"),
        ("scale_attn_by_inverse_layer_idx", True, "`scale_attn_by_inverse_layer_idx` must be False"),
        ("add_cross_attention", True, "`add_cross_attention` must be False"),
        ("tie_word_embeddings", False, "`tie_word_embeddings` must be True"),
        ("n_head", 5, "`n_head` must divide `n_embd`. Received: n_head=5, n_embd=12"),
        ("layer_norm_epsilon", 0, "`layer_norm_epsilon` must be a positive number"),
        ("layer_norm_epsilon", "1e-5", "`layer_norm_epsilon` must be a positive number"),
        ("layer_norm_epsilon", float("nan"), "`layer_norm_epsilon` must be a positive number. Received: .*=nan"),
        ("layer_norm_epsilon", float("inf"), "`layer_norm_epsilon` must be a positive number"),
        ("resid_pdrop", 1.0, r"`resid_pdrop` must be a number in \[0, 1\)"),
        ("resid_pdrop", True, r"`resid_pdrop` must be a number in \[0, 1\)"),
        ("attn_pdrop", -0.1, r"`attn_pdrop` must be a number in \[0, 1\)"),
        ("embd_pdrop", "0.1", r"`embd_pdrop` must be a number in \[0, 1\)"),
    ],
)  # fmt: skip
def test_a_value_that_is_not_implemented_is_named(key, value, message, tmp_path):
    refused(folders.write(tmp_path, {**CONFIG, key: value}, tensors(CONFIG)), message)


@pytest.mark.once
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "'config.json', missing"),
        ("", "JSON must be well formed.*config.json"),
        ("{'model_type': 'gpt2'}", "JSON must be well formed"),
        ("[]", "JSON must be an object"),
        ('{"model_type": "gpt2", "model_type": "bert"}', "a key is duplicated: 'model_type'"),
        ("\ufeff{}", "JSON must be well formed"),
        ("[" * 100_000, "nested too deeply"),
        ('{"model_type": "%s"}' % ("x" * 100_000), "`model_type` must be one of"),
    ],
)
def test_a_config_that_is_none_is_refused(text, message, tmp_path):
    folders.write(tmp_path)
    if text is None:
        (tmp_path / "config.json").unlink()
    else:
        (tmp_path / "config.json").write_text(text)
    assert len(refused(tmp_path, message)) < 1000


def test_a_pickle_beside_the_config_is_refused(tmp_path):
    folders.write(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    refused(tmp_path, "'pytorch_model.bin', a pickle, which can run code when it is opened and was not opened")


def test_a_small_file_that_claims_a_huge_model_is_refused_at_once(tmp_path):
    width, header, begin = 786_432, {}, 0
    for index in range(1000):  # 1,000 blocks by name, each with a tensor of one number
        header[f"h.{index}.mlp.c_fc.weight"] = entry((1,), begin)
        begin = header[f"h.{index}.mlp.c_fc.weight"]["data_offsets"][1]
    (tmp_path / "model.safetensors").write_bytes(packed(header, b"\0" * begin))
    config = {**CONFIG, "n_layer": 1000, "n_embd": width, "n_head": 12, "vocab_size": 10**6, "n_positions": 10**6}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert (tmp_path / "model.safetensors").stat().st_size < 100 * 1024
    tracemalloc.start()
    started = time.perf_counter()
    message = refused(tmp_path, "The sizes in config.json must be those of the tensors")
    seconds, (_, peak) = time.perf_counter() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "vocab_size=1000000 in config.json" in message
    assert "'wte.weight' is missing" in message
    assert seconds < 5
    assert peak < 10 * 2**20


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("n_layer", 3, "no tensor starts with 'h.2.'"),
        ("n_embd", 24, "'wte.weight' has shape (23, 12), and not 24 along axis 1"),
        ("n_inner", 40, "'h.0.mlp.c_fc.weight' has shape (12, 48), and not 40 along axis 1"),
        ("vocab_size", 24, "'wte.weight' has shape (23, 12), and not 24 along axis 0"),
        ("n_positions", 9, "'wpe.weight' has shape (10, 12), and not 9 along axis 0"),
    ],
)
def test_a_config_for_other_sizes_than_the_tensors_is_refused(key, value, name, tmp_path):
    assert name in refused(folders.write(tmp_path, {**CONFIG, key: value}, tensors(CONFIG)), "sizes in config.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transformer__ln_f__bias": None}, r"final_norm/beta \(missing tensor 'ln_f.bias'\)"),
        ({"transformer__h__0__attn__c_attn__bias": None}, "query/bias .missing tensor 'h.0.attn.c_attn.bias'"),
        ({"score__weight": np.ones(2)}, "extra tensors, neither used nor ignored: 'score.weight'"),
        ({"transformer__h__2__ln_1__bias": np.ones(12)}, "n_layer=2 .*, where there is also 'h.2.ln_1.bias'"),
        ({"transformer__ln_f__bias": np.ones((12, 1))}, r"'ln_f.bias' has shape \(12, 1\), where .* come from \(12,\)"),
        ({"transformer__h__0__attn__c_attn__weight": np.ones((36, 12))}, r"has shape \(36, 12\), where .* come from \(12, 36\)"),
        ({"ln_f__bias": np.ones(12)}, "'ln_f.bias' and 'transformer.ln_f.bias', which mean the same"),
        ({"lm_head__weight": np.ones((23, 12))}, "equal where the config says that they are tied. Received: 'lm_head.weight'"),
    ],
)  # fmt: skip
def test_tensors_that_are_not_those_of_the_model_are_named(change, message, tmp_path):
    refused(folders.write(tmp_path, arrays=changed(tensors(CONFIG), **change)), message)


def test_a_refusal_leaves_no_trace(tmp_path):
    folder = folders.write(tmp_path, arrays=changed(tensors(CONFIG), transformer__ln_f__bias=None))
    before = keras.config.dtype_policy()
    refused(folder, "missing tensor", dtype="bfloat16")
    assert keras.config.dtype_policy() == before


@pytest.mark.parametrize("dtype", ["int8_from_float32", "int32", "float31", 3])
def test_a_dtype_that_is_none_of_floats_is_refused(dtype, tmp_path):
    refused(folders.write(tmp_path), f"`dtype` must .*Received: dtype={dtype!r}", dtype=dtype)
