"""Models that have no layout of Hugging Face: refused by name when they are to be saved, and nothing is written."""

import keras
import numpy as np
import pytest

from keras_tx import graph, layers
from keras_tx.applications import BERT, GPT, FNet, Swin, TextClassifier, ViT, load_huggingface, save_huggingface

from ...layers.contract_rows import stir
from . import rows, wired_models
from .wired_models import attention, feed_forward

# Graphs alone are looked at, but where weights are written.
once = pytest.mark.once


def assert_refused(make, message, folder):
    with graph.without_values():
        model = make()
    with pytest.raises(ValueError, match=message):
        save_huggingface(model, folder / "folder")
    assert not (folder / "folder").exists()


CAUSAL = {"causal": True}
GPT2_CHANGES = [
    ({"positions": None}, r"no learned positions in \w+, which the layout needs"),
    ({"mask_zero": True}, "with mask changed"),
    ({"bias": True}, r"another TiedLogits .*, with use_bias=True"),
    ({"dense": True}, r"Dense \(dense\w*\) in place of TiedLogits"),
    ({"outputs": True}, "other outputs"),
    ({"between": lambda x: x * 2.0}, "Multiply .* in place of TokenAndPositionEmbedding"),
    ({"between": keras.layers.Activation("tanh")}, "Activation .* in place of TokenAndPositionEmbedding"),
    ({"twice": True}, "shared in another way"),
    ({"block": {"normalize_first": False}}, "TransformerDecoder .block_1., with normalize_first=False"),
    ({"second": {"dropout": 0.1}}, "block_1., with attention.dropout=0.1"),
    ({"second": {"attention_dropout": 0.1}}, "block_1., with attention.dropout=0.1"),
    ({"block": {"activation": "softplus"}}, "activation='softplus', for which there is no name"),
    ({"block": {"layer_norm_epsilon": 1e-3}}, "LayerNormalization .*, with epsilon=1e-05"),
    ({"second": {"num_heads": 4}}, "block_1., with attention.num_heads=4"),
    ({"second": {"intermediate_dim": 13}}, "block_1., with intermediate_dim=13"),
    ({"second": {"activation": "gelu"}}, "block_1., with activation='gelu'"),
    ({"norm": {"center": False}}, "LayerNormalization .*, with center=False"),
    ({"block": {**attention(causal=False), "causal": False}}, r"block_\d., with (attention.)?causal=False"),
    ({"block": attention(rotary=layers.RotaryEmbedding(), **CAUSAL)}, "attention with other parts, rotary changed"),
    ({"block": attention(num_key_value_heads=1, **CAUSAL)}, r"block_\d., with attention.key.output_shape=1"),
    ({"block": attention(key_dim=3, **CAUSAL)}, r"block_\d., with attention.query.output_shape=3"),
    ({"block": attention(use_bias=False, **CAUSAL)}, r"block_\d., with attention.use_bias=False"),
    ({"block": feed_forward(gated=True)}, r"block_\d., with feed_forward.gated=True"),
    ({"block": feed_forward(dropout=0.1)}, r"block_\d., with feed_forward.dropout=0.1"),
]  # fmt: skip
BERT_CHANGES = [
    ({"positions": None}, r"no learned positions in \w+, which the layout needs"),
    ({"padding": None}, "no mask of the ids that are not padding"),
    ({"mask_zero": True}, r"TokenAndPositionEmbedding \(words\), with mask_zero=True"),
    ({"norm": {"epsilon": 1e-3}}, r"another LayerNormalization \(first_norm\), with epsilon=0.001"),
    ({"norm": {"center": False}}, r"another LayerNormalization \(first_norm\), with center=False"),
    ({"dropout": 0.1}, r"Dropout \(first_dropout\) in place of LayerNormalization"),
    ({"between": lambda x: x * 2.0}, r"Multiply \(multiply\w*\) in place of LayerNormalization"),
    ({"between": lambda x: layers.SinusoidalPositionEncoding(name="waves")(x)}, r"SinusoidalPositionEncoding \(waves\)"),
    ({"shared": True}, r"TransformerEncoder \(look_\d\) in place of"),
    ({"block": {"normalize_first": True}}, r"another TransformerEncoder \(look_\d\), with normalize_first=True"),
    ({"block": {"activation": "softplus"}}, "activation='softplus', for which there is no name"),
    ({"block": attention(causal=True)}, "with attention.causal=True"),
    ({"second": attention(causal=True)}, r"another TransformerEncoder \(look_1\)"),
    ({"block": feed_forward(activation="gelu", gated=True)}, "with feed_forward.gated=True"),
    ({"second": {"dropout": 0.2}}, r"another TransformerEncoder \(look_1\), with dropout=0.2"),
    ({"second": {"attention_dropout": 0.2}}, r"another TransformerEncoder \(look_1\), with attention.dropout=0.2"),
    ({"second": {"num_heads": 4}}, r"\(look_1\), with num_heads=4"),
    ({"second": {"intermediate_dim": 13}}, r"\(look_1\), with intermediate_dim=13"),
    ({"second": {"activation": "relu"}}, r"\(look_1\), with activation='relu'"),
    ({"second": {"layer_norm_epsilon": 1e-3}}, r"\(look_1\), with attention_norm.epsilon=0.001"),
    ({"second": {"drop_path": 0.1}}, r"\(look_1\), with drop_path=0.1"),
    ({"pooler": "relu"}, r"another Dense \(sum_up\), with activation='relu'"),
    ({"place": 1}, "other inputs of get_item"),
    ({"outputs": lambda x: x["sequence_output"]}, "no Dense"),
    ({"outputs": lambda x: {**x, "again": x["sequence_output"]}}, "other outputs, with again changed"),
]  # fmt: skip
VIT_CHANGES = [
    ({"bias": False}, "another PatchEmbedding .*, with use_bias=False"),
    ({"positions": False}, "no GridPositionEncoding"),
    ({"token_positions": False}, r"another ClassToken .*, with use_positions=False"),
    ({"block": attention(use_bias=False)}, "with attention.use_bias=False"),
    ({"block": {"activation": "softplus"}}, "activation='softplus', for which there is no name"),
    ({"block": {"normalize_first": False}}, r"another TransformerEncoder \(block\), with normalize_first=False"),
    ({"activation": "softmax"}, r"another Dense \(head\), with activation='softmax'"),
    ({"more": lambda x: keras.layers.Dense(3)(x)}, r"Dense \(head\) in place of GetItem"),
]
HEADS = [
    ("span", "other inputs, with span_left, span_offsets, span_right changed"),
    ("activation", r"another Dense \(masked_lm_transform\), with activation='relu'"),
    ("tied", "other inputs, with mask_positions changed"),
    ("two", r"Dense \(dense\w*\) in place of Dropout"),
    ("again", "other outputs, with again changed"),
    ("tokens", "TransformerEncoder .bert/encoder_1. in place of Dense"),
    ("softmax", r"another Dense \(classes\), with activation='softmax'"),
]
POOLED = "MaskedMeanPooling .pooling. in place of LayerNormalization"
TOPLESS = {"include_top": False, "pooling": "avg"}
VIT_OPTIONS = [
    ({"padding": "mask"}, "another PatchEmbedding .*, with padding='mask'"),
    (
        {"stem": layers.ConvolutionalStem((3,))},
        "another PatchEmbedding .* with other parts, stem changed",
    ),
    ({"include_top": False, "pooling": "token"}, "GetItem .* in place of LayerNormalization"),
    (TOPLESS, POOLED),
    ({**TOPLESS, "distillation_token": True}, POOLED),
]
SWIN_OPTIONS = [
    ({"mask_padding": True}, "mask_padding=True and maps that the windows may not divide"),
    ({"mask_padding": True, "input_shape": (28, 24, 3)}, "mask_padding=True"),
    (
        {"mask_padding": True, "input_shape": (24, 48, 3)},
        "mask_padding=True",
    ),  # a map of 3 x 6 is shifted along one axis
    ({"window_size": (3, 2)}, r"window_size=.3, 2., which must be a positive integer"),
    ({"layer_norm_epsilon": 1e-3}, "layer_norm_epsilon=0.001, which must be 1e-05"),
    (TOPLESS, POOLED),
    ({"activation": "softplus"}, "activation='softplus', for which there is no name"),
]
FNET_SIZES = {name: value for name, value in rows.BERT_SIZES.items() if name != "num_heads"}
CASES = [
    *(("GPT-2", wired_models.gpt2, change, said) for change, said in GPT2_CHANGES),
    *(("BERT", wired_models.bert, change, said) for change, said in BERT_CHANGES),
    *(("ViT", wired_models.vit, change, said) for change, said in VIT_CHANGES),
    *(("BERT", wired_models.bert_head, {"kind": kind}, said) for kind, said in HEADS),
    *(("ViT", ViT, {**rows.VIT_SIZES, **options}, said) for options, said in VIT_OPTIONS),
    ("FNet", FNet, {**FNET_SIZES, "padding_id": 0}, "padding_id=0, which must be None"),
    ("GPT-2", GPT, {**rows.GPT_SIZES, "positions": "rotary"}, "no learned positions in embedding"),
    *(("Swin", Swin, {**rows.SWIN_SIZES, **options}, said) for options, said in SWIN_OPTIONS),
]


@once
@pytest.mark.parametrize(("name", "make", "change", "said"), CASES)
def test_a_model_that_differs_in_one_thing_is_not_saved_as_one_of_the_type(name, make, change, said, tmp_path):
    message = f"`model` must be a {name} to be saved as one.*Received: .*{said}"
    assert_refused(lambda: make(**change), message, tmp_path)


# A dropout of rate 0 is none.
@pytest.mark.parametrize(("make", "options"), [("gpt2", {}), ("bert", {"padding": 3, "dropout": None}), ("vit", {})])
def test_the_models_that_are_changed_above_are_of_their_types(make, options, tmp_path):
    model = getattr(wired_models, make)(**options)
    stir(model)
    save_huggingface(model, tmp_path)
    for weight, same in zip(model.weights, load_huggingface(tmp_path).weights, strict=True):
        np.testing.assert_array_equal(rows.numbers(same), rows.numbers(weight), err_msg=same.path)


@once
def test_a_model_without_a_layout_is_refused(tmp_path):
    said = "`model` must be of a type that has a layout of Hugging Face .*vit, deit, swin"
    assert_refused(lambda: TextClassifier(30, 8), f"{said}.*TransformerEncoder", tmp_path)
    assert_refused(lambda: wired_models.gpt2(context=True), said, tmp_path)
    assert_refused(lambda: wired_models.vit(tokens=3), said, tmp_path)
    for model in (None, keras.Sequential([keras.layers.Dense(1)])):
        with pytest.raises(ValueError, match="`model` must be a built keras.Model"):
            save_huggingface(model, tmp_path)


class Subclassed(keras.Model):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.built = True  # as a call would leave it


@once
def test_a_subclassed_model_is_refused(tmp_path):
    assert_refused(lambda: Subclassed(BERT(**rows.BERT_SIZES)), "`model` must be a functional model", tmp_path)


@once
@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (lambda: GPT(**rows.GPT_SIZES), "final_norm"),
        (lambda: BERT(**rows.BERT_SIZES), "encoder_1"),
        (lambda: ViT(**rows.VIT_SIZES), "encoder_1"),
    ],
)
def test_weights_that_the_layout_does_not_have_are_named(make, layer, tmp_path):
    message = f"must be a .* to be saved as one.*other weights in {layer}"
    assert_refused(lambda: wired_models.with_a_weight_more(make(), layer), message, tmp_path)


def test_a_model_inside_another_is_what_it_is_alone(tmp_path):
    inner = GPT(**rows.GPT_SIZES)
    inputs = keras.Input((None,), dtype="int32")
    save_huggingface(keras.Model(inputs, inner(inputs)), tmp_path / "outer")
    save_huggingface(inner, tmp_path / "inner")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "outer" / name).read_bytes() == (tmp_path / "inner" / name).read_bytes()
    model = wired_models.bert_head("none")
    save_huggingface(model, tmp_path / "bert")
    for weight, same in zip(model.weights, load_huggingface(tmp_path / "bert").weights, strict=True):
        np.testing.assert_array_equal(rows.numbers(same), rows.numbers(weight), err_msg=same.path)


@once
def test_a_swin_of_one_size_whose_maps_the_windows_divide_is_saved(tmp_path):
    save_huggingface(Swin(**{**rows.SWIN_SIZES, "mask_padding": True}, input_shape=(24, 24, 3)), tmp_path)


@once
def test_an_error_in_saving_names_the_argument(tmp_path):
    with graph.without_values():
        model = GPT(**rows.GPT_SIZES)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="`folder` must be a folder"):
        save_huggingface(model, tmp_path / "file")
    with pytest.raises(ValueError, match="`max_shard_bytes` must be a positive integer"):
        save_huggingface(model, tmp_path / "new", max_shard_bytes=0)
