"""ViT, DeiT and Swin folders: the outputs of `transformers`, both ways; what is saved loads bit-equal."""

import json

import keras
import numpy as np
import pytest

from keras_tx.applications import Swin, ViT, load_huggingface, save_huggingface
from keras_tx.checkpoints import Checkpoint

from ...golden import make_vision
from ...layers.contract_rows import stir
from ...layers.execution import run
from . import vision_folders as folders
from .test_gpt2 import assert_bit_equal
from .vision_folders import CONFIGS, GOLDEN, SWIN, VIT

ATOL = 5e-5  # of float32 outputs around 1
every_folder = pytest.mark.parametrize("name", make_vision.CONFIGS)
live = pytest.mark.skipif(keras.backend.backend() != "torch", reason="transformers runs on torch")


def assert_golden(model, name, atol=ATOL):
    for size in make_vision.CONFIGS[name][2]:
        expected = GOLDEN[f"{name}/{size[0]}x{size[1]}"]
        np.testing.assert_allclose(run(model, make_vision.images(name, size)), expected, atol=atol, err_msg=str(size))


@every_folder
def test_outputs_are_those_of_transformers_and_what_is_loaded_saves_as_it_was(name, tmp_path):
    model = load_huggingface(folders.write(tmp_path, name))
    assert model.name == ("swin" if "swin" in name else "vit")
    assert_golden(model, name)
    save_huggingface(model, tmp_path / "saved")
    old, new = Checkpoint(tmp_path), Checkpoint(tmp_path / "saved")
    left = {tensor for tensor in old.shapes if tensor.startswith("pooler")}
    assert new.shapes == {tensor: shape for tensor, shape in old.shapes.items() if tensor not in left}
    assert all(np.array_equal(old.read(tensor), new.read(tensor)) for tensor in new.shapes)
    saved, known = json.loads((tmp_path / "saved" / "config.json").read_text()), dict(CONFIGS[name])
    if "swin" in name:
        del known["image_size"]  # which says nothing of the model
    assert {key: saved[key] for key in saved if key in known} == {key: known[key] for key in saved if key in known}
    assert not (tmp_path / "saved" / "preprocessor_config.json").exists()
    assert_bit_equal(model, load_huggingface(tmp_path / "saved"))


@pytest.mark.once
def test_halves_shards_and_buffers_are_read(tmp_path):
    arrays = {
        **folders.tensors("swin"),
        "swin.encoder.layers.0.blocks.1.attention.self.relative_position_index": np.zeros((9, 9)),
        "swin.embeddings.mask_token": np.zeros((1, 1, 8)),
    }
    assert_golden(load_huggingface(folders.write(tmp_path, "swin", arrays=arrays, num_shards=3)), "swin")
    (tmp_path / "half").mkdir()
    assert_golden(load_huggingface(folders.write(tmp_path / "half", "deit_teacher", dtype="BF16")), "deit_teacher")


@pytest.mark.once
@every_folder
def test_without_architectures_the_tensors_decide(name, tmp_path):
    config = {key: value for key, value in CONFIGS[name].items() if key != "architectures"}
    model = load_huggingface(folders.write(tmp_path, name, config))
    save_huggingface(model, tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert saved["architectures"] == CONFIGS[name]["architectures"]


def test_a_dtype_policy_is_that_of_every_layer_and_survives_a_round_trip(tmp_path):
    name = "deit"
    model = load_huggingface(folders.write(tmp_path, name), dtype="mixed_bfloat16")
    assert_golden(model, name, atol=0.1)
    assert {layer.dtype_policy.name for layer in model.layers[1:]} == {"mixed_bfloat16"}
    save_huggingface(model, tmp_path / "saved")
    assert_bit_equal(model, load_huggingface(tmp_path / "saved", dtype="mixed_bfloat16"))


def models():
    """Models with options of their own, by what they are."""
    options = {"dropout": 0.1, "drop_path": 0.2, "activation": "relu", "include_rescaling": False}
    return {
        "vit": lambda: ViT(**VIT, **options, input_shape=(16, 16, 3)),
        "tokens": lambda: ViT(**{**VIT, "patch_size": (4, 8), "image_size": (8, 16)}, include_top=False, **options),
        "distilled": lambda: ViT(**VIT, distillation_token=True, **options),
        "student": lambda: ViT(**VIT, distillation_token=True, distillation_head=False, **options),
        "swin": lambda: Swin(**SWIN, **options),
        "map": lambda: Swin(**{**SWIN, "patch_size": (4, 2), "mlp_ratio": 2.7}, include_top=False, **options),
        "one_size": lambda: Swin(**{**SWIN, "mask_padding": True}, input_shape=(24, 24, 3), **options),
    }


@pytest.mark.once
@pytest.mark.parametrize("kind", models())
def test_a_model_with_options_of_its_own_survives_a_round_trip(kind, tmp_path):
    model = models()[kind]()
    stir(model)
    save_huggingface(model, tmp_path)
    again = load_huggingface(tmp_path)
    assert_bit_equal(model, again)
    rates = [layer.drop_path for layer in model.layers if hasattr(layer, "drop_path")]
    assert [layer.drop_path for layer in again.layers if hasattr(layer, "drop_path")] == rates
    assert rates[-1] == 0.2
    images = np.random.RandomState(0).normal(size=(1, 24 if "size" in kind else 16, 24 if "size" in kind else 16, 3))
    np.testing.assert_array_equal(run(again, images), run(model, images))


@pytest.mark.once
@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_pixels_are_prepared_in_the_folder_as_they_were_in_the_model(kind, tmp_path):
    if kind == "vit":
        model = ViT(**VIT, input_shape=(None, None, 2))
    else:
        model = Swin(**SWIN)
    stir(model)
    save_huggingface(model, tmp_path)
    prepare = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert prepare["image_mean"] == ([0.5, 0.5] if kind == "vit" else [0.485, 0.456, 0.406])
    assert prepare["image_std"] == ([0.5, 0.5] if kind == "vit" else [0.229, 0.224, 0.225])
    assert (prepare["do_rescale"], prepare["do_normalize"], prepare["do_resize"]) == (True, True, kind == "vit")
    assert prepare.get("size") == ({"height": 16, "width": 16} if kind == "vit" else None)
    pixels = np.random.RandomState(0).randint(0, 256, size=(1, 16, 16, model.input_shape[-1])).astype("uint8")
    values = (pixels * prepare["rescale_factor"] - prepare["image_mean"]) / prepare["image_std"]
    again = load_huggingface(tmp_path)
    assert not any(isinstance(layer, keras.layers.Rescaling) for layer in again.layers)
    np.testing.assert_allclose(run(again, values), run(model, pixels), atol=1e-5)
    assert_bit_equal(model, again)


@live
@every_folder
def test_a_random_model_of_transformers_gives_the_same_outputs_and_reads_what_is_saved(name, tmp_path):
    reference = make_vision.random_model(name)
    reference.save_pretrained(tmp_path, max_shard_size=2000)
    model = load_huggingface(tmp_path)
    stirred = load_huggingface(tmp_path)
    stir(stirred)
    save_huggingface(stirred, tmp_path / "saved")
    options = {} if "ForImage" in type(reference).__name__ else {"add_pooling_layer": False}
    again, report = type(reference).from_pretrained(tmp_path / "saved", output_loading_info=True, **options)
    assert not any(report.values())
    for size in make_vision.CONFIGS[name][2]:
        images = make_vision.images(name, size)
        for ours, theirs in ((model, reference), (stirred, again.eval())):
            expected = make_vision.outputs(theirs, name, size)
            np.testing.assert_allclose(run(ours, images), expected, atol=ATOL, err_msg=str(size))


@live
def test_the_processor_of_transformers_does_what_the_model_did(tmp_path):
    transformers = pytest.importorskip("transformers")
    model = Swin(**SWIN)
    save_huggingface(model, tmp_path)
    pixels = np.random.RandomState(0).randint(0, 256, size=(16, 16, 3)).astype("uint8")
    processor = transformers.ViTImageProcessor.from_pretrained(tmp_path)
    values = processor(images=pixels, return_tensors="np")["pixel_values"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(values, run(model.get_layer("rescaling"), pixels[None]), atol=1e-5)
