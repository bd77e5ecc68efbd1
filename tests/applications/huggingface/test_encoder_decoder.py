"""Marian and BART folders: logits and generated ids of `transformers`; what is saved loads bit-equal; the rest is refused."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_tx import decoding
from keras_tx.applications import Translator, load_huggingface, save_huggingface
from keras_tx.checkpoints import Checkpoint

from ...checkpoints.files import file_bytes
from ...golden import make_encoder_decoder as golden

BACKEND = keras.backend.backend()
ATOL = 5e-5  # of float32 logits around 2
KINDS = ["marian", "bart"]
every_kind = pytest.mark.parametrize("kind", KINDS)
live = pytest.mark.skipif(BACKEND != "torch", reason="transformers runs on torch")

with np.load(Path(__file__).parents[2] / "golden" / "encoder_decoder_tiny.npz") as file:
    GOLDEN = dict(file)
CONFIGS = json.loads(str(GOLDEN["configs"]))


def shapes(config):
    """The tensors of such a model by name, as its authors' code makes them."""
    d, f, norms = config["d_model"], config["encoder_ffn_dim"], []
    found = {"final_logits_bias": (1, config["vocab_size"]), "model.shared.weight": (config["vocab_size"], d)}
    for side in ("encoder", "decoder"):
        if config["model_type"] == "bart":
            found[f"model.{side}.embed_positions.weight"] = (config["max_position_embeddings"] + 2, d)
            norms.append(f"model.{side}.layernorm_embedding")
        for index in range(config[f"{side}_layers"]):
            layer = f"model.{side}.layers.{index}"
            attentions = ["self_attn"] + ["encoder_attn"] * (side == "decoder")
            for attention in attentions:
                for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    found[f"{layer}.{attention}.{part}.weight"], found[f"{layer}.{attention}.{part}.bias"] = (
                        (d, d),
                        (d,),
                    )
            found |= {f"{layer}.fc1.weight": (f, d), f"{layer}.fc1.bias": (f,)}
            found |= {f"{layer}.fc2.weight": (d, f), f"{layer}.fc2.bias": (d,)}
            norms += [f"{layer}.{attention}_layer_norm" for attention in attentions] + [f"{layer}.final_layer_norm"]
    return found | {f"{norm}.{part}": (d,) for norm in norms for part in ("weight", "bias")}


def write(folder, kind, changed=None, **arrays):
    """Writes a folder put together without `transformers`; returns its path."""
    config = {**CONFIGS[kind], **(changed or {})}
    tensors = {name: golden.values(name, shape, golden.CONFIGS[kind]) for name, shape in shapes(config).items()}
    tensors |= {name.replace("__", "."): array for name, array in arrays.items()}
    tensors = {name: array for name, array in tensors.items() if array is not None}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(file_bytes(tensors, dict.fromkeys(tensors, "F32")))
    return str(folder)


def logits(model, kind):
    inputs = {"source_ids": GOLDEN[f"{kind}/source"], "target_ids": GOLDEN[f"{kind}/target"]}
    return keras.ops.convert_to_numpy(keras.ops.cast(model(inputs), "float32"))


def generated(model, kind, sampler):
    config = CONFIGS[kind]
    return decoding.generate(
        model,
        [[golden.START[kind]]] * len(golden.ROWS),
        golden.NEW,
        sampler,
        stop_ids=config["eos_token_id"],
        pad_id=config["pad_token_id"],
        context={"source_ids": [list(row) for row in golden.ROWS]},
    )


@every_kind
def test_logits_are_those_of_transformers(kind, tmp_path):
    model = load_huggingface(write(tmp_path, kind))
    np.testing.assert_allclose(logits(model, kind), GOLDEN[f"{kind}/logits"], atol=ATOL)


@pytest.mark.skipif(BACKEND != "torch", reason="where it is compiled it takes long, and is tested on other models")
@every_kind
def test_generated_ids_are_those_of_transformers(kind, tmp_path):
    model = load_huggingface(write(tmp_path, kind))
    np.testing.assert_array_equal(generated(model, kind, decoding.Greedy()), GOLDEN[f"{kind}/greedy"])
    for number, (width, penalty) in enumerate(golden.BEAMS):
        sampler = decoding.Beam(width, penalty, length_offset=0.0)
        np.testing.assert_array_equal(generated(model, kind, sampler), GOLDEN[f"{kind}/beam_{number}"])


@every_kind
def test_what_is_loaded_saves_as_it_was(kind, tmp_path):
    model = load_huggingface(write(tmp_path, kind))
    save_huggingface(model, tmp_path / "saved")
    old, new = Checkpoint(tmp_path), Checkpoint(tmp_path / "saved")
    assert old.shapes == new.shapes
    assert all(np.array_equal(old.read(tensor), new.read(tensor)) for tensor in old.shapes)
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())
    # What generation reads, the length of sines, and one of two names of a function.
    free = {"eos_token_id", "forced_eos_token_id", "bos_token_id", "max_position_embeddings", "activation_function"}
    assert {key: value for key, value in CONFIGS[kind].items() if key in saved and key not in free} == {
        key: value for key, value in saved.items() if key in CONFIGS[kind] and key not in free
    }
    again = load_huggingface(tmp_path / "saved")
    np.testing.assert_array_equal(logits(again, kind), logits(model, kind))
    assert [weight.path for weight in again.weights] == [weight.path for weight in model.weights]


def test_a_model_without_a_bias_of_logits_loads_and_saves(tmp_path):
    model = load_huggingface(write(tmp_path, "marian", final_logits_bias=None))
    assert not model.get_layer("logits").use_bias
    save_huggingface(model, tmp_path / "saved")
    assert "final_logits_bias" not in Checkpoint(tmp_path / "saved").shapes


def test_copies_of_the_table_and_the_sines_may_be_in_the_folder(tmp_path):
    table = golden.values("model.shared.weight", (23, 12), {})
    copies = {"lm_head__weight": table, "model__encoder__embed_tokens__weight": table}
    sines = {"model__encoder__embed_positions__weight": np.zeros((20, 12), "float32")}
    model = load_huggingface(write(tmp_path, "marian", **copies, **sines))
    np.testing.assert_allclose(logits(model, "marian"), GOLDEN["marian/logits"], atol=ATOL)
    with pytest.raises(
        ValueError, match=r"must be equal where .* tied. Received: 'lm_head.weight' and 'shared.weight'"
    ):
        load_huggingface(write(tmp_path, "marian", lm_head__weight=table + 1))


@pytest.mark.once
@pytest.mark.parametrize(
    ("kind", "changed", "said"),
    [
        ("marian", {"architectures": ["MarianModel"]}, "`architectures` must be a list of one of 'MarianMTModel'"),
        ("marian", {"decoder_ffn_dim": 24}, "`encoder_ffn_dim` and `decoder_ffn_dim` must be the same"),
        (
            "marian",
            {"encoder_attention_heads": 4},
            "`encoder_attention_heads` and `decoder_attention_heads` must be the",
        ),
        ("marian", {"share_encoder_decoder_embeddings": False}, "`share_encoder_decoder_embeddings` must be True"),
        ("marian", {"normalize_before": True}, "`normalize_before` must be False"),
        ("marian", {"encoder_layerdrop": 0.1}, "`encoder_layerdrop` must be 0.0. Received: encoder_layerdrop=0.1"),
        ("marian", {"scale_embedding": 2}, "`scale_embedding` must be true or false"),
        ("marian", {"pad_token_id": 23}, r"`pad_token_id` must be an integer in \[0, 23\)"),
        ("marian", {"activation_function": "glu"}, "`activation_function` must be one of"),
        ("bart", {"normalize_embedding": False}, "`normalize_embedding` must be True"),
        ("bart", {"add_final_layer_norm": True}, "`add_final_layer_norm` must be False"),
        ("bart", {"tie_word_embeddings": False}, "`tie_word_embeddings` must be True"),
    ],
)
def test_what_is_not_implemented_is_refused_by_name(kind, changed, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        load_huggingface(write(tmp_path, kind, changed))


@pytest.mark.once
@every_kind
@pytest.mark.parametrize("changed", [{"encoder_layers": 3}, {"vocab_size": 24}, {"max_position_embeddings": 21}])
def test_sizes_that_contradict_the_tensors_are_refused(kind, changed, tmp_path):
    if kind == "marian" and "max_position_embeddings" in changed:
        return  # its positions have no table
    write(tmp_path, kind)
    (tmp_path / "config.json").write_text(json.dumps({**CONFIGS[kind], **changed}))
    with pytest.raises(ValueError, match="The sizes in config.json must be those of the tensors"):
        load_huggingface(tmp_path)


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


@live
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("marian", {"scale_embedding": False, "activation_function": "relu", "encoder_layers": 1}),
        ("bart", {"scale_embedding": True, "activation_function": "gelu_new", "decoder_layers": 2}),
    ],
)
def test_transformers_reads_what_is_saved(kind, options, tmp_path):
    reference = golden.model(kind, **options)
    reference.save_pretrained(tmp_path / "theirs")
    model = load_huggingface(tmp_path / "theirs")
    expected = golden.logits(reference, kind, *golden.inputs(kind))
    np.testing.assert_allclose(logits(model, kind), expected, atol=ATOL)
    save_huggingface(model, tmp_path / "ours")
    again, report = type(reference).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values())
    np.testing.assert_allclose(golden.logits(again.eval(), kind, *golden.inputs(kind)), expected, atol=1e-6)
