"""What DETR's folders are alone: the config of the backbone, timm's names, pixels, auxiliary outputs, what is refused."""

import json
import re

import keras
import numpy as np
import pytest

from keras_tx import graph
from keras_tx.applications import DETR, convolutional_stem, load_huggingface, resnet_backbone, save_huggingface
from keras_tx.applications.huggingface import detr, structure
from keras_tx.applications.huggingface.fields import Config
from keras_tx.checkpoints import Checkpoint
from keras_tx.checkpoints.rules import match

from ...golden import make_detr
from ...layers.contract_rows import stir
from . import rows

pytestmark = pytest.mark.once  # files and names alone

SIZES = {"num_classes": 3, "num_queries": 5, "num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 12}
BACKBONE = {"depths": (2, 1), "hidden_sizes": (4, 4), "embedding_size": 4, "bottleneck": False}


def run(model, images, mask=None):
    takes_mask = len(model.inputs) > 1
    return rows.outputs(model, {"images": images, "pixel_mask": mask} if takes_mask else images)["logits"]


def made(**options):
    keras.utils.set_random_seed(0)
    model = DETR(**SIZES, backbone=resnet_backbone(**BACKBONE, name="other"), **options)
    stir(model)
    return model


@pytest.mark.parametrize("name", make_detr.CONFIGS)
def test_the_config_of_the_backbone_is_written_as_it_was_read(name, tmp_path):
    save_huggingface(load_huggingface(rows.write(tmp_path, name)), tmp_path / "saved")
    old, new = (
        json.loads((folder / "config.json").read_text())["backbone_config"] for folder in (tmp_path, tmp_path / "saved")
    )
    assert new.items() <= old.items()
    assert {"depths", "hidden_sizes", "embedding_size", "layer_type", "out_features", "model_type"} <= new.keys()


@pytest.mark.parametrize("pixel_mask", [False, True])
def test_models_come_back_though_stages_are_of_one_width(pixel_mask, tmp_path):
    model = made(pixel_mask=pixel_mask, auxiliary_outputs=False, include_rescaling=False, dropout=0.2)
    save_huggingface(model, tmp_path)
    again = load_huggingface(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["backbone_config"]["depths"] == [2, 1]
    assert again.get_layer("encoder_0").dropout == 0.2
    images = np.random.RandomState(0).normal(size=(1, 20, 30, 3)).astype("float32")
    np.testing.assert_allclose(run(again, images), run(model, images), atol=1e-6)


def test_auxiliary_outputs_are_no_matter_of_the_folder(tmp_path):
    model = made(num_decoder_layers=2, include_rescaling=False)
    save_huggingface(model, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["auxiliary_loss"] is False
    images = np.random.RandomState(0).normal(size=(1, 20, 30, 3)).astype("float32")
    found = run(load_huggingface(tmp_path), images, np.ones((1, 20, 30)))
    np.testing.assert_allclose(found, run(model, images)[:, -1:], atol=1e-5)
    with pytest.raises(
        ValueError, match="`auxiliary_loss` must be False. Received: auxiliary_loss=True in config.json"
    ):
        load_huggingface(rows.write(tmp_path / "other", "detr", {"auxiliary_loss": True}))


def test_pixels_are_prepared_in_the_folder_as_they_were_in_the_model(tmp_path):
    model = made(auxiliary_outputs=False)
    save_huggingface(model, tmp_path)
    prepare = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert (prepare["image_processor_type"], prepare["do_pad"], prepare["do_resize"]) == (
        "DetrImageProcessor",
        True,
        False,
    )
    pixels = np.random.RandomState(0).randint(0, 256, size=(1, 20, 30, 3)).astype("uint8")
    values = (pixels * prepare["rescale_factor"] - prepare["image_mean"]) / prepare["image_std"]
    np.testing.assert_allclose(run(load_huggingface(tmp_path), values), run(model, pixels), atol=1e-5)


def timm_tensors():
    """The names and shapes of the backbone in the published folder of ResNet-50, as timm calls them."""
    found = {}

    def unit(convolution, norm, *shape):
        found[f"{convolution}.weight"] = shape
        found[f"{norm}.num_batches_tracked"] = ()
        found.update({f"{norm}.{name}": shape[:1] for name in ("weight", "bias", "running_mean", "running_var")})

    unit("conv1", "bn1", 64, 3, 7, 7)
    width = 64
    for stage, depth in enumerate((3, 4, 6, 3), 1):
        for block in range(depth):
            inner, start = 32 * 2**stage, f"layer{stage}.{block}"
            unit(f"{start}.conv1", f"{start}.bn1", inner, width, 1, 1)
            unit(f"{start}.conv2", f"{start}.bn2", inner, inner, 3, 3)
            unit(f"{start}.conv3", f"{start}.bn3", 4 * inner, inner, 1, 1)
            if not block:
                unit(f"{start}.downsample.0", f"{start}.downsample.1", 4 * inner, width, 1, 1)
            width = 4 * inner
    return {f"backbone.conv_encoder.model.{name}": shape for name, shape in found.items()}


class Headers:
    """What a recipe asks of a checkpoint before anything is read."""

    def __init__(self, shapes):
        self.shapes = shapes


def of_timm(folder, config):
    """The arguments and shapes of the published folder of a small DETR on ResNet-50."""
    own = {
        name.removeprefix("model."): tensor.shape
        for name, tensor in rows.ROWS["detr"].tensors.items()
        if "backbone" not in name and "input_projection" not in name
    }
    shapes = {**own, **timm_tensors(), "input_projection.weight": (16, 2048, 1, 1), "input_projection.bias": (16,)}
    values = {key: value for key, value in rows.ROWS["detr"].config.items() if key != "backbone_config"} | config
    return detr.RECIPE.arguments(Config(folder, values), Headers(shapes)), shapes


@pytest.mark.parametrize(
    "config",
    [
        {
            "backbone": "resnet50",
            "use_timm_backbone": True,
            "backbone_kwargs": {"out_indices": [1, 2, 3, 4], "in_chans": 3},
        },
        {},
    ],
)
def test_the_published_folder_has_the_names_of_timm(config, tmp_path):
    arguments, shapes = of_timm(tmp_path, config)
    with graph.without_values():
        model = detr.RECIPE.build(**arguments)
    weights = structure.weights_by_path(model, detr.RECIPE.root)
    wanted = {path: tuple(weight.shape) for path, weight in weights.items()}
    found = match(detr.RECIPE.rules_for(arguments), shapes, wanted, detr.RECIPE.ignored)
    assert sum(len(each.weights) for each in found) == len(wanted)


@pytest.mark.parametrize(("key", "value"), [("output_stride", 16), ("out_indices", [1, 2, 3]), ("out_indices", 4)])
@pytest.mark.parametrize("place", ["backbone_kwargs", "backbone_config"])
def test_another_map_of_timm_is_refused(place, key, value, tmp_path):
    with pytest.raises(
        ValueError, match=f"`{place}.{key}` must be .* Received: {place}.{key}={re.escape(str(value))} in"
    ):
        of_timm(tmp_path, {place: {key: value}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dilation": True}, "`dilation` must be False. Received: dilation=True"),
        ({"position_embedding_type": "learned"}, "`position_embedding_type` must be 'sine'"),
        ({"decoder_layerdrop": 0.1}, "`decoder_layerdrop` must be 0.0"),
        ({"num_queries": 6}, r"sizes in config.json must be those of the tensors. Received: num_queries=6"),
        ({"id2label": {"0": "a"}}, "sizes in config.json must be those of the tensors. Received: .*id2label"),
        ({"decoder_attention_heads": 4}, "`encoder_attention_heads` and `decoder_attention_heads` must be the same"),
    ],
)
def test_what_a_config_says_and_is_not_so_is_refused_by_name(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_huggingface(rows.write(tmp_path, "detr", change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depths": [2, 2]}, "no tensor starts with 'backbone.conv_encoder.model.encoder.stages.1.layers.1.'"),
        ({"depths": [1, 1]}, "there is also 'backbone.conv_encoder.model.encoder.stages.0.layers.1."),
        (
            {"depths": [2], "out_features": ["stage1"], "out_indices": [1]},
            "`backbone_config.depths` and `backbone_config.hidden_sizes` must be of one length",
        ),
        ({"hidden_sizes": [6, 12]}, "Received: backbone_config.hidden_sizes=.6, 12."),
        ({"layer_type": "bottleneck"}, "`backbone_config.hidden_sizes` must be multiples of 4 in a bottleneck"),
        ({"layer_type": "other"}, "`backbone_config.layer_type` must be one of 'bottleneck', 'basic'"),
        ({"model_type": "swin"}, "`backbone_config.model_type` must be 'resnet'"),
        ({"hidden_act": "gelu"}, "`backbone_config.hidden_act` must be 'relu'"),
        ({"downsample_in_bottleneck": True}, "`backbone_config.downsample_in_bottleneck` must be False"),
        ({"out_features": ["stage1"]}, "`backbone_config.out_features` must be a list that ends with 'stage2'"),
        ({"out_features": None, "out_indices": [1]}, "`backbone_config.out_indices` must be a list that ends with 2"),
    ],
)
def test_a_backbone_that_is_not_so_is_refused_by_name(change, message, tmp_path):
    changed = {**rows.ROWS["detr"].config["backbone_config"], **change}
    with pytest.raises(ValueError, match=message):
        load_huggingface(rows.write(tmp_path, "detr", {"backbone_config": changed}))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: DETR(**SIZES, backbone=convolutional_stem((4,))), "another backbone than a residual network"),
        (lambda: made(layer_norm_epsilon=1e-6), "layer_norm_epsilon=1e-06"),
        (
            lambda: DETR(
                **SIZES, backbone=keras.Sequential([keras.Input((None, None, 3)), resnet_backbone(**BACKBONE)])
            ),
            None,
        ),
    ],
)
def test_a_model_of_other_layers_is_refused(model, message, tmp_path):
    if message is None:  # but for one more model around the same layers
        save_huggingface(model(), tmp_path)
        assert Checkpoint(tmp_path).shapes
        return
    with pytest.raises(ValueError, match=f"`model` must be a DETR to be saved as one.* with .*{message}"):
        save_huggingface(model(), tmp_path)
