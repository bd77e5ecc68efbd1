"""What is known of a model, and what is asked of a call: found once, forgotten with the model, handed on whole."""

import gc
import weakref

import keras
import numpy as np
import pytest

from keras_tx.decoding import Sample, check_decodable, programs
from keras_tx.decoding.decoder import Decoder
from keras_tx.decoding.request import Request, check_seed
from keras_tx.decoding.stops import check_stops


@pytest.mark.once
def test_what_is_known_is_found_once_and_anew_for_other_variables(make_own):
    model = make_own(11, 64)
    decoder = Decoder.of(model)
    assert Decoder.of(model) is decoder
    assert decoder.model is model
    assert decoder.inputs[decoder.ids].vocabulary_size == 11
    assert decoder.longest_sequence == 64
    assert {path for path in decoder.cached_layers if "/" in path} == {"inner/block"}
    check_decodable(model)
    assert decoder.is_checked
    model.get_layer("head").enable_lora(2)
    assert not Decoder.of(model).is_checked


@pytest.mark.once
def test_it_is_forgotten_with_the_model():
    ids = keras.Input((4,))
    both = [keras.layers.Identity(name="a")(ids), keras.layers.Identity(name="b")(ids)]
    models = [keras.Model(ids, both), keras.Sequential([keras.Input((4,)), keras.layers.Identity()])]
    decoders = [Decoder.of(models[0], "b"), Decoder.of(models[1])]
    gone = [weakref.ref(each) for each in (models[0], models[1], *decoders)]
    del models, decoders
    gc.collect()
    assert [each() for each in gone] == [None] * 4


def test_a_request_goes_through_a_program_whole(own):
    given = {"source": np.ones((1, 2), "float32")}
    prompts, stops = [np.array([3, 4, 5], "int32")], check_stops([2, [3, 4]])
    request, chunk = Request.rounded(prompts, 7, stops, check_seed(5), Sample(0.5, top_p=0.25), given)
    assert chunk == 32
    assert request.prompt.shape == (1, 256)
    assert request.prompt[0, 29:32].tolist() == [3, 4, 5]
    found = programs.run(Decoder.of(own), "hand on", (), lambda decoder, request: request.as_tensors(), request)
    assert type(found) is Request
    expected = request._replace(settings={"temperature": 0.5, "top_p": 0.25}, conditioning=given)
    for name, value in expected._asdict().items():
        found_value = keras.tree.map_structure(keras.ops.convert_to_numpy, getattr(found, name))
        keras.tree.map_structure(np.testing.assert_array_equal, found_value, value)
