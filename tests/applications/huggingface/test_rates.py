"""Rates of dropout: each reaches the layers that it is for, and a folder that is loaded is saved with those that it had."""

import json

import keras
import numpy as np
import pytest

from keras_tx import graph
from keras_tx.applications import BERT, Swin, load_huggingface, save_huggingface
from keras_tx.layers import Dropout

from . import rows

_HIDDEN = {
    "branches": "hidden_dropout_prob",
    "embeddings": "hidden_dropout_prob",
    "weights": "attention_probs_dropout_prob",
}
_SEQUENCES = {
    "branches": "dropout",
    "embeddings": "dropout",
    "weights": "attention_dropout",
    "inside": "activation_dropout",
}


# By the name of a row, the keys of its rates by what they thin out.
KEYS = {
    "gpt2": {"branches": "resid_pdrop", "embeddings": "embd_pdrop", "weights": "attn_pdrop"},
    "bert": _HIDDEN,
    "bert_classifier": {**_HIDDEN, "pooled": "classifier_dropout"},
    "bert_pretraining": _HIDDEN,
    "marian": _SEQUENCES,
    "bart": _SEQUENCES,
    "vit": _HIDDEN,
    "deit": _HIDDEN,
    "swin": _HIDDEN,
}
every_folder = pytest.mark.parametrize("name", KEYS)


def rates_of(model):
    """Dict from what is thinned out to the set of rates of the layers that do it."""
    found = {}
    for path, layer in graph.parts(model):
        *_, owner, name = path.split("/")
        if isinstance(layer, Dropout) and not owner.endswith("_drop_path"):
            own = {"embedding_dropout": "embeddings", "pooled_dropout": "pooled", "intermediate_dropout": "inside"}
            kind = own.get(name) or ("weights" if owner.endswith("attention") else "branches")
            found.setdefault(kind, set()).add(layer.rate)
    return found


def distinct(keys):
    """A rate for each key of a config."""
    return {key: 0.1 + 0.05 * number for number, key in enumerate(sorted(set(keys.values())))}


def expected(keys, rates):
    return {kind: {rates[key]} for kind, key in keys.items()}


@pytest.mark.once  # configs alone
@every_folder
def test_each_rate_of_a_folder_reaches_its_layers_and_is_saved_as_it_was(name, tmp_path):
    keys = KEYS[name]
    rates = distinct(keys)
    model = load_huggingface(rows.write(tmp_path, name, rates))
    for each in (model, keras.models.clone_model(model)):
        found = rates_of(each)
        if "inside" not in keys:
            assert found.pop("inside") == {0.0}
        assert found == expected(keys, rates)
    save_huggingface(model, tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert {key: saved[key] for key in rates} == rates
    assert rates_of(load_huggingface(tmp_path / "saved")) == rates_of(model)


def test_rates_change_nothing_outside_training(tmp_path):
    keys = KEYS["gpt2"]
    ids = np.array([[1, 2, 3]])
    outputs = []
    for number, rates in enumerate([distinct(keys), dict.fromkeys(distinct(keys), 0.0)]):
        model = load_huggingface(rows.write(tmp_path / str(number), "gpt2", rates))
        outputs.append(keras.ops.convert_to_numpy(model(ids)))
    np.testing.assert_array_equal(*outputs)


def test_a_saved_file_has_the_rates_and_one_written_without_them_has_one(tmp_path):
    model = BERT(**rows.BERT_SIZES, dropout=0.1, attention_dropout=0.0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert (
        rates_of(again)
        == rates_of(model)
        == {"embeddings": {0.1}, "branches": {0.1}, "weights": {0.0}, "inside": {0.0}}
    )
    config = again.get_layer("encoder_0").get_config()
    assert config.pop("attention_dropout") == 0.0
    block = type(again.get_layer("encoder_0")).from_config(config)
    assert (block.attention_dropout, block.attention.dropout) == (None, 0.1)


@pytest.mark.once  # configs alone
def test_one_rate_said_in_two_ways_is_one(tmp_path):
    models = [BERT(**rows.BERT_SIZES, dropout=0.3, attention_dropout=rate) for rate in (None, 0.3)]
    swin = Swin(**rows.SWIN_SIZES, dropout=0.3, attention_dropout=0.2)  # whose attentions stand in slots
    models.append(keras.models.clone_model(swin, clone_function=_said_by_the_block_too))
    assert models[-1].get_layer("stage_0_block_0").attention_dropout == 0.2
    for number, model in enumerate(models):
        save_huggingface(model, tmp_path / str(number))
        assert rates_of(load_huggingface(tmp_path / str(number))) == rates_of(model)


def _said_by_the_block_too(layer):
    config = layer.get_config()
    if "attention_dropout" in config:
        config["attention_dropout"] = layer.attention.dropout
    return type(layer).from_config(config)
