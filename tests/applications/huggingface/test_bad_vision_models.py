"""Models that are no ViT, DeiT or Swin as the layouts have them: refused by name when they are to be saved."""

import keras
import pytest

from keras_tx import graph, layers
from keras_tx.applications import Swin, ViT, save_huggingface

from .rows import SWIN_SIZES as SWIN
from .rows import VIT_SIZES as VIT
from .rows import with_a_weight_more

pytestmark = pytest.mark.once  # graphs alone


def assert_refused(model, message, folder):
    with pytest.raises(ValueError, match=message):
        save_huggingface(model, folder / "folder")
    assert not (folder / "folder").exists()


def wired(kind):
    """A model by hand, like a ViT of one block up to one change."""
    images = keras.Input((16, 16, 3))
    x = layers.PatchEmbedding(4, 12, use_bias=kind != "no bias")(images)
    if kind != "no positions":
        x = layers.GridPositionEncoding(4)(x)
    x = layers.Dropout(0.0)(
        layers.ClassToken(3 if kind == "three tokens" else 1, use_positions=kind != "bare token")(x)
    )
    attention = {"attention": layers.MultiHeadSelfAttention(3, use_bias=False)} if kind == "attention" else {}
    activation = "softplus" if kind == "activation" else "relu"
    x = layers.TransformerEncoder(
        20,
        None if attention else 3,
        activation=activation,
        normalize_first=kind != "post-norm",
        name="block",
        **attention,
    )(x)
    x = keras.layers.LayerNormalization(epsilon=1e-5)(x)
    x = keras.layers.Dense(3, name="head", activation="softmax" if kind == "softmax" else None)(x[:, 0])
    if kind == "two heads":
        x = keras.layers.Dense(3)(x)
    return keras.Model(images, x, name="mine")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no bias", "another PatchEmbedding .*, with use_bias=False"),
        ("no positions", "no GridPositionEncoding"),
        ("bare token", r"another ClassToken .*, with use_positions=False"),
        ("attention", "with attention.use_bias=False"),
        ("activation", "activation='softplus', for which there is no name"),
        ("post-norm", r"another TransformerEncoder \(block\), with normalize_first=False"),
        ("softmax", r"another Dense \(head\), with activation='softmax'"),
        ("two heads", r"Dense \(head\) in place of GetItem"),
    ],
)
def test_a_model_that_is_no_vit_is_not_saved_as_one(kind, message, tmp_path):
    with graph.without_values():
        model = wired(kind)
    assert_refused(model, f"`model` must be a ViT to be saved as one.*Received: mine with .*{message}", tmp_path)


def test_the_model_that_is_changed_above_is_a_vit_under_names_of_its_own(tmp_path):
    save_huggingface(wired(""), tmp_path)
    with graph.without_values():
        model = wired("three tokens")
    assert_refused(model, "`model` must be of a type that has a layout of Hugging Face .*vit, deit, swin", tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "mask"}, "another PatchEmbedding .*, with padding='mask'"),
        ({"include_top": False, "pooling": "token"}, "GetItem .* in place of LayerNormalization"),
        ({"include_top": False, "pooling": "avg"}, "MaskedMeanPooling .pooling. in place of LayerNormalization"),
        (
            {"include_top": False, "pooling": "avg", "distillation_token": True},
            "MaskedMeanPooling .pooling. in place of LayerNormalization",
        ),
    ],
)
def test_a_vit_with_options_that_the_layout_does_not_have_is_named(options, message, tmp_path):
    with graph.without_values():
        model = ViT(**{**VIT, **options})
    assert_refused(model, f"`model` must be a ViT .*{message}", tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_padding": True}, "mask_padding=True and maps that the windows may not divide"),
        ({"mask_padding": True, "input_shape": (28, 24, 3)}, "mask_padding=True"),
        (
            {"mask_padding": True, "input_shape": (24, 48, 3)},
            "mask_padding=True",
        ),  # a map of 3 x 6 is shifted along one axis
        ({"window_size": (3, 2)}, r"window_size=.3, 2., which must be a positive integer"),
        ({"layer_norm_epsilon": 1e-3}, "layer_norm_epsilon=0.001, which must be 1e-05"),
        ({"include_top": False, "pooling": "avg"}, "MaskedMeanPooling .pooling. in place of LayerNormalization"),
        ({"activation": "softplus"}, "activation='softplus', for which there is no name"),
    ],
)
def test_a_swin_with_options_that_the_layout_does_not_have_is_named(options, message, tmp_path):
    with graph.without_values():
        model = Swin(**{**SWIN, **options})
    assert_refused(model, f"`model` must be a Swin .*{message}", tmp_path)


def test_a_swin_of_one_size_whose_maps_the_windows_divide_is_saved(tmp_path):
    save_huggingface(Swin(**{**SWIN, "mask_padding": True}, input_shape=(24, 24, 3)), tmp_path)


def test_weights_that_the_layout_does_not_have_are_named(tmp_path):
    assert_refused(with_a_weight_more(ViT(**VIT), "encoder_1"), "other weights in encoder_1", tmp_path)
