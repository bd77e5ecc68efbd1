"""Texts without a token, images without a region, and batches of neither: what is there has its shape, and heads read zeros."""

import numpy as np
import pytest

from keras_tx.applications import BERT, FNet, ViLBERT

from ..layers.execution import array, tensor

TEXT = {"num_layers": 1, "hidden_dim": 8, "intermediate_dim": 8}
REGIONS = {"region_dim": 6, "num_region_layers": 1, "num_region_heads": 2, "region_hidden_dim": 12}
REGIONS |= {"region_intermediate_dim": 12, "num_co_attention_heads": 2, "co_attention_dim": 12}
MODELS = {
    "bert": lambda: BERT(9, 4, num_heads=2, **TEXT),
    "fnet": lambda: FNet(9, 4, **TEXT),
    "vilbert": lambda: ViLBERT(
        9, 4, num_heads=2, **TEXT, **REGIONS, text_blocks_before=(1,), region_blocks_before=(0,)
    ),
}


@pytest.fixture(scope="module")
def models():
    made = {name: make() for name, make in MODELS.items()}
    for model in made.values():
        for name in ("pooler", "pooled_text", "pooled_regions"):
            if name in {layer.name for layer in model.layers}:
                bias = model.get_layer(name).bias
                bias.assign(np.full(bias.shape, 0.5))
    return made


def given(name, batch, length, regions):
    inputs = {"token_ids": np.ones((batch, length), "int32"), "segment_ids": np.zeros((batch, length), "int32")}
    if name == "vilbert":
        inputs |= {"region_features": np.ones((batch, regions, 6), "float32")}
        inputs |= {"boxes": np.zeros((batch, regions, 4), "float32"), "num_regions": np.full(batch, regions)}
    return {name: tensor(value) for name, value in inputs.items()}


@pytest.mark.parametrize(("batch", "length", "regions"), [(1, 0, 2), (2, 0, 2), (0, 3, 2), (1, 3, 0)])
@pytest.mark.parametrize("name", MODELS)
def test_what_is_empty_is_taken(name, batch, length, regions, models):
    outputs = {name: array(value) for name, value in models[name](given(name, batch, length, regions)).items()}
    sizes = {"sequence_output": length, "text_output": length, "region_output": regions}
    for output, value in outputs.items():
        assert value.shape[:-1] == ((batch, sizes[output]) if output in sizes else (batch,))
        assert np.isfinite(value).all()
    if not length and name != "vilbert":
        np.testing.assert_allclose(outputs["pooled_output"], np.tanh(0.5), rtol=1e-5)
    if name == "vilbert" and not length:
        np.testing.assert_array_equal(outputs["pooled_text"], 0.5)
    if name == "vilbert" and not regions:
        np.testing.assert_array_equal(outputs["pooled_regions"], 0.5)


def test_the_pooled_vector_is_made_of_the_first_one(models):
    outputs = models["bert"](given("bert", 2, 3, 0))
    dense = models["bert"].get_layer("pooler")
    np.testing.assert_array_equal(array(outputs["pooled_output"]), array(dense(outputs["sequence_output"][:, 0])))


def test_a_fraction_of_a_region_is_refused(models):
    inputs = given("vilbert", 1, 3, 2) | {"num_regions": tensor(np.array([1.5], "float32"))}
    with pytest.raises(ValueError, match="`num_regions` must hold .*1.5"):
        models["vilbert"](inputs)
