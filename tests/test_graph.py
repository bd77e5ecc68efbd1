"""The walk runs a functional model as the model itself runs, layer by layer, nested models included."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import graph, layers


def nested_model():
    inner_inputs = keras.Input((6, 8))
    inner = keras.Model(inner_inputs, layers.TransformerEncoder(16, 2, name="block")(inner_inputs), name="inner")
    sequential = keras.Sequential([keras.Input((6, 8)), layers.FeedForward(16, name="network")], name="sequence")
    inputs = keras.Input((6, 8), name="inputs")
    x = inner(inputs)
    x = sequential(x)
    x = inner(x)
    return keras.Model(inputs, keras.layers.Add(name="sum")([x, inputs]))


def call(layer, path, args, kwargs):
    return layer(*args, **kwargs)


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def test_walk_gives_the_outputs_of_the_model_to_the_last_bit():
    model, x = nested_model(), random(2, 6, 8)
    expected, walked = (ops.convert_to_numpy(y) for y in (model(x), graph.walk(model, x, call)))
    assert np.array_equal(expected, walked)


def test_walk_names_each_call_by_its_path():
    seen = []

    def note(layer, path, args, kwargs):
        seen.append(path)
        return layer(*args, **kwargs)

    graph.walk(nested_model(), random(1, 6, 8), note)
    assert seen == ["inner/block", "sequence/network", "inner/block#2", "sum"]


def test_walk_keeps_the_masks_that_keras_carries():
    ids = keras.Input((5,), dtype="int32")
    x = layers.TokenAndPositionEmbedding(9, 5, 8, mask_zero=True)(ids)
    x = layers.TransformerEncoder(16, 2)(x)
    model = keras.Model(ids, layers.MaskedMeanPooling()(x))
    given = np.array([[1, 2, 3, 0, 0], [4, 5, 0, 0, 0]])
    expected, walked = (ops.convert_to_numpy(y) for y in (model(given), graph.walk(model, given, call)))
    assert np.array_equal(expected, walked)


def test_walk_takes_several_inputs_and_gives_several_outputs():
    a, b = keras.Input((4, 8), name="a"), keras.Input((3, 8), name="b")
    y = layers.TransformerDecoder(16, 2)(a, b)
    model = keras.Model({"a": a, "b": b}, [y, keras.layers.Dense(2)(y)])
    given = {"a": random(2, 4, 8), "b": random(2, 3, 8, seed=1)}
    for expected, walked in zip(model(given), graph.walk(model, given, call), strict=True):
        assert np.array_equal(ops.convert_to_numpy(expected), ops.convert_to_numpy(walked))


def test_walk_hands_training_on():
    inputs = keras.Input((50,))
    model = keras.Model(inputs, layers.Dropout(0.5)(inputs))
    ones = np.ones((1, 50), "float32")
    assert np.array_equal(ops.convert_to_numpy(graph.walk(model, ones, call)), ones)
    assert not np.array_equal(ops.convert_to_numpy(graph.walk(model, ones, call, training=True)), ones)


def test_a_subclassed_model_is_refused_by_name():
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match=r"must be a functional model.*subclassed.*of class Subclassed"):
        graph.walk(Subclassed(name="mine"), random(1, 2), call)


def test_a_subclassed_model_nested_in_a_functional_one_is_called_as_a_layer():
    class Doubling(keras.Model):
        def call(self, x):
            return 2 * x

        def compute_output_shape(self, input_shape):
            return input_shape

    inputs = keras.Input((3,))
    model = keras.Model(inputs, Doubling(name="doubling")(inputs))
    ones = np.ones((1, 3), "float32")
    assert np.array_equal(ops.convert_to_numpy(graph.walk(model, ones, call)), 2 * ones)


def test_find_layer_looks_through_the_graph_and_into_nested_models():
    inputs = keras.Input((6, 8))
    inner_inputs = keras.Input((6, 8))
    network = layers.FeedForward(16, name="network")
    inner = keras.Model(inner_inputs, network(inner_inputs))
    y = keras.layers.Dense(8, name="late")(inner(inputs))
    assert graph.find_layer(y, "network") is network
    assert graph.find_layer(y, "absent") is None
    assert graph.find_layer(random(2), "network") is None


def test_parts_name_every_layer_inside_a_layer():
    block = layers.TransformerEncoder(16, 2, name="block")
    block.build((None, 4, 8))
    paths = [path for path, _ in graph.parts(block)]
    assert {"block/attention/query", "block/attention_norm", "block/feed_forward/intermediate"} <= set(paths)
    assert len(paths) == len(set(paths))


def without_values(units=3):
    with graph.without_values():
        inputs = keras.Input((4,))
        return keras.Model(inputs, keras.layers.Dense(units)(inputs))


def test_a_model_without_values_is_counted_and_never_given_any_by_a_later_scope():
    huge = 10**12

    def interrupted():
        with graph.without_values():
            keras.layers.Dense(huge).build((None, huge))
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError, match="in between"):
        interrupted()
    assert without_values(huge).count_params() == 5 * huge
    with keras.StatelessScope():  # would run out of memory at its end
        pass


def test_what_waits_for_values_from_a_scope_around_still_gets_them():
    with keras.StatelessScope(initialize_variables=False):
        waiting = keras.Variable("ones", shape=(2,))
    without_values()
    with keras.StatelessScope():
        pass
    assert np.array_equal(ops.convert_to_numpy(waiting), [1, 1])


def test_filled_variables_make_a_model_like_any_other():
    model = without_values()
    kernel, bias = model.weights
    values = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    graph.fill(kernel, values)
    graph.fill(bias)
    assert np.array_equal(ops.convert_to_numpy(kernel), values)
    np.testing.assert_allclose(ops.convert_to_numpy(model(np.eye(4))), values, atol=1e-6)
    model.compile("sgd", "mse", jit_compile=keras.backend.backend() != "torch")
    model.fit(np.eye(4), np.ones((4, 3)), verbose=0)
    assert not np.array_equal(ops.convert_to_numpy(kernel), values)


def test_a_variable_is_filled_once_and_in_its_shape():
    kernel, _ = without_values().weights
    with pytest.raises(
        ValueError, match=r"`value` must have the shape of the variable. Received: value of shape \(3, 4\)"
    ):
        graph.fill(kernel, np.zeros((3, 4)))
    graph.fill(kernel, np.zeros((4, 3)))
    with pytest.raises(ValueError, match="already initialized"):
        graph.fill(kernel, np.zeros((4, 3)))


def two_sided_model():
    """A nested encoder of one input, what is made of both, and an operation between them."""
    inner_inputs = keras.Input((4,))
    encoder = keras.Model(inner_inputs, keras.layers.Dense(4, name="encode")(inner_inputs), name="encoder")
    source, target = keras.Input((4,), name="source"), keras.Input((4,), name="target")
    embedded = keras.layers.Dense(4, name="embed")(target)
    return keras.Model(
        {"source": source, "target": target}, keras.layers.Dense(2, name="head")(embedded + encoder(source))
    )


def test_each_layer_call_knows_the_inputs_that_it_depends_on():
    calls = graph.layer_inputs(two_sided_model())
    assert {path: sorted(names) for path, (_, names) in calls.items()} == {
        "encoder/encode": ["source"],
        "embed": ["target"],
        "head": ["source", "target"],
    }


def test_a_model_runs_in_two_walks_one_for_each_part_of_its_inputs():
    model, x = two_sided_model(), {"source": random(3, 4), "target": random(3, 4, seed=1)}
    kept, called = {}, []

    def note(layer, path, args, kwargs):
        called.append(path)
        return layer(*args, **kwargs)

    def keep(operation, path, args, kwargs, there):
        kept[path] = there
        return graph.MISSING

    def go_on(operation, path, args, kwargs, there):
        if not kept.get(path):
            return graph.MISSING
        args, kwargs = graph.complete_arguments(args, kwargs, kept[path])
        return operation(*args, **kwargs)

    first = graph.walk(model, graph.pack_inputs(model, {"source": x["source"]}), note, call_partial=keep)
    assert first is graph.MISSING
    assert called == ["encoder/encode"]
    second = graph.walk(model, graph.pack_inputs(model, {"target": x["target"]}), note, call_partial=go_on)
    assert called == ["encoder/encode", "embed", "head"]
    np.testing.assert_allclose(ops.convert_to_numpy(second), ops.convert_to_numpy(model(x)), atol=1e-6)


def test_inputs_are_named_by_their_keys_or_their_tensors():
    assert sorted(graph.input_names(two_sided_model())) == ["source", "target"]
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    model = keras.Model([a, b], keras.layers.Add()([a, b]))
    assert graph.input_names(model) == ["a", "b"]
    assert graph.pack_inputs(model, {"b": 1}) == [graph.MISSING, 1]


def test_each_layer_call_knows_those_before_it():
    assert graph.layers_before(two_sided_model()) == {
        "encoder/encode": set(),
        "embed": set(),
        "head": {"encoder/encode", "embed"},
    }


@pytest.mark.once
def test_walk_takes_inputs_of_a_dict_by_their_names_and_refuses_too_few_too_many_and_others():
    a, b = keras.Input((4, 8), name="a"), keras.Input((4, 8), name="b")
    x = random(1, 4, 8)
    for inputs in ({"b": b, "a": a}, [b, a]):
        model = keras.Model(inputs, a - b)
        found = graph.walk(model, {"other": x, "b": x, "a": 3 * x}, call)
        np.testing.assert_allclose(ops.convert_to_numpy(found), 2 * x, atol=1e-6)
        for wrong in (x, [x], [x, x, x], {"a": x}, {"a": x, "other": x}):
            with pytest.raises(ValueError, match="`inputs` must hold each input of the model"):
                graph.walk(model, wrong, call)
