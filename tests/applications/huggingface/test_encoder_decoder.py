"""What folders of translators are alone: generated ids of `transformers`, no bias of logits, and models of another build."""

import keras
import numpy as np
import pytest

from keras_tx import decoding
from keras_tx.applications import Translator, load_huggingface, save_huggingface
from keras_tx.checkpoints import Checkpoint

from ...golden import make_encoder_decoder as golden
from . import rows


def generated(model, kind, sampler):
    config = rows.ROWS[kind].config
    return decoding.generate(
        model,
        [[golden.START[kind]]] * len(golden.ROWS),
        golden.NEW,
        sampler,
        stop_ids=config["eos_token_id"],
        pad_id=config["pad_token_id"],
        context={"source_ids": [list(row) for row in golden.ROWS]},
    )


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="compiled it takes long, and is tested on other models")
@pytest.mark.parametrize("kind", ["marian", "bart"])
def test_generated_ids_are_those_of_transformers(kind, tmp_path):
    model, expected = load_huggingface(rows.write(tmp_path, kind)), rows.golden("encoder_decoder")
    np.testing.assert_array_equal(generated(model, kind, decoding.Greedy()), expected[f"{kind}/greedy"])
    for number, (width, penalty) in enumerate(golden.BEAMS):
        sampler = decoding.Beam(width, penalty, length_offset=0.0)
        np.testing.assert_array_equal(generated(model, kind, sampler), expected[f"{kind}/beam_{number}"])


def test_a_model_without_a_bias_of_logits_loads_and_saves(tmp_path):
    arrays = rows.changed(rows.ROWS["marian"].tensors, final_logits_bias=None)
    model = load_huggingface(rows.write(tmp_path, "marian", arrays=arrays))
    assert not model.get_layer("logits").use_bias
    save_huggingface(model, tmp_path / "saved")
    assert "final_logits_bias" not in Checkpoint(tmp_path / "saved").shapes


SMALL = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "must be a Marian model to be saved as one.* with another SinusoidalPositionEncoding .*interleaved=True"),
        (
            {"positions": "sinusoidal_halves", "normalize_first": True},
            "must be a Marian model.* LayerNormalization .decoder/final_norm. in place",
        ),
        (
            {"positions": "sinusoidal_halves", "target_vocabulary_size": 9},
            "must be a Marian model.*TiedLogits .logits., with embedding",
        ),
        ({"positions": "learned", "sequence_length": 9}, "must be a BART to be saved as one"),
        (
            {"positions": "sinusoidal_halves", "layer_norm_epsilon": 1e-6},
            "must be a Marian model.* layer_norm_epsilon=1e-06, which must be 1e-05",
        ),
        (
            {
                "positions": "learned",
                "sequence_length": 9,
                "position_offset": 2,
                "embedding_norm": True,
                "layer_norm_epsilon": 1e-3,
            },
            "must be a BART to be saved as one.* layer_norm_epsilon=0.001",
        ),
    ],
)
def test_a_model_of_another_build_is_refused(options, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        save_huggingface(Translator(11, **SMALL, **options), tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
