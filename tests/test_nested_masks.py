"""A mask that is handed to a nested model has the effect in a walk that it has in Keras, and nothing in it is skipped."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import graph, layers
from keras_tx.analysis import attention_distances, attention_maps, attention_rollout

# Keras' own words on what it does with the mask of a nested model's outputs.
pytestmark = pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning")

SOURCE = np.array([[3, 4, 5, 0, 0], [6, 7, 8, 9, 2]])


def call(layer, path, args, kwargs):
    return layer(*args, **kwargs)


def encoder(name, *inside):
    """A block in as many models as there are names."""
    inputs = keras.Input((None, 8))
    x = layers.TransformerEncoder(16, 2, name="block")(inputs) if not inside else encoder(*inside)(inputs)
    return keras.Model(inputs, x, name=name)


def embedded(ids):
    return layers.TokenAndPositionEmbedding(20, 12, 8, mask_zero=True)(ids)


def two_levels():
    ids = keras.Input((None,), dtype="int32")
    return keras.Model(ids, keras.layers.Dense(3)(encoder("outer", "inner")(embedded(ids))))


def sequential():
    ids = keras.Input((None,), dtype="int32")
    blocks = [keras.Input((None, 8)), layers.TransformerEncoder(16, 2, name="block"), layers.MaskedMeanPooling()]
    return keras.Model(ids, keras.Sequential(blocks, name="outer")(embedded(ids)))


def twice():
    ids, shared = keras.Input((None,), dtype="int32"), encoder("outer")
    return keras.Model(ids, shared(shared(embedded(ids))))


def explicit():
    """The mask is an input of its own and an argument of the call, and the numbers are cast on their way in."""
    ids, mask = keras.Input((None,), dtype="int32", name="ids"), keras.Input((None,), dtype="bool", name="mask")
    x = ops.cast(layers.TokenAndPositionEmbedding(20, 12, 8)(ids), "float16")
    return keras.Model({"ids": ids, "mask": mask}, encoder("outer")(x, mask=mask))


CASES = {
    "two levels": (two_levels, ["outer/inner/block"]),
    "sequential": (sequential, ["outer/block"]),
    "twice": (twice, ["outer/block", "outer/block#2"]),
    "explicit": (explicit, ["outer/block"]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_mask_reaches_the_layers_of_a_nested_model(name):
    make, paths = CASES[name]
    model = make()
    given = {"ids": SOURCE, "mask": SOURCE != 0} if name == "explicit" else SOURCE
    maps, outputs = attention_maps(model, given, return_outputs=True)
    expected = ops.convert_to_numpy(model(given))
    np.testing.assert_array_equal(ops.convert_to_numpy(outputs), expected)
    assert list(maps) == paths
    for scores in maps.values():
        assert not scores[0, :, :, 3:].any()
    assert [path for path in graph.layer_calls(model) if "block" in path] == paths
    inputs = {path: names for path, (_, names) in graph.layer_inputs(model).items()}
    assert inputs[paths[0]] == set(graph.input_names(model))
    assert set(paths[:-1]) <= graph.layers_before(model)[paths[-1]]
    rollout = attention_rollout(model, given)
    assert not rollout[0, :3, 3:].any()


def test_a_nested_model_that_supports_masking_hands_the_mask_on():
    ids, inner = keras.Input((None,), dtype="int32"), encoder("outer")
    inner.supports_masking = True
    model = keras.Model(ids, layers.MaskedMeanPooling()(inner(embedded(ids))))
    expected, walked = (ops.convert_to_numpy(y) for y in (model(SOURCE), graph.walk(model, SOURCE, call)))
    np.testing.assert_array_equal(walked, expected)


def test_distances_are_found_in_nested_models_on_masked_patches():
    pixels, mask = keras.Input((8, 8, 1), name="pixels"), keras.Input((16,), dtype="bool", name="mask")
    patches = keras.layers.Reshape((16, 8))(layers.PatchEmbedding(2, 8)(pixels))
    model = keras.Model({"pixels": pixels, "mask": mask}, encoder("outer")(patches, mask=mask))
    images = {"pixels": np.random.default_rng(0).random((1, 8, 8, 1)), "mask": np.ones((1, 16), bool)}
    assert attention_distances(model, images)["outer/block"].shape == (1, 2)
