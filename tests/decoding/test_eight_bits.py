"""A model in eight bits writes what its full passes say, one text or several, alone and as a program that was exported."""

import keras
import numpy as np
import pytest
from keras.quantizers import Int8QuantizationConfig

from keras_tx import decoding
from keras_tx.applications import GPT

from ..layers.contract_rows import stir
from ..layers.execution import array

NEW = 4
CONFIGS = {"rounded": Int8QuantizationConfig(), "weights": Int8QuantizationConfig(activation_quantizer=None)}
pytestmark = [
    pytest.mark.usefixtures("few_objects_to_collect"),
    pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method implemented:UserWarning"),
    pytest.mark.filterwarnings("ignore:The use of `x.T` on tensors of dimension other than 2:UserWarning"),
]


@pytest.fixture(scope="module", params=CONFIGS)
def model(request):
    keras.utils.set_random_seed(0)
    model = GPT(20, 16, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=24)
    stir(model)
    for weight in model.weights:
        if weight.name in ("kernel", "embeddings"):
            weight.assign(
                5 * array(weight)
            )  # far enough from each other, so that rounding in another order changes no token
    model.quantize("int8", config=CONFIGS[request.param])
    return model


def by_full_passes(model, prompt):
    ids = list(prompt)
    for _ in range(NEW):
        ids.append(int(array(model(np.array([ids])))[0, -1].argmax()))
    return ids


@pytest.mark.parametrize("prompts", [[[3, 4, 5]], [[3, 4, 5], [7, 2, 9], [1, 1, 6]]], ids=["one", "three"])
def test_generate_writes_what_full_passes_say(model, prompts):
    found = np.array(decoding.generate(model, prompts, max_new_tokens=NEW))
    np.testing.assert_array_equal(found, [by_full_passes(model, prompt) for prompt in prompts])


def test_streams_and_beams_run(model):
    expected = by_full_passes(model, [3, 4, 5])
    session = decoding.Session(model, max_length=16)
    assert sum((list(piece) for piece in decoding.stream(session, [3, 4, 5], NEW)), []) == expected[3:]
    assert (
        np.array(decoding.generate(model, [[3, 4, 5]], max_new_tokens=NEW, sampler=decoding.Beam(2))).shape[-1]
        == 3 + NEW
    )
