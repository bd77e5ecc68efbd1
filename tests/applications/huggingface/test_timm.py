"""Folders of timm: told by their `architecture`, with what timm lets a folder change, and written so that timm reads them."""

import json

import numpy as np
import pytest

from keras_tx import graph
from keras_tx.applications import MIXER_SIZES, Mixer, load_huggingface, save_huggingface
from keras_tx.applications.huggingface import RECIPES
from keras_tx.applications.huggingface.mixer import ARCHITECTURES

from ...layers.contract_rows import stir
from ...layers.execution import run
from . import rows
from .rows import ROWS, assert_bit_equal, changed

pytestmark = pytest.mark.once
# The narrowest of an architecture; the widths are no multiples that the ratio gives exactly.
NARROW = {
    "patch_size": 32,
    "num_layers": 12,
    "hidden_dim": 768,
    "tokens_dim": 7,
    "channels_dim": 11,
    "image_size": (32, 64),
    "channels": 1,
    "num_classes": 2,
}


def refused(folder, message):
    with pytest.raises(ValueError, match=message):
        load_huggingface(folder)


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def test_a_published_model_is_written_under_the_name_that_timm_has_for_it(tmp_path):
    for size in ("small_32", "base_16", "large_32"):
        with graph.without_values():
            model = Mixer(**MIXER_SIZES[size])
        config, _, rules, _ = RECIPES["timm"].to_huggingface(model)
        assert config["architecture"] == f"mixer_{size[0]}{size[-2:]}_224"
        assert config["model_args"] == {"in_chans": 3, "img_size": 224, "mlp_ratio": [0.5, 4.0]}
        assert config["pretrained_cfg"]["mean"] == config["pretrained_cfg"]["std"] == [0.5] * 3
        assert (config["num_classes"], config["num_features"]) == (1000, MIXER_SIZES[size]["hidden_dim"])
        assert {"head.weight", "stem.proj.bias"} <= {tensor for rule in rules for tensor in rule.tensors}


def test_options_of_its_own_and_pixels_survive_a_round_trip(tmp_path):
    model = Mixer(**NARROW, dropout=0.1, drop_path=0.2)
    stir(model)
    save_huggingface(model, tmp_path)
    config = config_of(tmp_path)
    assert "model_type" not in config
    assert [int(ratio * 768) for ratio in config["model_args"]["mlp_ratio"]] == [7, 11]
    again = load_huggingface(tmp_path)
    assert [again.layers[-4].dropout, again.layers[-4].drop_path] == [0.1, 0.2]
    prepare = config["pretrained_cfg"]
    pixels = np.random.RandomState(0).randint(0, 256, size=(1, 32, 64, 1)).astype("uint8")
    values = (pixels / 255 - prepare["mean"]) / prepare["std"]
    np.testing.assert_allclose(run(again, values), run(model, pixels), atol=1e-5)
    assert_bit_equal(model, again)


@pytest.mark.parametrize("name", ["timm", "timm_patches"])
def test_what_timm_writes_in_other_places_is_read(name, tmp_path):
    config = ROWS[name].config
    without = {key: value for key, value in config["model_args"].items() if key not in ("img_size", "in_chans")}
    rows.assert_outputs(load_huggingface(rows.write(tmp_path, name, {"model_args": without})), name)
    if name == "timm":  # as before model_args were written, and before pretrained_cfg was
        flat = {"num_classes": 3, "input_size": config["pretrained_cfg"]["input_size"], "pretrained_cfg": ...}
        args = {"mlp_ratio": config["model_args"]["mlp_ratio"]}
        rows.assert_outputs(load_huggingface(rows.write(tmp_path, name, {"model_args": args, **flat})), name)


WRONG = [
    ({"architecture": "resmlp_12_224"}, "`architecture` must be one of 'mixer_s32_224', .*'resmlp_12_224'"),
    (
        {"architecture": "mixer_b32_224"},
        "sizes in config.json must be those of the tensors.*'mixer_b32_224'.*'blocks.8.'",
    ),
    ({"architecture": "mixer_s16_224"}, "must be those of the tensors.*stem.proj.weight"),
    ({"num_classes": 5}, "`num_classes` and `model_args.num_classes` .*must be the same"),
    ({"model_type": "mixer"}, "`model_type` must be one of .*'swin'"),
    ({"model_type": None, "architecture": ...}, "`model_type` must be"),
    ({"pretrained_cfg": {"input_size": [1, 64]}}, "a list of three positive integers"),
    ({"global_pool": ""}, "`model_args.global_pool` and `global_pool` must be|must be 'avg'"),
]
WRONG_ARGS = [
    ({"img_size": 96}, "img_size=96.*mlp_tokens.fc1.weight.* and not 9 along axis 1"),
    ({"img_size": [64, 100]}, "`pretrained_cfg.input_size` must be a multiple of the patch"),
    ({"in_chans": 3}, "in_chans=3.*stem.proj.weight"),
    ({"mlp_ratio": [0.02, 0.5]}, "mlp_ratio=.*mlp_channels.fc1.weight.*256"),
    ({"mlp_ratio": 1e-9}, "`model_args.mlp_ratio` must be a ratio"),
    ({"stem_norm": True}, "`model_args` must be an object of global_pool, img_size, .* alone"),
    ({"num_classes": 3, "global_pool": ""}, "must be 'avg'"),
]


@pytest.mark.parametrize(("changes", "message"), [*WRONG, *(({"model_args": args}, said) for args, said in WRONG_ARGS)])
def test_a_folder_that_contradicts_itself_or_is_of_another_kind_is_named(changes, message, tmp_path):
    if "model_args" in changes:
        changes = {"model_args": {**ROWS["timm"].config["model_args"], **changes["model_args"]}, "global_pool": ...}
    refused(rows.write(tmp_path, "timm", changes), message)


def test_a_head_without_classes_and_classes_without_a_head_are_named(tmp_path):
    tensors = ROWS["timm"].tensors
    refused(rows.write(tmp_path, "timm", arrays=changed(tensors, head__weight=None)), "'head.weight' is missing")
    none = {"num_classes": 0, "model_args": {**ROWS["timm"].config["model_args"], "num_classes": 0}}
    none["pretrained_cfg"] = {**ROWS["timm"].config["pretrained_cfg"], "num_classes": 0}
    refused(rows.write(tmp_path, "timm", none), "head.weight")


OTHERS = [
    ({"patch_size": 16, "image_size": 32, "num_layers": 4}, "num_layers=4, which must be that of mixer_s32_224 or"),
    ({"hidden_dim": 512}, "hidden_dim=512, which must be that of mixer_b32_224 or mixer_b16_224"),
    ({"patch_size": 8}, r"patch_size=\(8, 8\), which must be that of mixer_b32_224 or mixer_b16_224"),
    ({"activation": "relu"}, "with attention.activation|activation='relu'"),
    ({"layer_norm_epsilon": 1e-3}, "epsilon=0.001"),
]


@pytest.mark.parametrize(
    ("change", "message"), OTHERS, ids=lambda value: ", ".join(value) if type(value) is dict else ""
)
def test_a_mixer_that_timm_has_no_name_for_is_refused_with_what_it_has(change, message, tmp_path):
    with graph.without_values():
        model = Mixer(**{**NARROW, **change})
    with pytest.raises(ValueError, match=message):
        save_huggingface(model, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
    assert len(ARCHITECTURES) == 6
