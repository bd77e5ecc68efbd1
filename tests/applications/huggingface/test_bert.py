"""BERT folders: the outputs of `transformers`, both ways, for each architecture; what is saved loads bit-equal."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_tx.applications import BERT, bert_classifier, bert_pretrainer, load_huggingface, save_huggingface
from keras_tx.checkpoints import Checkpoint

from ...golden import make_bert
from ...layers.contract_rows import stir
from . import bert_folders as folders
from .test_gpt2 import assert_bit_equal

BACKEND = keras.backend.backend()
ATOL = 5e-5  # of float32 outputs around 3

with np.load(Path(__file__).parents[2] / "golden" / "bert_tiny.npz") as file:
    GOLDEN = dict(file)
CONFIGS = json.loads(str(GOLDEN["configs"]))
every_architecture = pytest.mark.parametrize("name", make_bert.CONFIGS)
in_files = pytest.mark.parametrize(
    ("name", "max_shard_bytes"), [*((name, None) for name in make_bert.CONFIGS), ("pretraining", 2000)]
)
live = pytest.mark.skipif(BACKEND != "torch", reason="transformers runs on torch")


def run(model, ids, segments):
    """The outputs by name, in float32; all positions are asked for where masked tokens are predicted."""
    named = {"token_ids": ids, "segment_ids": segments}
    if "mask_positions" in model.input:
        named["mask_positions"] = np.arange(ids.shape[1], dtype="int32") * np.ones_like(ids)
    found = model(named)
    found = found if isinstance(found, dict) else {"logits": found}
    return {name: keras.ops.convert_to_numpy(keras.ops.cast(value, "float32")) for name, value in found.items()}


def assert_outputs(found, expected, ids, padding_id=0, atol=ATOL):
    for name, value in expected.items():
        real = (ids != padding_id) if value.ndim == 3 else slice(None)
        np.testing.assert_allclose(found[name][real], value[real], atol=atol, err_msg=name)


def golden(name):
    return {key.rpartition("/")[2]: value for key, value in GOLDEN.items() if key.startswith(f"{name}/outputs/")}


def golden_inputs(name):
    return GOLDEN[f"{name}/token_ids"], GOLDEN[f"{name}/segment_ids"]


def assert_golden(folder, name, atol=ATOL, **options):
    model, (ids, segments) = load_huggingface(folder, **options), golden_inputs(name)
    assert_outputs(run(model, ids, segments), golden(name), ids, CONFIGS[name]["pad_token_id"], atol)
    return model


def head_arrays(name, *heads):
    """The tensors of an architecture, and those that others add to it."""
    found = folders.tensors(CONFIGS[name])
    for head in heads:
        found = {**folders.tensors({**CONFIGS[name], "architectures": [head]}), **found}
    return found


@every_architecture
def test_outputs_are_those_of_transformers(name, tmp_path):
    model = assert_golden(folders.write(tmp_path, CONFIGS[name]), name)
    assert model.name == {"base": "bert", "classifier": "bert_classifier"}.get(name, "bert_pretrainer")
    assert set(golden(name)) <= (set(model.output) if isinstance(model.output, dict) else {"logits"})


def test_the_exact_gelu_is_told_from_its_tanh_form(tmp_path):
    ids, segments = golden_inputs("base")
    other = load_huggingface(folders.write(tmp_path, {**CONFIGS["base"], "hidden_act": "gelu_new"}))
    difference = run(other, ids, segments)["pooled_output"] - golden("base")["pooled_output"]
    assert np.abs(difference).max() > 5 * ATOL


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_weights_are_widened_without_loss(dtype, tmp_path):
    model = assert_golden(folders.write(tmp_path, CONFIGS["pretraining"], dtype=dtype), "pretraining")
    assert {weight.dtype for weight in model.weights} == {"float32"}


def test_shards_names_of_tensorflow_buffers_and_tied_tensors_are_read(tmp_path):
    arrays = folders.tensors(CONFIGS["masked_lm"])
    old = {".LayerNorm.weight": ".LayerNorm.gamma", ".LayerNorm.bias": ".LayerNorm.beta"}
    for new, other in old.items():
        arrays = {name.replace(new, other): array for name, array in arrays.items()}
    assert "cls.predictions.transform.LayerNorm.gamma" in arrays
    arrays["cls.predictions.decoder.weight"] = arrays["bert.embeddings.word_embeddings.weight"]
    arrays["cls.predictions.decoder.bias"] = arrays["cls.predictions.bias"]
    arrays["bert.embeddings.position_ids"] = np.arange(10)[None]
    assert_golden(folders.write(tmp_path, CONFIGS["masked_lm"], arrays, num_shards=3), "masked_lm")


def test_the_tensors_decide_on_the_pooler(tmp_path):
    config = CONFIGS["base"]
    without = {name: array for name, array in folders.tensors(config).items() if not name.startswith("pooler")}
    model = load_huggingface(folders.write(tmp_path, config, without))
    assert list(model.output) == ["sequence_output"]
    ids, segments = golden_inputs("base")
    assert_outputs(run(model, ids, segments), {"sequence_output": golden("base")["sequence_output"]}, ids)
    save_huggingface(model, tmp_path / "saved")
    assert Checkpoint(tmp_path / "saved").shapes == Checkpoint(tmp_path).shapes
    assert_bit_equal(model, load_huggingface(tmp_path / "saved"))


def test_next_sentence_beside_masked_tokens_is_kept_as_bert_base_has_it(tmp_path):
    arrays = head_arrays("masked_lm", "BertForPreTraining")
    model = assert_golden(folders.write(tmp_path, CONFIGS["masked_lm"], arrays), "masked_lm")
    assert set(model.output) == {"masked_lm", "next_sentence"}
    without = {name: array for name, array in arrays.items() if "seq_relationship" not in name}
    model = assert_golden(folders.write(tmp_path, CONFIGS["masked_lm"], without), "masked_lm")
    assert list(model.output) == ["masked_lm"]
    assert "pooled_output" in model.get_layer("bert").output
    save_huggingface(model, tmp_path / "saved")
    assert Checkpoint(tmp_path / "saved").shapes == Checkpoint(tmp_path).shapes


@pytest.mark.parametrize(
    ("name", "architectures"), [("base", {}), ("base", {"architectures": None}), ("pretraining", {}), ("masked_lm", {})]
)
def test_without_architectures_the_tensors_decide(name, architectures, tmp_path):
    config = {key: value for key, value in CONFIGS[name].items() if key != "architectures"}
    assert_golden(folders.write(tmp_path, {**config, **architectures}, folders.tensors(CONFIGS[name])), name)


@pytest.mark.parametrize(
    ("options", "rate"), [({}, 0.2), ({"classifier_dropout": None}, 0.2), ({"classifier_dropout": 0.3}, 0.3)]
)
def test_the_classifier_has_its_dropout(options, rate, tmp_path):
    rates = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2}
    config = {name: value for name, value in CONFIGS["classifier"].items() if name != "classifier_dropout"}
    model = load_huggingface(folders.write(tmp_path, {**config, **rates, **options}))
    assert model.get_layer("pooled_dropout").rate == rate
    assert model.get_layer("bert").get_layer("embedding_dropout").rate == 0.2


@pytest.mark.parametrize(
    "options", [{"num_labels": 3}, {"id2label": {"0": "a", "1": "b", "2": "c"}, "problem_type": "regression"}]
)
def test_the_classes_may_be_counted_or_named(options, tmp_path):
    arrays = folders.tensors(CONFIGS["classifier"])
    config = {name: value for name, value in CONFIGS["classifier"].items() if name not in ("id2label", "label2id")}
    assert_golden(folders.write(tmp_path, {**config, **options}, arrays), "classifier")


@in_files
def test_what_is_loaded_saves_as_it_was(name, max_shard_bytes, tmp_path):
    model = load_huggingface(folders.write(tmp_path, CONFIGS[name]))
    save_huggingface(model, tmp_path / "saved", max_shard_bytes)
    old, new = Checkpoint(tmp_path), Checkpoint(tmp_path / "saved")
    assert old.shapes == new.shapes
    assert all(np.array_equal(old.read(tensor), new.read(tensor)) for tensor in old.shapes)
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())
    known = {**CONFIGS[name], "classifier_dropout": 0.1}
    assert {key: value for key, value in saved.items() if key in known} == {
        key: value for key, value in known.items() if key in saved
    }
    assert_bit_equal(model, assert_golden(tmp_path / "saved", name))


@pytest.mark.parametrize("dtype", ["bfloat16", "mixed_float16"])
def test_a_dtype_policy_is_that_of_every_layer_and_survives_a_round_trip(dtype, tmp_path):
    model = assert_golden(folders.write(tmp_path, CONFIGS["pretraining"]), "pretraining", atol=0.1, dtype=dtype)
    policy = keras.dtype_policies.get(dtype)
    assert {weight.dtype for weight in model.weights} == {policy.variable_dtype}
    save_huggingface(model, tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["dtype"] == policy.variable_dtype
    assert_bit_equal(model, load_huggingface(tmp_path / "saved", dtype=dtype))


def test_a_loaded_classifier_runs_in_training_and_reloads_like_any_other(tmp_path):
    model = load_huggingface(folders.write(tmp_path, CONFIGS["classifier"]))
    ids, segments = golden_inputs("classifier")
    named = {"token_ids": ids, "segment_ids": segments}
    logits = run(model, ids, segments)["logits"]
    assert not np.allclose(keras.ops.convert_to_numpy(model(named, training=True)), logits)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    save_huggingface(again, tmp_path / "saved")
    np.testing.assert_array_equal(run(load_huggingface(tmp_path / "saved"), ids, segments)["logits"], logits)


@pytest.mark.parametrize("pooler", [True, False])
def test_an_encoder_is_saved_with_each_model_that_stands_on_it(pooler, tmp_path):
    encoder = BERT(**folders.SMALL, activation="silu", layer_norm_epsilon=1e-3, padding_id=2, pooler=pooler)
    models = [encoder, bert_pretrainer(encoder, next_sentence=pooler, activation="silu")]
    models += [bert_classifier(encoder, 3, dropout=0.4, pairs=pairs) for pairs in (True, False) if pooler]
    ids, segments = make_bert.inputs(padding_id=2)
    for number, model in enumerate(models):
        stir(model)
        folder = tmp_path / str(number)
        save_huggingface(model, folder)
        loaded = load_huggingface(folder)
        assert_bit_equal(model, loaded)
        assert keras.tree.map_structure(lambda tensor: tensor.shape, loaded.output) == keras.tree.map_structure(
            lambda tensor: tensor.shape, model.output
        )
        if len(model.inputs) == 1:
            single = keras.ops.convert_to_numpy(model(ids))
            np.testing.assert_array_equal(single, run(loaded, ids, 0 * segments)["logits"])
        else:
            assert_outputs(run(loaded, ids, segments), run(model, ids, segments), ids, padding_id=2, atol=0)
        assert number < 2 or loaded.get_layer("pooled_dropout").rate == 0.4


def test_names_around_a_model_do_not_matter(tmp_path):
    with keras.name_scope("mine"):
        model = load_huggingface(folders.write(tmp_path, CONFIGS["masked_lm"]))
        save_huggingface(model, tmp_path / "saved")
    assert Checkpoint(tmp_path).shapes == Checkpoint(tmp_path / "saved").shapes


@live
@in_files
def test_a_random_model_of_transformers_gives_the_same_outputs(name, max_shard_bytes, tmp_path):
    reference = random_reference(name)
    reference.save_pretrained(tmp_path, **({} if max_shard_bytes is None else {"max_shard_size": max_shard_bytes}))
    model, padding_id = load_huggingface(tmp_path), CONFIGS[name]["pad_token_id"]
    ids, segments = make_bert.inputs(padding_id)
    expected = make_bert.outputs(reference, ids, segments, padding_id)
    assert_outputs(run(model, ids, segments), expected, ids, padding_id)


@live
@in_files
def test_transformers_reads_what_is_saved(name, max_shard_bytes, tmp_path):
    import transformers

    model = load_huggingface(folders.write(tmp_path, CONFIGS[name]))
    stir(model)
    save_huggingface(model, tmp_path / "saved", max_shard_bytes)
    kind = getattr(transformers, CONFIGS[name]["architectures"][0])
    reference, report = kind.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not any(report.values())
    padding_id = CONFIGS[name]["pad_token_id"]
    ids, segments = make_bert.inputs(padding_id)
    expected = make_bert.outputs(reference.eval(), ids, segments, padding_id)
    assert_outputs(run(model, ids, segments), expected, ids, padding_id)


@live
def test_transformers_reads_an_encoder_without_pooler_and_a_classifier_of_one_input(tmp_path):
    import transformers

    encoder = BERT(**folders.SMALL, pooler=False)
    save_huggingface(encoder, tmp_path / "encoder")
    options = {"output_loading_info": True}
    _, report = transformers.BertModel.from_pretrained(tmp_path / "encoder", add_pooling_layer=False, **options)
    assert not any(report.values())
    model = bert_classifier(BERT(**folders.SMALL), 5)
    save_huggingface(model, tmp_path / "classifier")
    kind = transformers.AutoModelForSequenceClassification
    reference, report = kind.from_pretrained(tmp_path / "classifier", **options)
    assert not any(report.values())
    assert reference.config.num_labels == 5
    ids = np.array([[1, 2, 3, 0], [4, 5, 6, 7]], "int32")
    expected = make_bert.outputs(reference.eval(), ids, np.zeros_like(ids))["logits"]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(ids)), expected, atol=ATOL)


def random_reference(name):
    transformers = pytest.importorskip("transformers")
    architecture, options = make_bert.CONFIGS[name]
    transformers.set_seed(0)
    config = transformers.BertConfig(**options, initializer_range=0.5)
    return getattr(transformers, architecture)(config).eval()
