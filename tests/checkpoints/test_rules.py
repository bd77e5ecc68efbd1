"""Rules account for every tensor and every weight, and name what is left over, missing or of another shape."""

import re

import keras
import numpy as np
import pytest

from keras_tx.checkpoints import Checkpoint, Rule, load_weights, match, save_weights

from .files import write_single

RULES = [
    Rule("embed.weight", "embedding/table"),
    Rule("h.{i}.fc.weight", "block_{i}/dense/kernel", "in out -> out in"),
    Rule("h.{i}.fc.bias", "block_{i}/dense/bias"),
    Rule("h.{i}.qk", ("block_{i}/query/kernel", "block_{i}/key/kernel"), "d n h -> d (* n h)"),
]
BACKEND = keras.backend.backend()  # JAX makes float64 float32
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64"}
WEIGHTS = {
    "embedding/table": (5, 4),
    "block_0/dense/kernel": (4, 3),
    "block_0/dense/bias": (3,),
    "block_0/query/kernel": (4, 2, 2),
    "block_0/key/kernel": (4, 2, 2),
}
TENSORS = {"embed.weight": (5, 4), "h.0.fc.weight": (3, 4), "h.0.fc.bias": (3,), "h.0.qk": (4, 8)}


def variables(dtype="float32"):
    return {
        path: keras.Variable(np.random.default_rng(len(path)).normal(size=shape), dtype=dtype, name=path.split("/")[-1])
        for path, shape in WEIGHTS.items()
    }


def arrays(of):
    return {path: np.array(keras.ops.convert_to_numpy(variable)) for path, variable in of.items()}


def bits(array):
    return np.ascontiguousarray(array).view(f"uint{8 * array.dtype.itemsize}")


def fault(tensors=TENSORS, weights=WEIGHTS, rules=RULES, ignored=()):
    with pytest.raises(ValueError, match="Every tensor must be used or ignored, and every weight set once") as refusal:
        match(rules, tensors, weights, ignored)
    return str(refusal.value)


def without(table, name):
    return {key: value for key, value in table.items() if key != name}


def test_every_weight_gets_its_tensor():
    found = match(RULES, TENSORS, WEIGHTS)
    assert {each.tensors: each.weights for each in found} == {
        ("embed.weight",): ("embedding/table",),
        ("h.0.fc.weight",): ("block_0/dense/kernel",),
        ("h.0.fc.bias",): ("block_0/dense/bias",),
        ("h.0.qk",): ("block_0/query/kernel", "block_0/key/kernel"),
    }


ROWS = [Rule(("first", "second"), "tokens", "d -> 1 d")]


def test_several_tensors_may_be_the_rows_of_one_weight(tmp_path):
    tokens = keras.Variable(np.arange(8).reshape(2, 4), dtype="float32", name="tokens")
    save_weights({"tokens": tokens}, tmp_path, ROWS, prefix="model.")
    checkpoint = Checkpoint(tmp_path, "model.")
    assert checkpoint.shapes == {"first": (1, 4), "second": (1, 4)}
    assert checkpoint.read("second").tolist() == [[4, 5, 6, 7]]
    other = keras.Variable(np.zeros((2, 4)), dtype="float32", name="tokens")
    load_weights({"tokens": other}, checkpoint, ROWS)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(other), np.arange(8).reshape(2, 4))


@pytest.mark.parametrize(
    ("tensors", "shape", "message"),
    [
        ({"first": (1, 4)}, (2, 4), r"no tensor sets: tokens \(missing tensor 'second'\)"),
        ({"second": (1, 4)}, (2, 4), r"no tensor sets: tokens \(missing tensor 'first'\)"),
        ({"first": (1, 4), "second": (4,)}, (2, 4), r"'second' has shape \(4,\), where tokens must come from \(1, 4\)"),
        ({"first": (1, 4), "second": (1, 4)}, (3, 4), r"'first' has shape \(1, 4\), where tokens must come from None"),
    ],
)
def test_rows_that_are_missing_or_of_another_shape_are_named(tensors, shape, message):
    assert re.search(message, fault(tensors, {"tokens": shape}, ROWS))


def test_a_missing_tensor_is_named_with_its_weight():
    message = fault(without(TENSORS, "h.0.fc.bias"))
    assert "weights that no tensor sets: block_0/dense/bias (missing tensor 'h.0.fc.bias')" in message


def test_a_weight_without_a_rule_is_named():
    assert "weights that no tensor sets: other/kernel (no rule is for it)" in fault(
        weights={**WEIGHTS, "other/kernel": (1,)}
    )


def test_an_extra_tensor_is_named():
    assert "extra tensors, neither used nor ignored: 'head.weight'" in fault({**TENSORS, "head.weight": (1,)})


def test_a_tensor_of_a_block_that_the_model_does_not_have_is_named():
    message = fault({**TENSORS, "h.1.fc.bias": (3,)})
    assert "for weights that the model does not have: 'h.1.fc.bias' (for 'block_1/dense/bias')" in message


@pytest.mark.parametrize("number", ["01", "-1", "+0", "x", "", "0.0", "\u0661"])
def test_a_number_is_one_that_python_writes(number):
    assert "neither used nor ignored" in fault({**TENSORS, f"h.{number}.fc.bias": (3,)})


def test_ignored_tensors_are_left_alone():
    assert len(match(RULES, {**TENSORS, "h.0.mask": (1, 1), "h.12.mask": (2,)}, WEIGHTS, ["h.{i}.mask"])) == 4
    assert "'h.x.mask'" in fault({**TENSORS, "h.x.mask": (1,)}, ignored=["h.{i}.mask"])


def test_a_weight_set_twice_is_named_with_both_tensors():
    rules = [*RULES, Rule("b.{i}", "block_{i}/dense/bias")]
    message = fault({**TENSORS, "b.0": (3,)}, rules=rules)
    assert "weights set twice: block_0/dense/bias (by 'h.0.fc.bias' and 'b.0')" in message


def test_the_first_rule_for_a_tensor_is_used():
    rules = [Rule("h.0.fc.bias", "block_0/dense/bias"), *RULES]
    assert len(match(rules, TENSORS, WEIGHTS)) == 4


@pytest.mark.parametrize(
    ("name", "shape", "needed"),
    [
        ("h.0.fc.weight", (4, 3), "'h.0.fc.weight' has shape (4, 3), where block_0/dense/kernel must come from (3, 4)"),
        ("h.0.fc.weight", (12,), "'h.0.fc.weight' has shape (12,), where block_0/dense/kernel must come from (3, 4)"),
        ("h.0.fc.bias", (1, 3), "'h.0.fc.bias' has shape (1, 3), where block_0/dense/bias must come from (3,)"),
        ("h.0.qk", (8, 4), "has shape (8, 4), where block_0/query/kernel + block_0/key/kernel must come from (4, 8)"),
    ],
)
def test_the_same_bytes_under_another_shape_are_an_error_that_names_both(name, shape, needed):
    assert needed in fault({**TENSORS, name: shape})


def test_many_faults_of_many_kinds_make_one_short_message():
    message = fault({f"x.{number}": (1,) for number in range(1000)})
    assert "and 995 more" in message
    assert "weights that no tensor sets" in message
    assert len(message) < 2000


def test_nothing_is_set_where_something_is_wrong(tmp_path):
    weights = variables()
    save_weights(weights, tmp_path, RULES)
    before = arrays(weights)
    for name in TENSORS:
        checkpoint = Checkpoint(tmp_path)
        del checkpoint.shapes[name]
        with pytest.raises(ValueError, match="no tensor sets"):
            load_weights(weights, checkpoint, RULES)
    assert all(np.array_equal(array, before[path]) for path, array in arrays(weights).items())


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"] + ["float64"] * (BACKEND != "jax"))
@pytest.mark.parametrize("max_shard_bytes", [None, 64])
def test_what_is_saved_loads_bit_equal(dtype, max_shard_bytes, tmp_path):
    weights, others = variables(dtype), variables(dtype)
    for variable in others.values():
        variable.assign(np.zeros(variable.shape))
    save_weights(weights, tmp_path, RULES, max_shard_bytes=max_shard_bytes, prefix="model.")
    names = [f"model.{name}" for name in TENSORS]
    assert set(Checkpoint(tmp_path).shapes) == set(names)
    assert {Checkpoint(tmp_path).dtype(name) for name in names} == {DTYPES[dtype]}
    load_weights(others, Checkpoint(tmp_path, "model."), RULES)
    for path, array in arrays(weights).items():
        assert np.array_equal(bits(arrays(others)[path]), bits(array)), path


def test_a_loaded_weight_does_not_follow_the_file(tmp_path):
    weights = {"scale": keras.Variable(np.arange(4096.0), dtype="float32", name="scale")}
    rules = [Rule("scale", "scale")]
    save_weights(weights, tmp_path, rules)
    load_weights(weights, tmp_path, rules)
    with open(tmp_path / "model.safetensors", "r+b") as file:
        file.seek(-4096 * 4, 2)
        file.write(b"\xff" * 4096 * 4)
    assert np.array_equal(arrays(weights)["scale"], np.arange(4096))


def test_a_number_too_large_for_float16_is_named(tmp_path):
    rules, weights = [Rule("scale", "scale")], {"scale": keras.Variable(np.ones(2), dtype="float16", name="scale")}
    write_single(tmp_path, {"scale": np.array([1.0, -70000.0])})
    with pytest.raises(
        ValueError, match="must fit the dtype of its weight. Received: 70000 in tensor 'scale' for .*float16"
    ):
        load_weights(weights, tmp_path, rules)
    write_single(tmp_path, {"scale": np.array([np.inf, 65504.0])})
    load_weights(weights, tmp_path, rules)
    assert arrays(weights)["scale"].tolist() == [np.inf, 65504.0]


def test_a_tensor_of_integers_does_not_become_a_weight(tmp_path):
    write_single(tmp_path, {"scale": np.ones(2)}, {"scale": "I8"})
    with pytest.raises(ValueError, match="must be of dtype .* to be read"):
        load_weights({"scale": keras.Variable(np.ones(2), name="scale")}, tmp_path, [Rule("scale", "scale")])


def test_a_weight_that_cannot_be_saved_is_named(tmp_path):
    weights = variables()
    with pytest.raises(ValueError, match="must have a rule to be saved. Received: other/kernel"):
        save_weights({**weights, "other/kernel": weights["embedding/table"]}, tmp_path, RULES)
    with pytest.raises(
        ValueError, match="must get all its weights. Received: block_0/key/kernel alone for tensor 'h.0.qk'"
    ):
        save_weights(without(weights, "block_0/query/kernel"), tmp_path, RULES)
    with pytest.raises(ValueError, match="must be in float32, float16, bfloat16, float64.*int32 for tensor 'scale'"):
        save_weights({"scale": keras.Variable([1], dtype="int32", trainable=False)}, tmp_path, [Rule("scale", "scale")])
    mixed = {**weights, "block_0/key/kernel": variables("float16")["block_0/key/kernel"]}
    with pytest.raises(ValueError, match="all in the same one, to be saved.*'h.0.qk'"):
        save_weights(mixed, tmp_path, RULES)
    with pytest.raises(ValueError, match=r"must fit their rule to be saved.*\(2,\).*'scale'.*pattern 'a b -> b a'"):
        save_weights({"scale": keras.Variable([1.0, 2.0])}, tmp_path, [Rule("scale", "scale", "a b -> b a")])
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("h.{i}.a", "block/a"), "must have the same fields"),
        (("h.{i}.a", "block_{j}/a"), "must have the same fields"),
        (("a", ()), "must have the same fields"),
        (("a", ("b", "c")), "`pattern` must have a '\\*' for several weights"),
        (("a", ("b", "c"), "x -> x"), "`pattern` must have a '\\*' for several weights"),
        (("a", "b", "x d | y d -> (x + y) d"), "`pattern` must have a '\\*' for several weights"),
        ((("a", "b"), ("c", "d"), "x -> (* x)"), "Several tensors must be rows of one weight"),
    ],
)
def test_a_rule_that_cannot_be_read_both_ways_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Rule(*arguments)


def test_a_rule_shows_what_it_says():
    assert repr(Rule("a", "b", "x y -> y x")) == "Rule('a', ('b',), 'x y -> y x')"
    rule = Rule("a", "b", "(x y) d -> d x y").sized(x=2).prefixed("model.")
    assert rule.tensors == ("model.a",)
    assert rule.tensor_shape([(6, 4)]) == (4, 2, 3)
