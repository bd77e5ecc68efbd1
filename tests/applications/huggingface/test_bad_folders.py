"""Folders that are wrong, hostile, or of a kind that is not implemented: each refused before anything is built, by name."""

import json
import time
import tracemalloc

import keras
import numpy as np
import pytest

from keras_tx.applications import load_huggingface

from ...checkpoints.files import entry, packed
from ...golden import make_bert
from . import rows
from .rows import ROWS, changed

once = pytest.mark.once  # files and numbers alone


def refused(folder, message, **arguments):
    started = time.perf_counter()
    with pytest.raises(ValueError, match=message) as refusal:
        load_huggingface(folder, **arguments)
    assert time.perf_counter() - started < 5
    assert len(str(refusal.value)) < 1000
    return str(refusal.value)


def refused_config(folder, name, changes, message):
    (folder / "config.json").write_text(json.dumps({**ROWS[name].config, **changes}))
    return refused(folder, message)


SIZES = {
    "gpt2": ["vocab_size", "n_positions", "n_embd", "n_layer", "n_head"],
    "bert": list(make_bert.SIZES),
    "bart": ["vocab_size", "d_model", "encoder_layers", "decoder_layers", "encoder_ffn_dim", "max_position_embeddings"],
    "vit": ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"],
    "swin": ["embed_dim", "depths", "num_heads"],
}  # fmt: skip


@once
@pytest.mark.parametrize("name", SIZES)
def test_a_size_that_is_missing_wrong_or_beyond_reason_is_named(name, tmp_path):
    for key in [*SIZES[name], "model_type"]:
        refused(rows.write(tmp_path, name, {key: ...}), f"`{key}` must be in config.json. Received: none in .*")
    for key in SIZES[name] + ["n_inner"] * (name == "gpt2"):
        for value in (0, -1, 1.5, 12.0, "12", True, {}, [0, 2], [2, 2.0], [], [[2, 2]]):
            message = refused_config(tmp_path, name, {key: value}, f"`{key}` must be a (positive integer|list of)")
            assert f"Received: {key}={value!r}" in message
        if key != "n_inner":
            refused_config(tmp_path, name, {key: None}, f"`{key}` must be .*Received: {key}=None")
        for value in (12 * 10**6, 12 * 10**30, 12 * 10**4000):
            refused_config(tmp_path, name, {key: [value, value] if key in ("depths", "num_heads") else value}, "must")


ACTIVATIONS, RATE = "one of 'gelu_new'", r"a number in \[0, 1\)"
VALUES = [
    ("gpt2", "model_type", ["falcon", ["gpt2"], "x" * 100_000], "one of 'gpt2', 'bert', .*'swin'"),
    ("gpt2", "activation_function", ["quick_gelu", "leaky_relu", None], ACTIVATIONS),
    ("gpt2", "scale_attn_weights", [False, 1, None], "True"),
    ("gpt2", "scale_attn_by_inverse_layer_idx", [True], "False"),
    ("gpt2", "add_cross_attention", [True], "False"),
    ("gpt2", "tie_word_embeddings", [False], "True"),
    ("gpt2", "layer_norm_epsilon", [0, "1e-5", float("nan"), float("inf")], "a positive number"),
    ("gpt2", "resid_pdrop", [1.0, True, None], RATE),
    ("gpt2", "attn_pdrop", [-0.1], RATE),
    ("gpt2", "embd_pdrop", ["0.1"], RATE),
    ("bert", "architectures", [["BertForQuestionAnswering"], ["BertForMultipleChoice"], ["BertForTokenClassification"],
                               ["BertForNextSentencePrediction"], ["BertLMHeadModel"], "BertModel", [{}], [],
                               ["BertModel", "BertForMaskedLM"]], "a list of one of 'BertForPreTraining'"),
    ("bert", "position_embedding_type", ["relative_key", "relative_key_query"], "'absolute'"),
    ("bert", "is_decoder", [True], "False"),
    ("bert", "add_cross_attention", [True], "False"),
    ("bert", "hidden_act", ["quick_gelu", None], ACTIVATIONS),
    ("bert", "layer_norm_eps", [0], "a positive number"),
    ("bert", "hidden_dropout_prob", [1.0], RATE),
    ("bert", "attention_probs_dropout_prob", [1], RATE),
    ("bert", "pad_token_id", [None, 23, -1, True], r"an integer in \[0, 23\)"),
    ("bert_classifier", "classifier_dropout", [1.5], RATE),
    ("bert_classifier", "id2label", [["a", "b", "c"], {}, 3], "an object"),
    ("bert_pretraining", "tie_word_embeddings", [False], "True"),
    ("marian", "architectures", [["MarianModel"]], "a list of one of 'MarianMTModel'"),
    ("marian", "share_encoder_decoder_embeddings", [False], "True"),
    ("marian", "normalize_before", [True], "False"),
    ("marian", "normalize_embedding", [True], "False"),
    ("marian", "encoder_layerdrop", [0.1, "0", False], "0.0"),
    ("marian", "decoder_layerdrop", [0.1], "0.0"),
    ("marian", "scale_embedding", [2], "true or false"),
    ("marian", "pad_token_id", [23], r"an integer in \[0, 23\)"),
    ("marian", "activation_function", ["glu"], ACTIVATIONS),
    ("bart", "normalize_embedding", [False], "True"),
    ("bart", "add_final_layer_norm", [True], "False"),
    ("bart", "tie_word_embeddings", [False], "True"),
    ("vit", "architectures", [["ViTForMaskedImageModeling"]], "a list of one of 'ViTForImage.*'ViTModel'"),
    ("vit", "qkv_bias", [False], "True"),
    ("vit", "layer_norm_eps", [0], "a positive number"),
    ("vit", "hidden_act", ["quick_gelu"], ACTIVATIONS),
    ("vit", "attention_probs_dropout_prob", [1], RATE),
    ("vit", "image_size", [[16], [16, "16"], None], "a positive integer, or a list of two"),
    ("vit", "patch_size", [0], "a positive integer"),
    ("vit", "num_channels", [0], "a positive integer"),
    ("vit", "id2label", [{}], "an object"),
    ("deit", "architectures", [["ViTModel"]], "a list of one of 'DeiTForImageClassificationWithT"),
    ("deit", "qkv_bias", [False], "True"),
    ("swin", "architectures", [["SwinForMaskedImageModeling"], ["SwinBackbone"]], "a list of one of"),
    ("swin", "qkv_bias", [False], "True"),
    ("swin", "use_absolute_embeddings", [True], "False"),
    ("swin", "layer_norm_eps", [1e-6], "1e-05"),
    ("swin", "hidden_act", ["leaky_relu"], ACTIVATIONS),
    ("swin", "drop_path_rate", [-0.5], RATE),
    ("swin", "depths", [[2] * 17], "a list of 1 to 16 positive integers"),
    ("swin", "mlp_ratio", [True], "a positive number"),
    ("swin", "window_size", [[3, 3]], "a positive integer"),
]  # fmt: skip


@once
@pytest.mark.parametrize(("name", "key", "values", "rule"), VALUES)
def test_a_value_that_is_not_implemented_is_named(name, key, values, rule, tmp_path):
    rows.write(tmp_path, name)
    for value in values:
        message = refused_config(tmp_path, name, {key: value}, f"`{key}` must be {rule}")
        assert f"Received: {key}={value!r}"[:100] in message


SEVERAL = [
    ("gpt2", {"n_head": 5}, "`n_head` must divide `n_embd`. Received: n_head=5, n_embd=12"),
    ("bert", {"num_attention_heads": 5}, "`num_attention_heads` must divide `hidden_size`"),
    ("marian", {"encoder_attention_heads": 5, "decoder_attention_heads": 5}, "`encoder_attention_heads` must divide `d_model`"),
    ("marian", {"decoder_ffn_dim": 24}, "`encoder_ffn_dim` and `decoder_ffn_dim` must be the same. Received: .*=20, .*=24"),
    ("marian", {"encoder_attention_heads": 4}, "`encoder_attention_heads` and `decoder_attention_heads` must be the same"),
    ("vit", {"num_attention_heads": 5}, "`num_attention_heads` must divide `hidden_size`"),
    ("vit", {"patch_size": 3}, "`patch_size` must divide `image_size`. Received: patch_size=3, image_size=16"),
    ("swin", {"num_heads": [1, 3]}, r"`num_heads` must divide the widths of the stages.*num_heads=\[1, 3\], embed_dim=8"),
    ("swin", {"num_heads": [1]}, r"`depths` and `num_heads` must be of one length. Received: depths=\[2, 2\], num_heads=\[1\]"),
    ("swin", {"mlp_ratio": 0.01}, "`mlp_ratio` must leave widths of 1 to .* for `embed_dim`. Received: mlp_ratio=0.01"),
    ("swin", {"mlp_ratio": 1e299}, "`mlp_ratio` must leave widths"),
]  # fmt: skip
# By the headers alone.
OTHER_SIZES = [
    ("gpt2", {"n_layer": 3}, r"n_layer=3 in config.json of .*, where no tensor starts with 'h\.2\.'"),
    ("gpt2", {"n_layer": 1}, r"there is also 'h\.1\."),
    ("gpt2", {"n_embd": 24}, r"'wte.weight' has shape \(23, 12\), and not 24 along axis 1"),
    ("gpt2", {"n_inner": 40}, r"'h.0.mlp.c_fc.weight' has shape \(12, 48\), and not 40 along axis 1"),
    ("gpt2", {"vocab_size": 24}, r"'wte.weight' has shape \(23, 12\), and not 24 along axis 0"),
    ("gpt2", {"n_positions": 9}, r"'wpe.weight' has shape \(10, 12\), and not 9"),
    ("bert", {"num_hidden_layers": 3}, "no tensor starts with 'encoder.layer.2.'"),
    ("bert", {"hidden_size": 24}, r"word_embeddings.weight' has shape \(23, 12\), and not 24 along axis 1"),
    ("bert", {"intermediate_size": 40}, r"'encoder.layer.0.intermediate.dense.weight' has shape \(20, 12\), and not 40"),
    ("bert", {"vocab_size": 24}, r"word_embeddings.weight' has shape \(23, 12\), and not 24 along axis 0"),
    ("bert", {"max_position_embeddings": 9}, r"position_embeddings.weight' has shape \(10, 12\), and not 9"),
    ("bert", {"type_vocab_size": 3}, r"token_type_embeddings.weight' has shape \(2, 12\), and not 3"),
    ("bert_classifier", {"id2label": {"0": "a"}}, r"id2label=.*, where 'classifier.weight' has shape \(3, 12\), and not 1"),
    ("bert_classifier", {"id2label": None, "num_labels": 10**9}, r"num_classes=.*, where 'classifier.weight' has shape"),
    ("marian", {"encoder_layers": 3}, "no tensor starts with 'encoder.layers.2.'"),
    ("marian", {"decoder_layers": 2}, "no tensor starts with 'decoder.layers.1.'"),
    ("marian", {"vocab_size": 24}, r"'shared.weight' has shape \(23, 12\), and not 24"),
    ("bart", {"max_position_embeddings": 21}, r"'encoder.embed_positions.weight' has shape \(22, 12\), and not 23"),
    ("vit", {"num_hidden_layers": 3}, "no tensor starts with 'encoder.layer.2.'"),
    ("vit", {"hidden_size": 24}, r"projection.weight' has shape \(12, 3, 4, 4\), and not 24 along axis 0"),
    ("vit", {"image_size": 32}, r"position_embeddings' has shape \(1, 17, 12\), and not 65 along axis 1"),
    ("vit", {"patch_size": 8}, r"projection.weight' has shape \(12, 3, 4, 4\), and not 8 along axis 2"),
    ("vit", {"patch_size": [4, 8]}, r"projection.weight' has shape \(12, 3, 4, 4\), and not 8 along axis 3"),
    ("vit", {"num_channels": 1}, r"projection.weight' has shape \(12, 3, 4, 4\), and not 1 along axis 1"),
    ("vit", {"id2label": {"0": "a"}}, r"'classifier.weight' has shape \(3, 12\), and not 1"),
    ("deit_teacher", {"id2label": {"0": "a"}}, r"'cls_classifier.weight' has shape \(3, 12\), and not 1"),
    ("deit", {"image_size": 8}, r"position_embeddings' has shape \(1, 18, 12\), and not 6 along axis 1"),
    ("swin", {"depths": [2, 3]}, "no tensor starts with 'encoder.layers.1.blocks.2.'"),
    ("swin", {"depths": [2, 1]}, "there is also 'encoder.layers.1.blocks.1."),
    ("swin", {"num_heads": [2, 2]}, r"relative_position_bias_table' has shape \(25, 1\), and not 2 along axis 1"),
    ("swin", {"window_size": 4}, r"relative_position_bias_table' has shape \(25, 1\), and not 49 along axis 0"),
    ("swin", {"embed_dim": 16}, r"projection.weight' has shape \(8, 3, 4, 4\), and not 16 along axis 0"),
    ("swin", {"mlp_ratio": 2}, r"'encoder.layers.0.blocks.0.intermediate.dense.weight' has shape \(32, 8\), and not 16"),
]  # fmt: skip


@once
@pytest.mark.parametrize(("name", "changes", "message"), SEVERAL + OTHER_SIZES)
def test_values_that_contradict_each_other_or_the_tensors_are_named(name, changes, message, tmp_path):
    rule = "The sizes in config.json must be those of the tensors.*" if (name, changes, message) in OTHER_SIZES else ""
    refused(rows.write(tmp_path, name, changes), rule + message)


@once
def test_a_config_that_is_none_is_refused(tmp_path):
    rows.write(tmp_path, "gpt2")
    for text, message in [
        ("", "JSON must be well formed.*config.json"),
        ("{'model_type': 'gpt2'}", "JSON must be well formed"),
        ("[]", "JSON must be an object"),
        ('{"model_type": "gpt2", "model_type": "bert"}', "a key is duplicated: 'model_type'"),
        ("\ufeff{}", "JSON must be well formed"),
        ("[" * 100_000, "nested too deeply"),
    ]:
        (tmp_path / "config.json").write_text(text)
        refused(tmp_path, message)
    (tmp_path / "config.json").unlink()
    refused(tmp_path, "'config.json', missing")
    rows.write(tmp_path, "gpt2")
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    refused(tmp_path, "'pytorch_model.bin', a pickle, which can run code when it is opened and was not opened")


def refused_with_little(folder, message):
    tracemalloc.start()
    refused(folder, f"The sizes in config.json must be those of the tensors.*{message}")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * 2**20


@once
@pytest.mark.parametrize(
    ("name", "block"), [("gpt2", "h.{}.mlp.c_fc.weight"), ("bert", "encoder.layer.{}.output.dense.weight")]
)
def test_a_small_file_that_claims_a_huge_model_is_refused_at_once(name, block, tmp_path):
    layers, width = ("n_layer", "n_embd") if name == "gpt2" else ("num_hidden_layers", "hidden_size")
    first = {"gpt2": "wte.weight", "bert": "embeddings.word_embeddings.weight"}[name]
    header, begin = {}, 0
    for tensor in [first, *(block.format(index) for index in range(1000))]:  # 1,000 blocks by name, of one number each
        header[tensor] = entry((1,), begin)
        begin = header[tensor]["data_offsets"][1]
    rows.write(tmp_path, name, {layers: 1000, width: 786_432, "vocab_size": 10**6})
    (tmp_path / "model.safetensors").write_bytes(packed(header, b"\0" * begin))
    refused_with_little(tmp_path, f"vocab_size=1000000 in .*{first}' has shape")
    last = {block.format(10**9 - 1): entry((1,), 0)}  # a last block without those before it
    rows.write(tmp_path, name, {layers: 10**9})
    (tmp_path / "model.safetensors").write_bytes(packed(last, b"\0" * 4))
    refused_with_little(tmp_path, f"no tensor starts with '{block.partition('{}')[0]}0.'")
    number = "9" * 5000  # beyond what Python reads as a number
    (tmp_path / "model.safetensors").write_bytes(packed({block.format(number): entry((1,), 0)}, b"\0" * 4))
    refused_with_little(tmp_path, "no tensor starts with")


TENSORS = [
    ("gpt2", {"transformer__ln_f__bias": None}, r"final_norm/beta \(missing tensor 'ln_f.bias'\)"),
    ("gpt2", {"transformer__h__0__attn__c_attn__bias": None}, "query/bias .missing tensor 'h.0.attn.c_attn.bias'"),
    ("gpt2", {"score__weight": np.ones(2)}, "extra tensors, neither used nor ignored: 'score.weight'"),
    ("gpt2", {"transformer__h__2__ln_1__bias": np.ones(12)}, "n_layer=2 .*, where there is also 'h.2.ln_1.bias'"),
    ("gpt2", {"transformer__ln_f__bias": np.ones((12, 1))}, r"'ln_f.bias' has shape \(12, 1\), where .* come from \(12,\)"),
    ("gpt2", {"transformer__h__0__attn__c_attn__weight": np.ones((36, 12))}, r"shape \(36, 12\), where .* come from \(12, 36\)"),
    ("gpt2", {"ln_f__bias": np.ones(12)}, "'ln_f.bias' and 'transformer.ln_f.bias', which mean the same"),
    ("gpt2", {"lm_head__weight": np.ones((23, 12))}, "equal where the config says that they are tied. Received: 'lm_head"),
    ("bert", {"pooler__dense__bias": None}, r"pooler/bias \(missing tensor 'pooler.dense.bias'\)"),
    ("bert", {"pooler__dense__weight": None}, "extra tensors.*'pooler.dense.bias'"),
    ("bert", {"encoder__layer__0__attention__self__key__bias": None}, "attention/key/bias .missing tensor"),
    ("bert", {"encoder__layer__2__output__dense__bias": np.ones(12)}, "there is also 'encoder.layer.2.output.dense.bias'"),
    ("bert", {"embeddings__LayerNorm__gamma": np.ones(12)}, "weights set twice: embedding_norm/gamma"),
    ("bert", {"qa_outputs__weight": np.ones((2, 12))}, "neither used nor ignored: 'qa_outputs.weight'"),
    ("bert", {"classifier__weight": np.ones((2, 12))}, "extra tensors, .*'classifier.weight'"),
    ("bert", {"embeddings__distance_embedding__weight": np.ones((2, 12))}, "'embeddings.distance_embedding.weight'"),
    ("bert_classifier", {"bert__pooler__dense__weight": None}, "pooler/kernel .missing tensor 'pooler.dense.weight'"),
    ("bert_pretraining", {"cls__seq_relationship__weight": None}, "next_sentence/kernel .missing tensor 'cls.seq"),
    ("bert_pretraining", {"cls__predictions__decoder__weight": np.ones((23, 12))}, "tied. Received: 'cls.predictions.decoder.w"),
    ("bert_pretraining", {"cls__predictions__decoder__bias": np.ones(23)}, "tied. Received: 'cls.predictions.decoder.bias'"),
    ("bert_pretraining", {"cls__predictions__decoder__bias": np.ones(23), "cls__predictions__bias": None}, "bias .missing"),
    ("marian", {"lm_head__weight": np.ones((23, 12), "float32")}, "tied. Received: 'lm_head.weight' and 'shared.weight'"),
    ("vit", {"vit__layernorm__bias": None}, r"norm/beta \(missing tensor 'layernorm.bias'\)"),
    ("vit", {"vit__embeddings__cls_token": None}, r"class_token/token \(missing tensor 'embeddings.cls_token'\)"),
    ("vit", {"vit__embeddings__distillation_token": np.ones((1, 1, 12))}, "neither used nor ignored: 'embeddings.dist"),
    ("deit", {"deit__embeddings__distillation_token": None}, "class_token/token .missing tensor 'embeddings.dist"),
    ("deit", {"distillation_classifier__weight": np.ones((3, 12))}, "neither used nor ignored: 'distillation_class"),
    ("deit", {"deit__embeddings__cls_token": np.ones(12)}, "'embeddings.cls_token' has shape .*must come from .1, 1, 12"),
    ("swin", {"swin__embeddings__position_embeddings": np.ones((1, 36, 8))}, "neither used nor ignored: 'embeddings.pos"),
    ("swin", {"swin__encoder__layers__1__downsample__norm__bias": np.ones(64)}, "weights that the model does not have"),
    ("swin_base", {"classifier__weight": np.ones((3, 32))}, "extra tensors"),
]  # fmt: skip


@once
@pytest.mark.parametrize(("name", "change", "message"), TENSORS)
def test_tensors_that_are_not_those_of_the_model_are_named(name, change, message, tmp_path):
    refused(rows.write(tmp_path, name, arrays=changed(ROWS[name].tensors, **change)), message)


def test_a_refusal_leaves_no_trace(tmp_path):
    rows.write(tmp_path, "gpt2", arrays=changed(ROWS["gpt2"].tensors, transformer__ln_f__bias=None))
    before = keras.config.dtype_policy()
    refused(tmp_path, "missing tensor", dtype="bfloat16")
    assert keras.config.dtype_policy() == before
    for dtype in ("int8_from_float32", "int32", "float31", 3):
        refused(tmp_path, f"`dtype` must .*Received: dtype={dtype!r}", dtype=dtype)
