"""BERT folders that are wrong, hostile, or of a kind that is not implemented: each refused before anything is built."""

import json
import time
import tracemalloc

import numpy as np
import pytest

from ...checkpoints.files import entry, packed
from ...golden import make_bert
from . import bert_folders as folders
from .bert_folders import CONFIG, tensors
from .folders import changed
from .test_bad_folders import refused

CLASSIFIER = {**CONFIG, "architectures": ["BertForSequenceClassification"], "id2label": {"0": "a", "1": "b", "2": "c"}}
PRETRAINING = {**CONFIG, "architectures": ["BertForPreTraining"]}


@pytest.mark.once
@pytest.mark.parametrize("key", make_bert.SIZES)
def test_a_size_that_is_missing_or_wrong_is_named(key, tmp_path):
    config = {name: value for name, value in CONFIG.items() if name != key}
    refused(folders.write(tmp_path, config, tensors(CONFIG)), f"`{key}` must be in config.json. Received: none in .*")
    for value in (0, -1, 1.5, "12", True, [12]):
        (tmp_path / "config.json").write_text(json.dumps({**CONFIG, key: value}))
        assert f"Received: {key}={value!r}" in refused(tmp_path, f"`{key}` must be a positive integer")
    for value in (12 * 10**6, 12 * 10**30):
        (tmp_path / "config.json").write_text(json.dumps({**CONFIG, key: value}))
        started = time.perf_counter()
        refused(tmp_path, "must")
        assert time.perf_counter() - started < 5


@pytest.mark.once
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("architectures", ["BertForQuestionAnswering"], "must be a list of one of 'BertForPreTraining', .*'BertForQ"),
        ("architectures", ["BertForMultipleChoice"], "`architectures` must be a list of one of"),
        ("architectures", ["BertForTokenClassification"], "`architectures` must be a list of one of"),
        ("architectures", ["BertForNextSentencePrediction"], "`architectures` must be a list of one of"),
        ("architectures", ["BertLMHeadModel"], "`architectures` must be a list of one of"),
        ("architectures", "BertModel", "`architectures` must be a list of one of"),
        ("architectures", ["BertModel", "BertForMaskedLM"], "`architectures` must be a list of one of"),
        ("architectures", [{}], "`architectures` must be a list of one of"),
        ("architectures", [], "`architectures` must be a list of one of"),
        ("position_embedding_type", "relative_key", "`position_embedding_type` must be 'absolute'. Received: .*'relative_key'"),
        ("position_embedding_type", "relative_key_query", "`position_embedding_type` must be 'absolute'"),
        ("is_decoder", True, "`is_decoder` must be False"),
        ("add_cross_attention", True, "`add_cross_attention` must be False"),
        ("hidden_act", "quick_gelu", "`hidden_act` must be one of .*Received: hidden_act='quick_gelu'"),
        ("hidden_act", None, "`hidden_act` must be one of"),
        ("num_attention_heads", 5, "`num_attention_heads` must divide `hidden_size`.*num_attention_heads=5"),
        ("layer_norm_eps", 0, "`layer_norm_eps` must be a positive number"),
        ("hidden_dropout_prob", 1.0, r"`hidden_dropout_prob` must be a number in \[0, 1\)"),
        ("attention_probs_dropout_prob", 1, r"`attention_probs_dropout_prob` must be a number in \[0, 1\)"),
        ("pad_token_id", None, r"`pad_token_id` must be an integer in \[0, 23\). Received: pad_token_id=None"),
        ("pad_token_id", 23, r"`pad_token_id` must be an integer in \[0, 23\)"),
        ("pad_token_id", -1, r"`pad_token_id` must be an integer in \[0, 23\)"),
        ("pad_token_id", True, r"`pad_token_id` must be an integer in \[0, 23\)"),
    ],
)  # fmt: skip
def test_a_value_that_is_not_implemented_is_named(key, value, message, tmp_path):
    refused(folders.write(tmp_path, {**CONFIG, key: value}, tensors(CONFIG)), message)


@pytest.mark.once
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("classifier_dropout", 1.5, r"`classifier_dropout` must be a number in \[0, 1\)"),
        ("id2label", ["a", "b", "c"], "`id2label` must be an object"),
        ("id2label", {}, "`id2label` must be an object"),
        ("id2label", {"0": "a"}, r"id2label=.*, where 'classifier.weight' has shape \(3, 12\), and not 1 along axis 0"),
    ],
)
def test_a_value_of_a_classifier_that_is_not_right_is_named(key, value, message, tmp_path):
    refused(folders.write(tmp_path, {**CLASSIFIER, key: value}, tensors(CLASSIFIER)), message)


def test_classes_beyond_reason_are_refused_at_once(tmp_path):
    config = {name: value for name, value in CLASSIFIER.items() if name != "id2label"}
    for count in (10**9, 10**4000):
        folders.write(tmp_path, {**config, "num_labels": count}, tensors(CLASSIFIER))
        refused(tmp_path, "classifier.weight|`num_labels` must be a positive integer")


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("num_hidden_layers", 3, "no tensor starts with 'encoder.layer.2.'"),
        ("hidden_size", 24, "'embeddings.word_embeddings.weight' has shape (23, 12), and not 24 along axis 1"),
        ("intermediate_size", 40, "'encoder.layer.0.intermediate.dense.weight' has shape (20, 12), and not 40"),
        ("vocab_size", 24, "'embeddings.word_embeddings.weight' has shape (23, 12), and not 24 along axis 0"),
        ("max_position_embeddings", 9, "'embeddings.position_embeddings.weight' has shape (10, 12), and not 9"),
        ("type_vocab_size", 3, "'embeddings.token_type_embeddings.weight' has shape (2, 12), and not 3"),
    ],
)
def test_a_config_for_other_sizes_than_the_tensors_is_refused(key, value, name, tmp_path):
    assert name in refused(folders.write(tmp_path, {**CONFIG, key: value}, tensors(CONFIG)), "sizes in config.json")


@pytest.mark.parametrize(
    ("model_type", "name", "sizes"),
    [
        ("bert", "encoder.layer.{}.intermediate.dense.weight", {"num_hidden_layers": 10**9}),
        ("gpt2", "h.{}.mlp.c_fc.weight", {"n_layer": 10**9, "n_embd": 12, "n_head": 3, "n_inner": 20}),
    ],
)
def test_a_last_block_without_those_before_it_is_refused_at_once(model_type, name, sizes, tmp_path):
    shape = (20, 12) if model_type == "bert" else (12, 20)
    header = {name.format(10**9 - 1): entry(shape, 0)}
    (tmp_path / "model.safetensors").write_bytes(packed(header, b"\0" * 960))
    config = {**CONFIG, "vocab_size": 23, "n_positions": 10, "model_type": model_type, **sizes}
    (tmp_path / "config.json").write_text(json.dumps(config))
    tracemalloc.start()
    started = time.perf_counter()
    message = refused(tmp_path, "The sizes in config.json must be those of the tensors")
    seconds, (_, peak) = time.perf_counter() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert f"no tensor starts with {name.partition('{}')[0] + '0.'!r}" in message
    assert seconds < 5
    assert peak < 10 * 2**20


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        (CONFIG, {"pooler__dense__bias": None}, r"pooler/bias \(missing tensor 'pooler.dense.bias'\)"),
        (CONFIG, {"pooler__dense__weight": None}, "extra tensors.*'pooler.dense.bias'"),
        (CONFIG, {"encoder__layer__0__attention__self__key__bias": None}, "attention/key/bias .missing tensor"),
        (CONFIG, {"encoder__layer__2__output__dense__bias": np.ones(12)}, "there is also 'encoder.layer.2.output.dense.bias'"),
        (CONFIG, {"embeddings__LayerNorm__gamma": np.ones(12)}, "weights set twice: embedding_norm/gamma"),
        (CONFIG, {"qa_outputs__weight": np.ones((2, 12))}, "neither used nor ignored: 'qa_outputs.weight'"),
        (CONFIG, {"classifier__weight": np.ones((2, 12))}, "extra tensors, .*'classifier.weight'"),
        (CONFIG, {"embeddings__distance_embedding__weight": np.ones((2, 12))}, "'embeddings.distance_embedding.weight'"),
        (CLASSIFIER, {"bert__pooler__dense__weight": None}, "pooler/kernel .missing tensor 'pooler.dense.weight'"),
        (PRETRAINING, {"cls__seq_relationship__weight": None}, "next_sentence/kernel .missing tensor 'cls.seq"),
        (PRETRAINING, {"cls__predictions__decoder__weight": np.ones((23, 12))}, "tied. Received: 'cls.predictions.decoder.w"),
        (PRETRAINING, {"cls__predictions__decoder__bias": np.ones(23)}, "tied. Received: 'cls.predictions.decoder.bias'"),
        (PRETRAINING, {"cls__predictions__decoder__bias": np.ones(23), "cls__predictions__bias": None}, "bias .missing"),
        ({**PRETRAINING, "tie_word_embeddings": False}, {}, "`tie_word_embeddings` must be True"),
    ],
)  # fmt: skip
def test_tensors_that_are_not_those_of_the_model_are_named(config, change, message, tmp_path):
    refused(folders.write(tmp_path, config, changed(tensors(config), **change)), message)
