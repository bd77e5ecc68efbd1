"""Each row of the parity table: the outputs of `transformers`, both ways; what is loaded is saved as it was."""

import json

import keras
import numpy as np
import pytest

from keras_tx.applications import load_huggingface, save_huggingface
from keras_tx.checkpoints import Checkpoint

from ...golden import make_detr, make_llama, make_mixer
from ...layers.contract_rows import stir
from . import rows
from .rows import ROWS

every_row = pytest.mark.parametrize("name", ROWS)
each_of_transformers = pytest.mark.parametrize("name", rows.OF_TRANSFORMERS)
live = pytest.mark.skipif(keras.backend.backend() != "torch", reason="transformers runs on torch")
# What a config says beside what a model is: what generation reads, the length of sines, one of two names of a function; what a
# folder does not say of the model; and where a default is said.
_FREE = {
    "marian": {"eos_token_id", "forced_eos_token_id", "bos_token_id", "max_position_embeddings", "activation_function"},
    "bart": {"eos_token_id", "forced_eos_token_id", "bos_token_id"},
    "t5_gated": {"eos_token_id", "tie_word_embeddings"},
    "gpt2_upcast": {"reorder_and_upcast_attn"},
    "bert_classifier": {"classifier_dropout"},
    "phi3_long": {"rope_parameters", "max_position_embeddings"},
    **dict.fromkeys([name for name in make_llama.CONFIGS if name != "phi3_long"], {"max_position_embeddings"}),
    **dict.fromkeys(make_detr.CONFIGS, {"backbone_config"}),  # test_detr.py
    "swin": {"image_size"},
    "swin_base": {"image_size"},
    **dict.fromkeys(make_mixer.CONFIGS, {"model_args", "pretrained_cfg"}),  # see test_timm
}


def how_saved(name):
    """Some in several files; a model of Phi-3 would else be saved as the Llama that it is too."""
    kind = name.partition("_")[0]
    return {
        "max_shard_bytes": 2000 if name in ("gpt2", "bert_pretraining", "llama") else None,
        "model_type": kind if kind == "phi3" else None,
    }


@every_row
def test_outputs_are_those_of_the_other_package_and_what_is_loaded_is_saved_as_it_was(name, tmp_path):
    model = load_huggingface(rows.write(tmp_path, name))
    rows.assert_outputs(model, name)
    save_huggingface(model, tmp_path / "saved", **how_saved(name))
    old, new = Checkpoint(tmp_path), Checkpoint(tmp_path / "saved")
    left = {tensor for tensor in old.shapes if tensor.startswith("pooler") and name in ("vit_base", "deit_base")}
    assert new.shapes == {tensor: shape for tensor, shape in old.shapes.items() if tensor not in left}
    assert all(np.array_equal(old.read(tensor), new.read(tensor)) for tensor in new.shapes)
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())
    known = {
        key: value for key, value in ROWS[name].config.items() if value is not None and key not in _FREE.get(name, ())
    }
    assert {key: value for key, value in saved.items() if key in known} == {
        key: value for key, value in known.items() if key in saved
    }
    assert not (tmp_path / "saved" / "preprocessor_config.json").exists()
    rows.assert_bit_equal(model, load_huggingface(tmp_path / "saved"))


@live
@each_of_transformers
def test_a_random_model_of_transformers_gives_the_same_outputs_and_reads_what_is_saved(name, tmp_path):
    reference = rows.reference(name)
    reference.save_pretrained(tmp_path, max_shard_size=2000)
    model = load_huggingface(tmp_path)
    rows.assert_outputs(model, name, cases=rows.reference_cases(reference, name))
    stir(model)
    save_huggingface(model, tmp_path / "saved", **how_saved(name))
    options = {"add_pooling_layer": False} if type(reference).__name__ in ("ViTModel", "DeiTModel", "SwinModel") else {}
    again, report = type(reference).from_pretrained(tmp_path / "saved", output_loading_info=True, **options)
    assert not any(report.values())
    rows.assert_outputs(model, name, cases=rows.reference_cases(again.eval(), name))


@pytest.mark.once
@each_of_transformers
def test_without_architectures_the_tensors_decide(name, tmp_path):
    absent = None if name in ("bert", "vit") else ...
    config = (
        {} if name.endswith("_classifier") else {"architectures": absent}
    )  # whose tensors are also those of taggers
    model = load_huggingface(rows.write(tmp_path, name, config))
    save_huggingface(model, tmp_path / "saved", **how_saved(name))
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert saved["architectures"] == ROWS[name].config.get("architectures", ["GPT2LMHeadModel"])


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("gpt2", "F16"), ("gpt2", "F64"), ("bert_pretraining", "F16"), ("deit_teacher", "BF16")],
)
def test_weights_are_widened_without_loss(name, dtype, tmp_path):
    model = load_huggingface(rows.write(tmp_path, name, dtype=dtype))
    rows.assert_outputs(model, name)
    assert {weight.dtype for weight in model.weights} == {"float32"}


@pytest.mark.once
def test_shards_prefixes_buffers_old_names_and_copies_of_tied_tensors_are_read(tmp_path):
    def check(name, arrays):
        rows.assert_outputs(load_huggingface(rows.write(tmp_path / name, name, arrays=arrays, num_shards=3)), name)

    arrays = {name.removeprefix("transformer."): array for name, array in ROWS["gpt2"].tensors.items()}
    arrays |= {f"h.{index}.attn.bias": np.tril(np.ones((1, 1, 10, 10))) for index in range(2)}
    arrays |= {"h.1.attn.masked_bias": np.float32(-1e4), "lm_head.weight": arrays["wte.weight"]}
    check("gpt2", arrays)
    arrays = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
        for name, array in ROWS["bert_masked_lm"].tensors.items()
    }
    assert "cls.predictions.transform.LayerNorm.gamma" in arrays
    arrays["cls.predictions.decoder.weight"] = arrays["bert.embeddings.word_embeddings.weight"]
    arrays["cls.predictions.decoder.bias"] = arrays["cls.predictions.bias"]
    check("bert_masked_lm", {**arrays, "bert.embeddings.position_ids": np.arange(10)[None]})
    arrays = ROWS["marian"].tensors
    table = arrays["model.shared.weight"]
    copies = {"lm_head.weight": table, "model.encoder.embed_tokens.weight": table}
    check("marian", {**arrays, **copies, "model.encoder.embed_positions.weight": np.zeros((20, 12), "float32")})
    index = "swin.encoder.layers.0.blocks.1.attention.self.relative_position_index"
    buffers = {index: np.zeros((9, 9)), "swin.embeddings.mask_token": np.zeros((1, 1, 8))}
    check("swin", {**ROWS["swin"].tensors, **buffers})


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("gpt2_upcast", "bfloat16"),
        ("gpt2_upcast", "float16"),
        ("gpt2_upcast", "mixed_bfloat16"),
        ("bert_pretraining", "mixed_float16"),
        ("deit", "mixed_bfloat16"),
    ],
)
def test_a_dtype_policy_is_that_of_every_layer_and_survives_a_round_trip(name, dtype, tmp_path):
    before = keras.config.dtype_policy()
    model = load_huggingface(rows.write(tmp_path, name), dtype=dtype)
    assert keras.config.dtype_policy() == before
    policy = keras.dtype_policies.get(dtype)
    assert {weight.dtype for weight in model.weights} == {policy.variable_dtype}
    (inputs, _), *_ = ROWS[name].cases
    if not isinstance(model.output, dict):
        assert keras.backend.standardize_dtype(model(inputs).dtype) == policy.compute_dtype
    rows.assert_outputs(model, name, atol=0.1)
    save_huggingface(model, tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["dtype"] == policy.variable_dtype
    rows.assert_bit_equal(model, load_huggingface(tmp_path / "saved", dtype=dtype))


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "key", "other"), [("gpt2", "activation_function", "gelu"), ("bert", "hidden_act", "gelu_new")]
)
def test_the_exact_gelu_is_told_from_its_tanh_form(name, key, other, tmp_path):
    model = load_huggingface(rows.write(tmp_path, name, {key: other}))
    with pytest.raises(AssertionError):
        rows.assert_outputs(model, name, atol=5 * rows.ATOL)


@pytest.mark.once
def test_saves_agree_to_the_byte_whatever_names_stand_around_the_model(tmp_path):
    model = load_huggingface(rows.write(tmp_path, "bert_masked_lm"))
    with keras.name_scope("mine"):
        other = load_huggingface(tmp_path)
    for each, folder in ((model, "a"), (other, "b")):
        save_huggingface(each, tmp_path / folder)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
