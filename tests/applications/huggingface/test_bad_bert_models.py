"""Models that are no BERT as the layout has it: refused by name when they are to be saved, and nothing is written."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import graph, layers
from keras_tx.applications import BERT, bert_pretrainer, load_huggingface, save_huggingface

from ...layers.contract_rows import stir
from .rows import BERT_SIZES as SMALL
from .rows import with_a_weight_more


def wired(
    block=None, second=None, norm=None, dropout=0.0, padding=0, positions=8, mask_zero=False, pooler="tanh", **rest
):
    """An encoder wired by hand under names of its own, like that of `BERT` up to one change."""
    ids = keras.Input((7,), dtype="int32", name="token_ids")
    segments = keras.Input((7,), dtype="int32", name="segment_ids")
    words = layers.TokenAndPositionEmbedding(11, positions, 8, mask_zero=mask_zero, name="words")
    x = keras.layers.Add()([words(ids), layers.SegmentEmbedding(2, 8, name="parts")(segments)])
    x = keras.layers.LayerNormalization(**{"epsilon": 1e-5, **(norm or {})}, name="first_norm")(x)
    if dropout is not None:
        x = layers.Dropout(dropout, name="first_dropout")(x)
    x = rest.get("between", lambda x: x)(x)
    mask = None if padding is None else ops.not_equal(ids, padding)
    sizes = {"intermediate_dim": 12, "num_heads": 2, "activation": "gelu"}
    if "shared" in rest:
        look = layers.TransformerEncoder(**sizes, name="look")
        x = look(look(x, mask=mask), mask=mask)
    else:
        for number, change in enumerate([block or {}, {**(block or {}), **(second or {})}]):
            options = {name: value for name, value in {**sizes, **change}.items() if value is not None}
            options = {name: value() if callable(value) and name in SLOTS else value for name, value in options.items()}
            x = layers.TransformerEncoder(**options, name=f"look_{number}")(x, mask=mask)
    outputs = {"sequence_output": x}
    if pooler:
        outputs["pooled_output"] = keras.layers.Dense(8, activation=pooler, name="sum_up")(x[:, rest.get("place", 0)])
    return keras.Model(
        {"token_ids": ids, "segment_ids": segments}, rest.get("outputs", lambda x: x)(outputs), name="mine"
    )


SLOTS = ("attention", "feed_forward")
ATTENTION = {"num_heads": None, "attention": lambda: layers.MultiHeadSelfAttention(2, causal=True)}
NETWORK = {"intermediate_dim": None, "feed_forward": lambda: layers.FeedForward(12, gated=True)}


def assert_refused(model, message, folder):
    with pytest.raises(ValueError, match=f"`model` must be a BERT to be saved as one.*Received: .*{message}"):
        save_huggingface(model, folder / "folder")
    assert not (folder / "folder").exists()


@pytest.mark.once
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": None}, "sequence_length=None, which must be a positive integer"),
        ({"padding": None}, "no mask of the ids that are not padding"),
        ({"mask_zero": True}, r"TokenAndPositionEmbedding \(words\), with mask_zero=True"),
        ({"norm": {"epsilon": 1e-3}}, r"another LayerNormalization \(first_norm\), with epsilon=0.001"),
        ({"norm": {"center": False}}, r"another LayerNormalization \(first_norm\), with center=False"),
        ({"dropout": 0.1}, r"Dropout \(first_dropout\) in place of LayerNormalization"),
        ({"between": lambda x: x * 2.0}, r"Multiply \(multiply\w*\) in place of LayerNormalization"),
        ({"between": lambda x: layers.SinusoidalPositionEncoding(name="waves")(x)}, r"SinusoidalPositionEncoding \(waves\)"),
        ({"shared": True}, r"TransformerEncoder \(look\) in place of"),
        ({"block": {"normalize_first": True}}, r"another TransformerEncoder \(look_\d\), with normalize_first=True"),
        ({"block": {"activation": "softplus"}}, "activation='softplus', for which there is no name"),
        ({"block": ATTENTION}, "with attention.causal=True"),
        ({"second": ATTENTION}, r"another TransformerEncoder \(look_1\)"),
        ({"block": NETWORK}, "with feed_forward.gated=True"),
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
    ],
)  # fmt: skip
def test_an_encoder_that_is_no_bert_is_not_saved_as_one(change, message, tmp_path):
    with graph.without_values():
        model = wired(**change)
    assert_refused(model, message, tmp_path)


def test_the_encoder_that_is_changed_above_is_a_bert(tmp_path):
    model = wired(padding=3, dropout=None)  # a dropout of rate 0 is none
    stir(model)
    save_huggingface(model, tmp_path)
    loaded = load_huggingface(tmp_path)
    assert len(model.weights) == len(loaded.weights)
    for weight, same in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(same), ops.convert_to_numpy(weight), err_msg=same.path)


def heads(kind):
    """A BERT encoder under a head that no folder of BERT has."""
    encoder = BERT(**SMALL)
    if kind == "span":
        return bert_pretrainer(encoder, span_boundary=True)
    if kind == "activation":
        return bert_pretrainer(encoder, activation="relu")
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "segment_ids")}
    encoded = encoder(inputs)
    if kind == "tied":
        other = layers.TokenAndPositionEmbedding(23, 10, 12)
        other(inputs["token_ids"])
        return keras.Model(inputs, layers.TiedLogits(other, use_bias=True)(encoded["sequence_output"]))
    if kind == "two":
        x = keras.layers.Dense(4)(encoded["pooled_output"])
        return keras.Model(inputs, keras.layers.Dense(3)(x))
    if kind == "tokens":
        x = layers.Dropout(0.1)(encoded["sequence_output"])
        return keras.Model(inputs, keras.layers.Dense(3, name="tags")(x))
    if kind == "softmax":
        x = layers.Dropout(0.1)(encoded["pooled_output"])
        return keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="classes")(x))
    return keras.Model(inputs, {**encoded, "again": encoded["pooled_output"]} if kind == "again" else encoded)


def test_an_encoder_inside_a_model_is_what_it_is_alone(tmp_path):
    model = heads("none")
    save_huggingface(model, tmp_path)
    for weight, same in zip(model.weights, load_huggingface(tmp_path).weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(same), ops.convert_to_numpy(weight), err_msg=same.path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("span", "other inputs, with span_left, span_offsets, span_right changed"),
        ("activation", r"another Dense \(masked_lm_transform\), with activation='relu'"),
        ("tied", "other inputs, with mask_positions changed"),
        ("two", r"Dense \(dense\w*\) in place of Dropout"),
        ("again", "other outputs, with again changed"),
        ("tokens", "TransformerEncoder .bert/encoder_1. in place of Dense"),
        ("softmax", r"another Dense \(classes\), with activation='softmax'"),
    ],
)
def test_a_head_that_the_layout_does_not_have_is_named(kind, message, tmp_path):
    with graph.without_values():
        model = heads(kind)
    assert_refused(model, message, tmp_path)


def test_a_subclassed_model_is_refused(tmp_path):
    class Mine(keras.Model):
        def __init__(self, encoder):
            super().__init__()
            self.encoder = encoder

        def call(self, inputs):
            return self.encoder(inputs)["pooled_output"]

    model = Mine(BERT(**SMALL))
    model.built = True  # as a call would leave it
    with pytest.raises(ValueError, match="`model` must be a functional model"):
        save_huggingface(model, tmp_path)


def test_weights_that_the_layout_does_not_have_are_named(tmp_path):
    assert_refused(with_a_weight_more(BERT(**SMALL), "encoder_1"), "other weights in encoder_1", tmp_path)
