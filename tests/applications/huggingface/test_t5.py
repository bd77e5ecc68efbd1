"""What folders of T5 are alone: generated ids of `transformers`, how they say that tables are tied, old tensors, and refusals."""

import json

import keras
import numpy as np
import pytest

from keras_tx import decoding
from keras_tx.applications import T5, load_huggingface, save_huggingface
from keras_tx.checkpoints import Checkpoint

from ...golden import make_t5 as golden
from . import rows

FILE = rows.golden("t5")
DEAD = {"decoder__block__0__layer__1__EncDecAttention__relative_attention_bias__weight": np.ones((8, 3), "float32")}
ALIASES = {f"{side}__embed_tokens__weight": rows.ROWS["t5"].tensors["shared.weight"] for side in ("encoder", "decoder")}


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="compiled it takes long, and is tested on other models")
@pytest.mark.parametrize("name", golden.CONFIGS if keras.backend.backend() == "torch" else ["t5_gated"])
def test_generated_ids_are_those_of_transformers(name, tmp_path):
    model, config = load_huggingface(rows.write(tmp_path, name)), rows.ROWS[name].config
    sources = [row[row != 0].tolist() for row in FILE["source"]]
    found = decoding.generate(
        model,
        [[0]] * len(sources),
        golden.NEW_TOKENS,
        stop_ids=config["eos_token_id"],
        pad_id=0,
        context={"source_ids": sources},
    )
    np.testing.assert_array_equal(found, FILE[f"{name}/greedy"])


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "changes", "added"),
    [
        ("t5", {}, {**DEAD, **ALIASES}),
        ("t5", {"scale_decoder_outputs": ..., "tie_word_embeddings": ...}, {}),  # the published ones
        ("t5", {"architectures": ["T5WithLMHeadModel"], "tie_word_embeddings": None, "scale_decoder_outputs": ...}, {}),
        ("t5_gated", {"scale_decoder_outputs": ..., "tie_word_embeddings": False}, {}),
        ("t5_gated", {"architectures": ..., "is_gated_act": ..., "dense_act_fn": ..., "is_encoder_decoder": ...}, {}),
    ],
)
def test_older_configs_and_tensors_are_read(name, changes, added, tmp_path):
    arrays = rows.changed(rows.ROWS[name].tensors, **added)
    rows.assert_outputs(load_huggingface(rows.write(tmp_path, name, changes, arrays)), name)


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "changes", "added", "message"),
    [
        ("t5", {"model_type": "mt5"}, {}, "`model_type` must be one of .*'t5'.*'mt5'"),
        ("t5", {"model_type": "umt5"}, {}, "`model_type` must be one of .*'t5'.*'umt5'"),
        ("t5", {"architectures": ["T5EncoderModel"]}, {}, "`architectures` must be a list of one of .*T5EncoderModel"),
        ("t5", {"architectures": ["T5Model"]}, {}, "`architectures` must be a list of one of 'T5ForConditionalGeneration'"),
        ("t5", {"is_encoder_decoder": False}, {}, "`is_encoder_decoder` must be True"),
        ("t5", {"feed_forward_proj": "gated-gelu"}, {}, "extra tensors, neither used nor ignored"),
        ("t5", {"feed_forward_proj": "gated-none"}, {}, "`feed_forward_proj` must be one of 'gated-gelu'"),
        ("t5", {"feed_forward_proj": "none"}, {}, "`feed_forward_proj` must be one of 'gelu_new'"),
        ("t5", {"d_kv": 4}, {}, "The sizes in config.json must be those of the tensors. Received: d_kv=4"),
        ("t5", {"num_heads": 5}, {}, "Received: num_heads=5"),
        ("t5", {"num_decoder_layers": 2}, {}, "Received: num_decoder_layers=2"),
        ("t5", {"relative_attention_num_buckets": 16}, {}, "Received: relative_attention_num_buckets=16"),
        ("t5", {}, {"encoder__embed_tokens__weight": np.ones((37, 12), "float32")}, "Tensors must be equal"),
        ("t5", {}, {"encoder__block__0__layer__0__SelfAttention__q__bias": np.ones(15, "float32")}, "extra tensors"),
        ("t5", {"scale_decoder_outputs": "no"}, {}, "`scale_decoder_outputs` must be true or false"),
        ("t5_gated", {"relative_attention_max_distance": 2}, {}, "`max_distance` must be more than the 2 distances"),
    ],
)  # fmt: skip
def test_what_is_no_t5_is_refused_by_name(name, changes, added, message, tmp_path):
    arrays = rows.changed(rows.ROWS[name].tensors, **added)
    with pytest.raises(ValueError, match=message):
        load_huggingface(rows.write(tmp_path, name, changes, arrays))


SMALL = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 12}


@pytest.mark.once
def test_every_build_of_the_application_is_saved_and_comes_back(tmp_path):
    for tied in (True, False):
        for scaled in (True, False):
            for gated in (True, False):
                model = T5(11, **SMALL, tied=tied, scale_logits=scaled, gated=gated, activation="silu", padding_id=3)
                save_huggingface(model, tmp_path / "saved")
                config = json.loads((tmp_path / "saved" / "config.json").read_text())
                assert config["feed_forward_proj"] == ("gated-silu" if gated else "silu")
                assert (config["tie_word_embeddings"], config["scale_decoder_outputs"]) == (tied, scaled)
                assert ("lm_head.weight" in Checkpoint(tmp_path / "saved").shapes) != tied
                again = load_huggingface(tmp_path / "saved")
                rows.assert_bit_equal(model, again)
    save_huggingface(T5(11, **SMALL, gated=True, activation="gelu"), tmp_path / "exact")
    assert "gated-gelu_python" in (tmp_path / "exact" / "config.json").read_text()
    with pytest.raises(ValueError, match=r"must be a T5 .* activation='selu', which must be one of 'gated-gelu'"):
        save_huggingface(T5(11, **SMALL, gated=True, activation="selu"), tmp_path / "other")
    for layer in model.get_layer("decoder").layers:
        if layer.name == "decoder_0":
            layer.attention.scale = 0.5
    with pytest.raises(ValueError, match="must be a T5 to be saved as one.*scale=0.5"):
        save_huggingface(model, tmp_path / "other")
