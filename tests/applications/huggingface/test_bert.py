"""What BERT folders are alone: what their tensors decide, and the models that stand on one encoder."""

import keras
import numpy as np
import pytest

from keras_tx.applications import BERT, bert_classifier, bert_pretrainer, load_huggingface, save_huggingface
from keras_tx.checkpoints import Checkpoint

from ...golden import make_bert
from ...layers.contract_rows import stir
from . import rows
from .rows import BERT_SIZES, ROWS


@pytest.mark.once
def test_the_tensors_decide_on_the_pooler_and_on_next_sentence(tmp_path):
    arrays = {name: array for name, array in ROWS["bert"].tensors.items() if not name.startswith("pooler")}
    model = load_huggingface(rows.write(tmp_path, "bert", arrays=arrays))
    assert list(model.output) == ["sequence_output"]
    inputs, expected = ROWS["bert"].cases[0]
    rows.assert_outputs(model, "bert", cases=[(inputs, {"sequence_output": expected["sequence_output"]})])
    save_huggingface(model, tmp_path / "saved")
    assert Checkpoint(tmp_path / "saved").shapes == Checkpoint(tmp_path).shapes
    # Next sentence beside masked tokens, as bert-base has it.
    whole = rows.filled(rows.bert_shapes({**ROWS["bert_masked_lm"].config, "architectures": ["BertForPreTraining"]}))
    model = load_huggingface(rows.write(tmp_path, "bert_masked_lm", arrays=whole))
    assert set(model.output) == {"masked_lm", "next_sentence"}
    rows.assert_outputs(model, "bert_masked_lm")
    arrays = {name: array for name, array in whole.items() if "seq_relationship" not in name}
    model = load_huggingface(rows.write(tmp_path, "bert_masked_lm", arrays=arrays))
    assert list(model.output) == ["masked_lm"]
    assert "pooled_output" in model.get_layer("bert").output
    save_huggingface(model, tmp_path / "saved")
    assert Checkpoint(tmp_path / "saved").shapes == Checkpoint(tmp_path).shapes


@pytest.mark.once
@pytest.mark.parametrize(("rate", "found"), [(..., 0.2), (None, 0.2), (0.3, 0.3)])
def test_the_classifier_has_its_dropout(rate, found, tmp_path):
    rates = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2, "classifier_dropout": rate}
    model = load_huggingface(rows.write(tmp_path, "bert_classifier", rates))
    assert model.get_layer("pooled_dropout").rate == found
    assert model.get_layer("bert").get_layer("embedding_dropout").rate == 0.2


@pytest.mark.once
def test_the_classes_may_be_counted_or_named(tmp_path):
    for options in ({"id2label": ..., "num_labels": 3}, {"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": ...}):
        rows.assert_outputs(load_huggingface(rows.write(tmp_path, "bert_classifier", options)), "bert_classifier")


def test_a_loaded_classifier_runs_in_training_and_reloads_like_any_other(tmp_path):
    model = load_huggingface(rows.write(tmp_path, "bert_classifier"))
    inputs, _ = ROWS["bert_classifier"].cases[0]
    logits = rows.outputs(model, inputs)["logits"]
    assert not np.allclose(keras.ops.convert_to_numpy(model(inputs, training=True)), logits)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    save_huggingface(again, tmp_path / "saved")
    np.testing.assert_array_equal(rows.outputs(load_huggingface(tmp_path / "saved"), inputs)["logits"], logits)


@pytest.mark.parametrize("pooler", [True, False])
def test_an_encoder_is_saved_with_each_model_that_stands_on_it(pooler, tmp_path):
    encoder = BERT(**BERT_SIZES, activation="silu", layer_norm_epsilon=1e-3, padding_id=2, pooler=pooler)
    models = [encoder, bert_pretrainer(encoder, next_sentence=pooler, activation="silu")]
    models += [bert_classifier(encoder, 3, dropout=0.4, pairs=pairs) for pairs in (True, False) if pooler]
    ids, segments = make_bert.inputs(padding_id=2)
    inputs = {"token_ids": ids, "segment_ids": segments}
    for number, model in enumerate(models):
        stir(model)
        folder = tmp_path / str(number)
        save_huggingface(model, folder)
        loaded = load_huggingface(folder)
        rows.assert_bit_equal(model, loaded)
        assert keras.tree.map_structure(lambda tensor: tensor.shape, loaded.output) == keras.tree.map_structure(
            lambda tensor: tensor.shape, model.output
        )
        if len(model.inputs) == 1:
            single = keras.ops.convert_to_numpy(model(ids))
            np.testing.assert_array_equal(
                single, rows.outputs(loaded, {**inputs, "segment_ids": 0 * segments})["logits"]
            )
        else:
            found, expected = rows.outputs(loaded, inputs), rows.outputs(model, inputs)
            for key, value in expected.items():
                real = ids != 2 if value.ndim == 3 else slice(None)
                np.testing.assert_array_equal(found[key][real], value[real], err_msg=key)
        assert number < 2 or loaded.get_layer("pooled_dropout").rate == 0.4


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="transformers runs on torch")
def test_transformers_reads_an_encoder_without_pooler_and_a_classifier_of_one_input(tmp_path):
    import transformers

    encoder = BERT(**BERT_SIZES, pooler=False)
    save_huggingface(encoder, tmp_path / "encoder")
    options = {"output_loading_info": True}
    _, report = transformers.BertModel.from_pretrained(tmp_path / "encoder", add_pooling_layer=False, **options)
    assert not any(report.values())
    model = bert_classifier(BERT(**BERT_SIZES), 5)
    save_huggingface(model, tmp_path / "classifier")
    kind = transformers.AutoModelForSequenceClassification
    reference, report = kind.from_pretrained(tmp_path / "classifier", **options)
    assert not any(report.values())
    assert reference.config.num_labels == 5
    ids = np.array([[1, 2, 3, 0], [4, 5, 6, 7]], "int32")
    expected = make_bert.outputs(reference.eval(), ids, np.zeros_like(ids))["logits"]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(ids)), expected, atol=rows.ATOL)
