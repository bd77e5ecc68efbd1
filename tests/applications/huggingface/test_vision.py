"""What folders of models of images are alone: options of their own, and pixels that are prepared beside the model."""

import json

import keras
import numpy as np
import pytest

from keras_tx.applications import Swin, ViT, load_huggingface, save_huggingface

from ...layers.contract_rows import stir
from ...layers.execution import run
from .rows import SWIN_SIZES as SWIN
from .rows import VIT_SIZES as VIT
from .rows import assert_bit_equal

live = pytest.mark.skipif(keras.backend.backend() != "torch", reason="transformers runs on torch")


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
def test_the_processor_of_transformers_does_what_the_model_did(tmp_path):
    transformers = pytest.importorskip("transformers")
    model = Swin(**SWIN)
    save_huggingface(model, tmp_path)
    pixels = np.random.RandomState(0).randint(0, 256, size=(16, 16, 3)).astype("uint8")
    processor = transformers.ViTImageProcessor.from_pretrained(tmp_path)
    values = processor(images=pixels, return_tensors="np")["pixel_values"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(values, run(model.get_layer("rescaling"), pixels[None]), atol=1e-5)
