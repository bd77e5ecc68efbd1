"""What GPT-2 folders are alone: trained, wired by hand, of half precision from `transformers`."""

import json

import keras
import numpy as np
import pytest

from keras_tx import graph, layers
from keras_tx.applications import load_huggingface, save_huggingface
from keras_tx.checkpoints import Checkpoint

from . import rows

IDS = np.array([[1, 2, 3, 10], [0, 5, 5, 7]], "int32")


def logits(model):
    return rows.outputs(model, IDS)["logits"]


def test_a_loaded_model_trains_and_reloads_like_any_other(tmp_path):
    model = load_huggingface(rows.write(tmp_path, "gpt2_upcast"))
    assert model.get_layer("embedding_dropout").rate == 0.1
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, jit_compile="auto")
    losses = model.fit(IDS, IDS, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert np.array_equal(logits(again), logits(model))
    save_huggingface(again, tmp_path / "saved")
    assert np.array_equal(logits(load_huggingface(tmp_path / "saved")), logits(model))


def own_layers():
    """A GPT-2 wired by hand, under other names."""
    embedding = layers.TokenAndPositionEmbedding(11, 8, 12, name="words")
    attention = layers.MultiHeadSelfAttention(3, causal=True, dropout=0.2, name="look")
    network = layers.FeedForward(20, activation="silu", name="think")
    norm = keras.layers.LayerNormalization(epsilon=1e-3, name="norm")
    options = {"dropout": 0.2, "normalize_first": True}
    blocks = [
        layers.TransformerDecoder(attention=attention, feed_forward=network, norm=norm, name="first", **options),
        layers.TransformerDecoder(20, 3, activation="silu", layer_norm_epsilon=1e-3, name="second", **options),
    ]
    return [embedding, keras.layers.Dropout(0.2), *blocks, norm, layers.TiedLogits(embedding, name="scores")]


@pytest.mark.parametrize("wiring", ["functional", "sequential"])
def test_a_model_wired_by_hand_is_saved_under_the_names_of_the_layout(wiring, tmp_path):
    with graph.without_values():
        x = inputs = keras.Input((None,), dtype="int32")
        if wiring == "functional":
            for layer in own_layers():
                x = layer(x)
            model = keras.Model(inputs, x)
        else:
            model = keras.Sequential([inputs, *own_layers()])
    rng = np.random.default_rng(0)
    for weight in model.weights:
        graph.fill(weight, rng.normal(size=weight.shape))
    save_huggingface(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["n_layer"], config["n_head"], config["n_inner"], config["activation_function"]) == (2, 3, 20, "silu")
    assert (config["resid_pdrop"], config["layer_norm_epsilon"]) == (0.2, 1e-3)
    assert set(Checkpoint(tmp_path).shapes) == set(rows.gpt2_shapes(config))
    # Keras' layer normalization, which the model has at its end, rounds as it does.
    np.testing.assert_allclose(logits(load_huggingface(tmp_path)), logits(model), rtol=0, atol=1e-5)
