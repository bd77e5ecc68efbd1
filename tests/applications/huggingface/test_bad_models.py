"""Models that have no layout of Hugging Face: refused by name when they are to be saved, and nothing is written."""

import keras
import numpy as np
import pytest

from keras_tx import graph, layers
from keras_tx.applications import GPT, TextClassifier, load_huggingface, save_huggingface

from . import rows


def wired(change):
    """A model like that of `GPT` up to one change, given by what it is made with; without values."""
    with graph.without_values():
        return _wired(change)


def small_gpt():
    with graph.without_values():
        return GPT(**rows.GPT_SIZES)


def _wired(change):
    embedding = layers.TokenAndPositionEmbedding(
        11, change.get("positions", 8), 8, mask_zero=change.get("mask_zero", False)
    )
    block = {"normalize_first": True, **change.get("block", {})}
    if "attention" in change:
        block["attention"] = change["attention"]()
    if "feed_forward" in change:
        block["feed_forward"] = change["feed_forward"]()
    sizes = (
        "intermediate_dim" if "feed_forward" not in change else None,
        "num_heads" if "attention" not in change else None,
    )
    sizes = {name: {"intermediate_dim": 12, "num_heads": 2}[name] for name in sizes if name}
    inputs = keras.Input((None,), dtype="int32")
    x = embedding(inputs)
    context = x if change.get("context") else None
    x = change.get("between", lambda x: x)(x)
    for index in range(2):
        extra = change.get("second", {}) if index else {}
        decoder = layers.TransformerDecoder(**{**sizes, **block, **extra}, name=f"block_{index}")
        x = decoder(x) if context is None else decoder(x, context)
        if change.get("twice"):
            x = decoder(x)
        if "attention" in change or "feed_forward" in change:
            break
    x = keras.layers.LayerNormalization(epsilon=1e-5, **change.get("norm", {}))(x)
    head = layers.TiedLogits(embedding, use_bias=change.get("bias", False))
    outputs = keras.layers.Dense(3)(x) if change.get("dense") else head(x)
    return keras.Model(inputs, [outputs, x] if change.get("outputs") else outputs)


def attention(**options):
    return lambda: layers.MultiHeadSelfAttention(2, **{"causal": True, **options})


@pytest.mark.once
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": None}, "sequence_length=None, which must be a positive integer"),
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
        ({"attention": attention(causal=False)}, "block_0., with attention.causal=False"),
        ({"attention": attention(rotary=layers.RotaryEmbedding())}, "with attention with other parts, rotary changed"),
        ({"attention": attention(num_key_value_heads=1)}, "block_0., with attention.key.output_shape=1"),
        ({"attention": attention(key_dim=3)}, "block_0., with attention.query.output_shape=3"),
        ({"attention": attention(use_bias=False)}, "block_0., with attention.use_bias=False"),
        ({"feed_forward": lambda: layers.FeedForward(12, gated=True)}, "block_0., with feed_forward.gated=True"),
        ({"feed_forward": lambda: layers.FeedForward(12, dropout=0.1)}, "block_0., with feed_forward.dropout=0.1"),
    ],
)  # fmt: skip
def test_a_model_that_is_no_gpt2_is_not_saved_as_one(change, message, tmp_path):
    with pytest.raises(ValueError, match=f"`model` must be a GPT-2 to be saved as one.*{message}"):
        save_huggingface(wired(change), tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_the_model_that_is_changed_above_is_a_gpt2(tmp_path):
    model = wired({})
    for weight in model.weights:
        graph.fill(weight, np.ones(weight.shape))
    save_huggingface(model, tmp_path)
    load_huggingface(tmp_path)


def test_a_model_without_a_layout_is_refused(tmp_path):
    with graph.without_values():
        classifier = TextClassifier(30, 8)
    message = "`model` must be of a type that has a layout.*TransformerEncoder"
    with pytest.raises(ValueError, match=message):
        save_huggingface(classifier, tmp_path)
    with pytest.raises(ValueError, match="`model` must be of a type that has a layout"):
        save_huggingface(wired({"context": True}), tmp_path)
    for model in (None, keras.Sequential([keras.layers.Dense(1)])):
        with pytest.raises(ValueError, match="`model` must be a built keras.Model"):
            save_huggingface(model, tmp_path)


def test_weights_that_the_layout_does_not_have_are_named(tmp_path):
    model = rows.with_a_weight_more(small_gpt(), "final_norm")
    with pytest.raises(ValueError, match="must be a GPT-2 .*other weights in final_norm"):
        save_huggingface(model, tmp_path)


def test_a_model_inside_another_is_what_it_is_alone(tmp_path):
    inner = GPT(**rows.GPT_SIZES)
    inputs = keras.Input((None,), dtype="int32")
    save_huggingface(keras.Model(inputs, inner(inputs)), tmp_path / "outer")
    save_huggingface(inner, tmp_path / "inner")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "outer" / name).read_bytes() == (tmp_path / "inner" / name).read_bytes()


def test_an_error_in_saving_names_the_argument(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="`folder` must be a folder"):
        save_huggingface(small_gpt(), tmp_path / "file")
    with pytest.raises(ValueError, match="`max_shard_bytes` must be a positive integer"):
        save_huggingface(small_gpt(), tmp_path / "new", max_shard_bytes=0)
