"""The Llama family: tokens that `transformers` generates, configs of its older versions, and what is refused by name."""

import json

import keras
import numpy as np
import pytest

from keras_tx.applications import load_huggingface, save_huggingface
from keras_tx.decoding import generate

from ...golden import make_llama
from . import rows
from .rows import ROWS

BACKEND = keras.backend.backend()
FILE = rows.golden("llama")
# On torch nothing is compiled; elsewhere those whose caches differ: a ring, and rows of different lengths.
CONTINUED = list(make_llama.CONFIGS) if BACKEND == "torch" else ["mistral", "smollm3"]


@pytest.mark.parametrize("name", CONTINUED)
def test_greedy_tokens_are_those_of_transformers(name, tmp_path):
    model, expected = load_huggingface(rows.write(tmp_path, name)), FILE[f"{name}/continued"]
    length = FILE["ids"].shape[1]
    prompts = [FILE["ids"][0].tolist(), FILE["ids"][1].tolist(), FILE["ids"][1, : length - 3].tolist()]
    found = np.asarray(generate(model, prompts, make_llama.NEW_TOKENS))
    np.testing.assert_array_equal(found[:2, : expected.shape[1]], expected)
    # A shorter row beside them gives what it gives alone.
    ids = np.zeros((1, expected.shape[1]), "int32")
    ids[0] = found[2, : expected.shape[1]]
    logits = rows.outputs(model, ids)["logits"][0]
    for place in range(length - 4, length + 3):
        assert logits[place].max() - logits[place, ids[0, place + 1]] < 1e-4, place


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("llama", {"rope_parameters": ..., "rope_theta": 10000.0, "rope_scaling": None, "head_dim": 6}),
        ("llama_linear", {"rope_parameters": ..., "rope_scaling": {"type": "linear", "factor": 2.0}}),
        ("qwen3", {"rope_parameters": ..., "rope_theta": 10000.0, "rope_scaling": {
            "rope_type": "yarn", "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8}}),
        ("phi", {"rope_parameters": ..., "partial_rotary_factor": 0.5, "num_key_value_heads": 2}),
        ("phi3_long", {"rope_parameters": ..., "rope_scaling": {
            "type": "longrope", "short_factor": [1.1, 1.5], "long_factor": [2.0, 3.0]}}),
        ("gemma", {"hidden_activation": "gelu_pytorch_tanh", "hidden_act": ...}),
        ("gemma", {"hidden_activation": None}),
        ("gemma", {"hidden_activation": "gelu_pytorch_tanh", "hidden_act": "gelu"}),
        ("gemma", {"hidden_act": "gelu"}),
        ("smollm3", {"no_rope_layers": ...}),
        ("qwen2", {"layer_types": ["full_attention"] * 2}),
    ],
)  # fmt: skip
def test_configs_of_transformers_4_are_read(name, changes, tmp_path):
    rows.assert_outputs(load_huggingface(rows.write(tmp_path, name, changes)), name)


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "`rope_parameters` must be an object"),
        ("llama", {"rope_parameters": {"rope_type": "yarn"}}, "`rope_parameters` must be an object with a `rope_type`"),
        ("llama", {"rope_parameters": [1]}, "`rope_parameters` must be an object"),
        ("llama", {"rope_parameters": {"rope_theta": -1}}, "`rope_parameters.rope_theta` must be a positive number"),
        ("llama", {"pretraining_tp": 2}, "`pretraining_tp` must be 1"),
        ("llama", {"num_key_value_heads": 3}, "`num_key_value_heads` must divide `num_attention_heads`"),
        ("llama", {"architectures": ["LlamaModel"]}, "a list of one of 'LlamaForCausalLM'"),
        ("llama", {"tie_word_embeddings": True}, "Tensors must be equal where the config says that they are tied"),
        ("mistral", {"sliding_window": 0}, "`sliding_window` must be a positive integer or null"),
        ("qwen2", {"use_sliding_window": True}, "`use_sliding_window` must be False"),
        ("smollm3", {"layer_types": ["sliding_attention"] * 4}, "`layer_types` must be a list of 4 times 'full_attention'"),
        ("mistral", {"layer_types": ["full_attention"] * 2}, "`layer_types` must be a list of 2 times 'sliding_attention'"),
        ("gemma", {"hidden_act": "silu", "hidden_activation": "relu"}, "`hidden_act` and `hidden_activation` must be the same"),
        ("smollm3", {"no_rope_layers": [1, 1]}, "`no_rope_layers` must be a list of 4 zeros and ones"),
        ("phi", {"qk_layernorm": True}, "`qk_layernorm` must be False"),
        ("phi", {"rope_parameters": {"partial_rotary_factor": 0.3}}, "`rope_parameters.partial_rotary_factor` must be a share"),
        ("gemma", {"model_type": "gemma2"}, "`model_type` must be one of .*'gemma'"),
    ],
)  # fmt: skip
def test_what_is_not_implemented_is_refused_by_name(name, changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_huggingface(rows.write(tmp_path, name, changes))


@pytest.mark.once
def test_a_model_is_written_as_the_type_that_is_asked_for_if_it_is_one(tmp_path):
    model = load_huggingface(rows.write(tmp_path, "phi3"))
    for kind, expected in ((None, "mistral"), ("phi3", "phi3")):
        save_huggingface(model, tmp_path / "saved", model_type=kind)
        assert json.loads((tmp_path / "saved" / "config.json").read_text())["model_type"] == expected
        rows.assert_outputs(load_huggingface(tmp_path / "saved"), "phi3")
    with pytest.raises(ValueError, match="`model` must be a OLMo 2 to be saved as one"):
        save_huggingface(model, tmp_path / "saved", model_type="olmo2")
    with pytest.raises(ValueError, match="`model_type` must be one of 'gpt2'.*'falcon'"):
        save_huggingface(model, tmp_path / "saved", model_type="falcon")
    with pytest.raises(ValueError, match="`model` must be a GPT-2 to be saved as one"):
        save_huggingface(model, tmp_path / "saved", model_type="gpt2")
    assert set(ROWS) >= set(make_llama.CONFIGS)
