"""ViT, DeiT and Swin folders that are wrong, hostile, or of a kind that is not implemented: each refused before anything is
built.
"""

import json
import time

import numpy as np
import pytest

from . import vision_folders as folders
from .folders import changed
from .test_bad_folders import refused
from .vision_folders import CONFIGS, tensors

pytestmark = pytest.mark.once  # files and numbers alone
SIZES = {
    "vit": ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    "swin": ("embed_dim", "depths", "num_heads"),
}


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in SIZES.items() for key in keys])
def test_a_size_that_is_missing_or_wrong_is_named(name, key, tmp_path):
    config = {other: value for other, value in CONFIGS[name].items() if other != key}
    refused(folders.write(tmp_path, name, config), f"`{key}` must be in config.json. Received: none in .*")
    for value in (0, -1, 1.5, "12", True, [0, 2], [2, 2.0], [], [[2, 2]], None):
        (tmp_path / "config.json").write_text(json.dumps({**CONFIGS[name], key: value}))
        assert f"Received: {key}={value!r}" in refused(tmp_path, f"`{key}` must be a (positive integer|list of)")
    for value in (12 * 10**6, 12 * 10**30):
        value = [value, value] if key in ("depths", "num_heads") else value
        (tmp_path / "config.json").write_text(json.dumps({**CONFIGS[name], key: value}))
        started = time.perf_counter()
        refused(tmp_path, "must")
        assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        ("vit", "architectures", ["ViTForMaskedImageModeling"], "must be a list of one of 'ViTForImage.*'ViTModel'"),
        ("deit", "architectures", ["ViTModel"], "must be a list of one of 'DeiTForImageClassificationWithT"),
        ("swin", "architectures", ["SwinForMaskedImageModeling"], "`architectures` must be a list of one of"),
        ("swin", "architectures", ["SwinBackbone"], "`architectures` must be a list of one of"),
        ("vit", "qkv_bias", False, "`qkv_bias` must be True. Received: qkv_bias=False"),
        ("deit", "qkv_bias", False, "`qkv_bias` must be True"),
        ("swin", "qkv_bias", False, "`qkv_bias` must be True"),
        ("swin", "use_absolute_embeddings", True, "`use_absolute_embeddings` must be False. Received: .*=True"),
        ("swin", "layer_norm_eps", 1e-6, "`layer_norm_eps` must be 1e-05. Received: layer_norm_eps=1e-06"),
        ("vit", "layer_norm_eps", 0, "`layer_norm_eps` must be a positive number"),
        ("vit", "hidden_act", "quick_gelu", "`hidden_act` must be one of .*Received: hidden_act='quick_gelu'"),
        ("deit", "hidden_act", None, "`hidden_act` must be one of"),
        ("swin", "hidden_act", "leaky_relu", "`hidden_act` must be one of"),
        ("vit", "attention_probs_dropout_prob", 1, r"`attention_probs_dropout_prob` must be a number in \[0, 1\)"),
        ("swin", "hidden_dropout_prob", 1.0, r"`hidden_dropout_prob` must be a number in \[0, 1\)"),
        ("swin", "drop_path_rate", -0.5, r"`drop_path_rate` must be a number in \[0, 1\)"),
        ("vit", "num_attention_heads", 5, "`num_attention_heads` must divide `hidden_size`.*num_attention_heads=5"),
        ("swin", "num_heads", [1, 3], r"`num_heads` must divide the widths of the stages.*num_heads=\[1, 3\]"),
        ("swin", "num_heads", [1], r"`depths` and `num_heads` must be of one length. Received: depths=\[2, 2\], num_heads=\[1\]"),
        ("swin", "depths", [2] * 17, "`depths` must be a list of 1 to 16 positive integers"),
        ("swin", "mlp_ratio", 0.01, "`mlp_ratio` must leave widths of .* `embed_dim`. Received: mlp_ratio=0.01"),
        ("swin", "mlp_ratio", 1e299, "`mlp_ratio` must leave widths"),
        ("swin", "mlp_ratio", True, "`mlp_ratio` must be a positive number"),
        ("swin", "window_size", [3, 3], "`window_size` must be a positive integer"),
        ("vit", "image_size", [16], "`image_size` must be a positive integer, or a list of two"),
        ("vit", "image_size", [16, "16"], "`image_size` must be a positive integer, or a list of two"),
        ("vit", "patch_size", 3, r"`patch_size` must divide `image_size`.*patch_size=3, image_size=16"),
        ("vit", "patch_size", 0, "`patch_size` must be a positive integer"),
        ("vit", "num_channels", 0, "`num_channels` must be a positive integer"),
        ("vit", "id2label", {}, "`id2label` must be an object"),
    ],
)  # fmt: skip
def test_a_value_that_is_not_implemented_is_named(name, key, value, message, tmp_path):
    refused(folders.write(tmp_path, name, {**CONFIGS[name], key: value}), message)


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        ("vit", "num_hidden_layers", 3, "no tensor starts with 'encoder.layer.2.'"),
        ("vit", "hidden_size", 24, "projection.weight' has shape (12, 3, 4, 4), and not 24 along axis 0"),
        ("vit", "image_size", 32, "'embeddings.position_embeddings' has shape (1, 17, 12), and not 65 along axis 1"),
        ("vit", "patch_size", 8, "projection.weight' has shape (12, 3, 4, 4), and not 8 along axis 2"),
        ("vit", "patch_size", [4, 8], "projection.weight' has shape (12, 3, 4, 4), and not 8 along axis 3"),
        ("vit", "num_channels", 1, "projection.weight' has shape (12, 3, 4, 4), and not 1 along axis 1"),
        ("vit", "id2label", {"0": "a"}, "'classifier.weight' has shape (3, 12), and not 1 along axis 0"),
        ("deit_teacher", "id2label", {"0": "a"}, "'cls_classifier.weight' has shape (3, 12), and not 1 along axis 0"),
        ("deit", "image_size", 8, "'embeddings.position_embeddings' has shape (1, 18, 12), and not 6 along axis 1"),
        ("swin", "depths", [2, 3], "no tensor starts with 'encoder.layers.1.blocks.2.'"),
        ("swin", "depths", [2, 1], "there is also 'encoder.layers.1.blocks.1."),
        ("swin", "num_heads", [2, 2], "0.attention.self.relative_position_bias_table' has shape (25, 1), and not 2 along axis 1"),
        ("swin", "window_size", 4, "relative_position_bias_table' has shape (25, 1), and not 49 along axis 0"),
        ("swin", "embed_dim", 16, "projection.weight' has shape (8, 3, 4, 4), and not 16 along axis 0"),
        ("swin", "mlp_ratio", 2, "'encoder.layers.0.blocks.0.intermediate.dense.weight' has shape (32, 8), and not 16 along"),
    ],
)  # fmt: skip
def test_a_config_for_other_sizes_than_the_tensors_is_refused(name, key, value, message, tmp_path):
    assert message in refused(folders.write(tmp_path, name, {**CONFIGS[name], key: value}), "sizes in config.json")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("vit", {"vit__layernorm__bias": None}, r"norm/beta \(missing tensor 'layernorm.bias'\)"),
        ("vit", {"vit__embeddings__cls_token": None}, r"class_token/token \(missing tensor 'embeddings.cls_token'\)"),
        ("vit", {"vit__embeddings__distillation_token": np.ones((1, 1, 12))}, "neither used nor ignored: 'embeddings.dist"),
        ("deit", {"deit__embeddings__distillation_token": None}, "class_token/token .missing tensor 'embeddings.dist"),
        ("deit", {"distillation_classifier__weight": np.ones((3, 12))}, "neither used nor ignored: 'distillation_class"),
        ("deit", {"deit__embeddings__cls_token": np.ones(12)}, "'embeddings.cls_token' has shape .*must come from .1, 1, 12"),
        ("swin", {"swin__embeddings__position_embeddings": np.ones((1, 36, 8))}, "neither used nor ignored: 'embeddings.pos"),
        ("swin", {"swin__encoder__layers__1__downsample__norm__bias": np.ones(64)}, "weights that the model does not have"),
        ("swin_base", {"classifier__weight": np.ones((3, 32))}, "extra tensors"),
    ],
)  # fmt: skip
def test_tensors_that_are_not_those_of_the_model_are_named(name, change, message, tmp_path):
    refused(folders.write(tmp_path, name, arrays=changed(tensors(name), **change)), message)
