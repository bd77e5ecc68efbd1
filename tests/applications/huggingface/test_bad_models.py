"""Models that have no layout of Hugging Face: refused by name when they are to be saved, and nothing is written."""

import keras
import numpy as np
import pytest

from keras_tx import graph, layers
from keras_tx.applications import GPT, TextClassifier, load_huggingface, save_huggingface

from . import folders


def wired(change):
    """A model like that of `GPT` up to one change, given by what it is made with; without values."""
    with graph.without_values():
        return _wired(change)


def small_gpt():
    with graph.without_values():
        return GPT(**folders.SMALL)


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
        ({"positions": None}, "no learned positions"),
        ({"mask_zero": True}, "a padding id"),
        ({"bias": True}, "logits with a bias"),
        ({"dense": True}, "no TiedLogits at its end"),
        ({"outputs": True}, "several inputs or outputs"),
        ({"between": lambda x: x * 2.0}, "operations between its layers"),
        ({"between": keras.layers.Activation("tanh")}, "other layers than TransformerDecoder"),
        ({"twice": True}, "a layer that is called twice"),
        ({"block": {"normalize_first": False}}, "the norm last in block_0"),
        ({"second": {"dropout": 0.1}}, "blocks with several rates of dropout"),
        ({"second": {"attention_dropout": 0.1}}, "blocks with several rates of dropout"),
        ({"block": {"activation": "softplus"}}, "for which there is no name, in block_0"),
        ({"block": {"layer_norm_epsilon": 1e-3}}, "norms with several epsilons"),
        ({"second": {"num_heads": 4}}, "several numbers of heads"),
        ({"second": {"intermediate_dim": 13}}, "blocks of several widths"),
        ({"second": {"activation": "gelu"}}, "several activations"),
        ({"norm": {"center": False}}, "a last norm of another kind"),
        ({"attention": attention(causal=False)}, "attention that looks ahead"),
        ({"attention": attention(rotary=layers.RotaryEmbedding())}, "rotary positions"),
        ({"attention": attention(num_key_value_heads=1)}, "shared key heads"),
        ({"attention": attention(key_dim=3)}, "another key_dim"),
        ({"attention": attention(use_bias=False)}, "linear maps without biases"),
        ({"feed_forward": lambda: layers.FeedForward(12, gated=True)}, "another feed-forward network"),
        ({"feed_forward": lambda: layers.FeedForward(12, dropout=0.1)}, "dropout inside the feed-forward network"),
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
    model = folders.with_a_weight_more(small_gpt(), "final_norm")
    with pytest.raises(ValueError, match="must have a rule to be saved. Received: final_norm/extra"):
        save_huggingface(model, tmp_path)


def test_a_model_inside_another_is_refused(tmp_path):
    inner = small_gpt()
    inputs = keras.Input((None,), dtype="int32")
    with pytest.raises(ValueError, match="`model` must be"):
        save_huggingface(keras.Model(inputs, inner(inputs)), tmp_path)


def test_an_error_in_saving_names_the_argument(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="`folder` must be a folder"):
        save_huggingface(small_gpt(), tmp_path / "file")
    with pytest.raises(ValueError, match="`max_shard_bytes` must be a positive integer"):
        save_huggingface(small_gpt(), tmp_path / "new", max_shard_bytes=0)
