"""The Llama family: its sizes are the published ones, its parts do what they say, and its cache gives the full pass."""

import keras
import numpy as np
import pytest

from keras_tx import graph
from keras_tx.applications import LLAMA_SIZES, Llama

from ..layers.contract_rows import stir
from ..layers.execution import array

PARAMETERS = {
    "smollm2_135m": 134_515_008,
    "smollm2_360m": 361_821_120,
    "tinyllama_1b": 1_100_048_384,
    "llama2_7b": 6_738_415_616,
    "llama3_8b": 8_030_261_248,
    "llama3.2_1b": 1_235_814_400,
    "mistral_7b": 7_241_732_096,
    "qwen2_0.5b": 494_032_768,
    "qwen3_0.6b": 596_049_920,
    "smollm3_3b": 3_075_098_624,
    "phi_1.5": 1_418_270_720,
    "phi3_mini": 3_821_079_552,
    "gemma_2b": 2_506_172_416,
    "olmo2_1b": 1_484_916_736,
}
SMALL = {
    "vocabulary_size": 29,
    "num_layers": 2,
    "num_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 24,
}


def small(size, **changes):
    """A model with the parts of a published one."""
    sizes = {**LLAMA_SIZES[size], **SMALL}
    for name in ("window", "rotary_dim", "key_dim"):
        sizes |= {name: 4} if sizes.get(name) else {}
    if "rotary_layers" in sizes:
        sizes["rotary_layers"] = [True, False]
    model = Llama(**{**sizes, **changes})
    stir(model)
    return model


@pytest.mark.once
def test_every_size_has_its_published_count():
    assert LLAMA_SIZES.keys() == PARAMETERS.keys()


@pytest.mark.once
@pytest.mark.parametrize("size", PARAMETERS)
def test_parameters_are_those_of_the_published_model(size):
    with graph.without_values():
        model = Llama(**{**LLAMA_SIZES[size], "num_layers": 4, **_four_of_each(size)})
        one_less = Llama(**{**LLAMA_SIZES[size], "num_layers": 3, **_three_of_each(size)})
    block = model.count_params() - one_less.count_params()
    assert model.count_params() + (LLAMA_SIZES[size]["num_layers"] - 4) * block == PARAMETERS[size]


def _four_of_each(size):
    return {"rotary_layers": [True] * 4} if "rotary_layers" in LLAMA_SIZES[size] else {}


def _three_of_each(size):
    return {"rotary_layers": [True] * 3} if "rotary_layers" in LLAMA_SIZES[size] else {}


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"norm": "batch"}, "`norm` must be one of 'rms', 'zero_centered_rms', 'layer'.*norm='batch'"),
        ({"query_key_norm": "each"}, "`query_key_norm` must be None, 'heads' or 'all'.*'each'"),
        ({"tied": True, "logits_bias": True}, "`logits_bias` must be False where logits are tied"),
        ({"window": [4]}, "`window` must have one value a block.*1 of num_layers=2"),
        ({"rotary_layers": [True] * 3}, "`rotary_layers` must have one value a block.*3 of num_layers=2"),
        ({"logit_cap": -1.0}, "`logit_cap`"),
        ({"embedding_scale": 0}, "`embedding_scale`"),
        ({"num_layers": 0}, "`num_layers`"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Llama(**{**SMALL, **arguments})


def test_a_model_of_all_parts_comes_back_from_its_file(tmp_path):
    model = small("qwen3_0.6b", window=[3, None], logit_cap=2.0, embedding_scale=4.0, parallel=True, recompute=True)
    model.save(tmp_path / "model.keras")
    ids = np.arange(12).reshape(2, 6)
    found = keras.models.load_model(tmp_path / "model.keras")(ids)
    np.testing.assert_allclose(array(found), array(model(ids)), atol=1e-6)
    assert np.abs(array(found)).max() <= 2.0
