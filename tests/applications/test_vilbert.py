"""ViLBERT: the equations, the published counts, names and order, masks, saving, walks, learning, bad input."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_tx
from keras_tx import graph
from keras_tx.applications import (
    VILBERT_SIZES,
    ViLBERT,
    load_vilbert,
    vilbert_classifier,
    vilbert_pretrainer,
)

from ..checkpoints.files import write_single
from ..golden import make_vilbert
from ..layers.contract_rows import stir
from ..layers.execution import arrays, quick

SMALL = {
    "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "region_dim": 6, "num_region_layers": 1,
    "num_region_heads": 2, "region_hidden_dim": 12, "region_intermediate_dim": 10, "num_co_attention_heads": 2,
    "co_attention_dim": 12, "text_blocks_before": (1, 2), "region_blocks_before": (0, 1),
}  # fmt: skip
INPUTS, WHERE = make_vilbert.INPUTS, make_vilbert.WHERE
EXPECTED = dict(np.load(Path(make_vilbert.__file__).with_name("vilbert_tiny.npz")))
HEADS = ("vil_prediction.", "cls.")
ATOL = 5e-5


def folder_of(path, dropped=(), prefix="bert.", config=None, more=None):
    """A folder as the authors' code would write it, without the tensors whose names start so."""
    tensors = {
        name: value for name, value in make_vilbert.weights(make_vilbert.CONFIG).items() if not name.startswith(dropped)
    }
    tensors = {name.replace("bert.", prefix): value for name, value in tensors.items()} | (more or {})
    path.mkdir(exist_ok=True)
    write_single(path, tensors)
    (path / "config.json").write_text(json.dumps({**make_vilbert.CONFIG, **(config or {})}))
    return path


def small(**options):
    model = ViLBERT(13, 7, **{**SMALL, **options})
    stir(model)
    return model


def run(model, inputs=INPUTS):
    return arrays(quick(model)(keras.tree.map_structure(keras.ops.convert_to_tensor, inputs)))


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(1)
    return small()


@pytest.mark.once
def test_the_size_has_its_published_count_without_what_is_never_used():
    with graph.without_values():
        model = ViLBERT(**VILBERT_SIZES["base"])
        assert model.count_params() == 235_705_856
        assert vilbert_pretrainer(model, 1601).count_params() == 239_023_229
    unused = 6 * (1024 * 1024 + 1024 + 1024 * 768 + 768)
    assert model.count_params() + unused == 246_726_656
    order = [
        name
        for name in graph.layer_calls(model)
        if name.startswith(("text_", "region_", "regions_to")) and "emb" not in name
    ]
    expected = [f"text_{number}" for number in range(6)] + ["text_to_regions_0", "regions_to_text_0"]
    for number in range(5):
        expected += [
            f"text_{6 + number}",
            f"region_{number}",
            f"text_to_regions_{number + 1}",
            f"regions_to_text_{number + 1}",
        ]
    assert set(order) == {*expected, "text_11", "region_5"}
    before = graph.layers_before(model)
    for first, second in [
        ("text_5", "regions_to_text_0"),
        ("text_to_regions_4", "text_10"),
        ("region_4", "text_to_regions_5"),
    ]:
        assert first in before[second]
        assert second not in before[first]
    assert "region_0" not in before["text_to_regions_0"]
    assert "text_to_regions_3" not in before["regions_to_text_3"]  # both read what was before


def test_a_published_folder_gives_the_outputs_of_the_equations(tmp_path):
    """Rows differ in words and regions, so the masks are compared too: each row was computed without padding."""
    trunk = load_vilbert(folder_of(tmp_path / "trunk", dropped=HEADS))
    found = run(trunk)
    for row, count in enumerate(INPUTS["num_regions"]):
        length = (INPUTS["token_ids"][row] != 0).sum()
        for name, size in {"text_output": length, "region_output": count}.items():
            np.testing.assert_allclose(found[name][row, :size], EXPECTED[f"outputs/{name}"][row, :size], atol=ATOL)
    for name in ("pooled_text", "pooled_regions"):
        np.testing.assert_allclose(found[name], EXPECTED[f"outputs/{name}"], atol=ATOL)
    pretrainer = load_vilbert(folder_of(tmp_path / "pretrainer", dropped="vil_"))
    found = run(pretrainer, {**INPUTS, **WHERE})
    assert set(found) == {"masked_lm", "masked_regions", "alignment"}
    for name, value in found.items():
        np.testing.assert_allclose(value, EXPECTED[f"outputs/{name}"], atol=ATOL, err_msg=name)
    answers = load_vilbert(folder_of(tmp_path / "answers"))
    np.testing.assert_allclose(run(answers), EXPECTED["outputs/answers"], atol=ATOL)


@pytest.mark.once
def test_names_without_a_prefix_and_the_rates_of_the_config_are_read(tmp_path):
    heads = {"vil_tri_prediction.bias": np.ones(3), "vil_binary_prediction.logit_fc.0.weight": np.ones((32, 32))}
    heads["vil_prediction_gqa.logit_fc.3.bias"] = np.ones(7)  # three of the tasks that are not here
    model = load_vilbert(folder_of(tmp_path, dropped=("cls.", "vil_", "vision", "ling"), prefix="", more=heads))
    np.testing.assert_allclose(run(model)["pooled_text"], EXPECTED["outputs/pooled_text"], atol=ATOL)
    block = model.get_layer("text_to_regions_1")
    assert (block.dropout, block.attention.dropout, model.get_layer("text_0").attention.dropout) == (0.1, 0.2, 0.2)


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config": {"model": "roberta"}}, "`model` must be 'bert'. Received: model='roberta'"),
        ({"config": {"fusion_method": "sum"}}, "`fusion_method` must be 'mul'"),
        ({"config": {"v_hidden_dropout_prob": 0.3}}, "`hidden_dropout_prob` and `v_hidden_dropout_prob` must be the same"),
        ({"config": {"bi_hidden_size": 12}}, "sizes in config.json must be those of the tensors.*bi_hidden_size=12"),
        ({"config": {"v_biattention_id": [0, 2, 3], "t_biattention_id": [1, 2, 3]}}, "no tensor starts with 'encoder.c_layer.2."),
        ({"config": {"t_biattention_id": [3, 1]}}, "`text_blocks_before` must be a tuple of integers from 0 to the 4 blocks"),
        ({"dropped": "bert.encoder.c_layer.1.biOutput.dense2.bias"}, "missing tensor 'encoder.c_layer.1.biOutput.dense2.bias'"),
        ({"more": {"bert.embeddings.task_embeddings.weight": np.zeros((20, 8))}}, "extra tensors.*task_embeddings"),
        ({"more": {"cls.predictions.decoder.weight": np.ones((13, 8))}}, "must be equal where the config says"),
    ],
)  # fmt: skip
def test_folders_that_contradict_themselves_are_refused(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_vilbert(folder_of(tmp_path, **options))


@pytest.mark.once
def test_a_pickle_is_refused_with_how_to_convert_it(tmp_path):
    (tmp_path / "pytorch_model_9.bin").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(
        ValueError, match="pytorch_model_9.bin.*a pickle, which can run code .* Convert it where its origin is trusted"
    ):
        load_vilbert(tmp_path)


def test_what_is_not_real_changes_nothing(encoder):
    changed = {name: value.copy() for name, value in INPUTS.items()}
    for row, count in enumerate(INPUTS["num_regions"]):
        changed["region_features"][row, count:], changed["boxes"][row, count:] = np.nan, 99.0
    before, after = run(encoder), run(encoder, changed)
    for name in ("pooled_text", "pooled_regions"):
        np.testing.assert_allclose(after[name], before[name], atol=1e-6)
    alone = run(encoder, {name: value[1:2] for name, value in INPUTS.items()})
    np.testing.assert_allclose(alone["pooled_regions"], before["pooled_regions"][1:2], atol=1e-6)
    other = run(encoder, {**INPUTS, "region_features": INPUTS["region_features"] + 1})
    assert np.abs(other["pooled_text"] - before["pooled_text"]).max() > 1e-4  # the words see the regions


@pytest.mark.once
def test_attention_maps_name_each_direction(encoder):
    maps = keras_tx.analysis.attention_maps(encoder, INPUTS)
    assert maps["text_to_regions_0"].shape == maps["text_to_regions_1"].shape == (3, 2, 6, 4)
    assert maps["regions_to_text_1"].shape == (3, 2, 4, 6)
    assert {name for name in maps if "_to_" not in name} == {"text_0", "text_1", "region_0"}
    assert np.all(maps["text_to_regions_0"][1, ..., 2:] == 0)
    assert np.all(maps["regions_to_text_0"][1, ..., 3:] == 0)
    np.testing.assert_allclose(maps["regions_to_text_0"][0].sum(-1), 1.0, atol=1e-5)
    nested = keras_tx.analysis.attention_maps(vilbert_classifier(encoder, 3), INPUTS)
    np.testing.assert_allclose(nested["vilbert/text_to_regions_1"], maps["text_to_regions_1"], atol=1e-6)
    with pytest.raises(ValueError, match="one layer after the other|attends to another"):
        keras_tx.analysis.attention_rollout(encoder, INPUTS)


def test_files_reload_with_equal_outputs_and_a_tied_table(encoder, tmp_path):
    model = vilbert_pretrainer(encoder, 5)
    inputs = {**INPUTS, **WHERE}
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for name, value in run(again, inputs).items():
        np.testing.assert_array_equal(value, run(model, inputs)[name])
    assert again.get_layer("masked_lm").embedding is again.get_layer("vilbert").get_layer("embedding")


@pytest.mark.once
def test_two_streams_without_co_attention_know_nothing_of_each_other():
    model = small(text_blocks_before=(), region_blocks_before=())
    other = run(model, {**INPUTS, "region_features": INPUTS["region_features"] + 1})
    np.testing.assert_array_equal(other["pooled_text"], run(model)["pooled_text"])


def test_pretraining_learns_and_trains_every_weight():
    keras.utils.set_random_seed(0)
    streams = {"num_layers": 1, "text_blocks_before": (0,), "region_blocks_before": (0,), "dropout": 0.0}
    model = vilbert_pretrainer(small(**streams, initializer_stddev=0.2), 5, dropout=0.0, initializer_stddev=0.2)
    starts = arrays(list(model.trainable_weights))
    sparse = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    losses = {"masked_lm": sparse, "masked_regions": keras_tx.losses.LogitsKLDivergence(), "alignment": sparse}
    model.compile(keras.optimizers.Adam(0.03), loss=losses, run_eagerly=keras.backend.backend() == "tensorflow")
    regions = np.eye(5, dtype="float32")[[[0, 1], [2, 3], [4, 0]]]
    labels = {
        "masked_lm": np.array([[5, 8], [9, 1], [11, 3]]),
        "masked_regions": regions,
        "alignment": np.array([0, 1, 0]),
    }
    found = model.fit({**INPUTS, **WHERE}, labels, batch_size=3, epochs=15, verbose=0).history["loss"]
    assert found[-1] < 0.5 * found[0]
    for weight, start in zip(model.trainable_weights, starts, strict=True):
        if not weight.path.endswith("key/bias"):  # which the softmax takes out
            assert np.abs(arrays(weight) - start).max() > 0, weight.path


@pytest.mark.once
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"text_blocks_before": (2, 1)},
            r"`text_blocks_before` must be .* none below the one before it. Received: .*\(2, 1\)",
        ),
        ({"text_blocks_before": (1, 3)}, "`text_blocks_before` must be a tuple of integers from 0 to the 2 blocks"),
        ({"region_blocks_before": (0.0, 1)}, "`region_blocks_before` must be a tuple of integers"),
        ({"region_blocks_before": 1}, "`region_blocks_before` must be a tuple of integers"),
        ({"region_blocks_before": (0,)}, "`text_blocks_before` and `region_blocks_before` must be of one length"),
        (
            {"num_co_attention_heads": 5},
            "`num_co_attention_heads` must divide `co_attention_dim`. Received: .*=5, .*=12",
        ),
        ({"padding_id": 13}, "`padding_id` must be a token id"),
        ({"region_dim": 0}, "`region_dim` must be a positive integer"),
        ({"initializer_stddev": 0}, "`initializer_stddev` must be a positive number"),
    ],
)
def test_bad_arguments_are_named(change, message):
    with graph.without_values(), pytest.raises(ValueError, match=message):
        small(**change)


@pytest.mark.once
def test_heads_refuse_other_models_and_counts_of_classes():
    for head in (lambda model: vilbert_pretrainer(model), lambda model: vilbert_classifier(model, 2)):
        for model in (None, keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])):
            with pytest.raises(ValueError, match="`encoder` must be a model of `ViLBERT`. Received: encoder="):
                head(model)
    for classes in (0, -1, 2.5):
        with pytest.raises(ValueError, match="`num_region_classes` must"):
            vilbert_pretrainer(None, classes)
        with pytest.raises(ValueError, match="`num_classes` must"):
            vilbert_classifier(None, classes)


LONG = {"token_ids": np.ones((3, 8), "int32"), "segment_ids": np.zeros((3, 8), "int32")}


@pytest.mark.once
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"num_regions": np.array([4, 5, 3])},
            "`num_regions` must hold counts of at most the regions.* from 3 to 5 with 4 regions",
        ),
        (LONG, "longer than the position table.*length 8 with sequence_length=7"),
        ({"boxes": 28 * INPUTS["boxes"]}, "divide pixels by the size of the image"),
        ({"boxes": INPUTS["boxes"] - 0.25}, "`boxes` must hold"),
        ({"boxes": INPUTS["boxes"][:, :3]}, "`boxes` must hold one box for each region"),
        ({"token_ids": INPUTS["token_ids"] + 10}, "must hold token ids"),
    ],
)
def test_bad_inputs_are_named(encoder, change, message):
    with pytest.raises(ValueError, match=message):
        encoder({**INPUTS, **change})
