"""What a row of settings may say: names under which versions of a config have it, keys that must agree, kinds, conditions."""

import json

import keras
import pytest

from keras_tx.applications.huggingface.fields import FLAG, POSITIVE, RATE, SIZE, Config, Field, below, only, sizes
from keras_tx.applications.huggingface.recipe import Recipe
from keras_tx.applications.huggingface.shown import Difference, Layers
from keras_tx.applications.huggingface.tensors import check_sizes
from keras_tx.checkpoints import Rule

pytestmark = pytest.mark.once  # configs alone


@pytest.fixture
def read(tmp_path):
    def read(field, values, found=None, tensors=()):
        (tmp_path / "config.json").write_text(json.dumps(values))
        return field.read(Config(tmp_path), tensors, found or {})

    return read


def written(field, found):
    config = {}
    field.write(config, found)
    return config


THETA = Field("max_wavelength", "rope_theta|rope_parameters.rope_theta", POSITIVE, 10_000)


def test_a_key_may_have_several_names_some_inside_objects(read):
    for values, expected in [
        ({"rope_theta": 5}, 5.0),
        ({"rope_parameters": {"rope_theta": 6}}, 6.0),
        ({"rope_theta": 7, "rope_parameters": {"rope_theta": 7.0}}, 7.0),
        ({"rope_parameters": {}}, 10_000.0),
        ({"rope_parameters": None}, 10_000.0),
        ({}, 10_000.0),
    ]:
        assert read(THETA, values) == expected
    assert written(THETA, {"max_wavelength": 8.0}) == {"rope_theta": 8.0}
    inside = THETA._replace(config_key="rope_parameters.rope_theta|rope_theta")
    assert written(inside, {"max_wavelength": 8.0}) == {"rope_parameters": {"rope_theta": 8.0}}
    with pytest.raises(
        ValueError, match="`rope_theta` and `rope_parameters.rope_theta` must be the same. Received: .*=1, .*=2"
    ):
        read(THETA, {"rope_theta": 1, "rope_parameters": {"rope_theta": 2}})
    with pytest.raises(ValueError, match="`rope_parameters.rope_theta` must be a positive number"):
        read(THETA, {"rope_parameters": {"rope_theta": "x"}})


def test_several_keys_may_have_to_agree(read):
    field = Field("num_heads", ("encoder_heads", "decoder_heads"), SIZE)
    assert read(field, {"encoder_heads": 2, "decoder_heads": 2}) == 2
    assert written(field, {"num_heads": 2}) == {"encoder_heads": 2, "decoder_heads": 2}
    with pytest.raises(ValueError, match="`encoder_heads` and `decoder_heads` must be the same"):
        read(field, {"encoder_heads": 2, "decoder_heads": 3})
    with pytest.raises(ValueError, match="`decoder_heads` must be in config.json"):
        read(field, {"encoder_heads": 2})


def test_what_is_absent_is_the_default_or_told_by_other_arguments_or_by_a_tensor(read):
    width = Field("width", "head_dim", SIZE, lambda found: found["hidden_dim"] // 4)
    assert read(width, {}, {"hidden_dim": 32}) == read(width, {"head_dim": None}, {"hidden_dim": 32}) == 8
    assert read(Field("rate", "rate", RATE, 0), {}) == 0.0
    untied = Field("tied", held="lm_head.weight")
    assert read(untied, {}, tensors={"lm_head.weight": (3, 4)}) is True
    assert read(untied, {}) is False
    assert written(untied, {"tied": True}) == {}
    layers = Field("layers", "layer_types", sizes(4), when={"windowed": True})
    assert layers.exists({"windowed": True})
    assert not layers.exists({"windowed": False})
    assert written(layers, {"layers": (1, 2)}) == {"layer_types": [1, 2]}


def test_a_tensor_may_be_tied_or_one_of_its_own_as_the_arguments_say():
    rules = (Rule("embedding.weight", "embedding/embeddings"), Rule("lm_head.weight", "logits/kernel"))
    ties = {"lm_head.weight": "embedding.weight"}
    recipe = Recipe("X", "`X` does", None, {}, (), rules, tied=lambda found: ties if found["tied"] else {})
    assert recipe.tied_for({"tied": True}) == ties
    assert [rule.tensors for rule in recipe.rules_for({"tied": True})] == [("embedding.weight",)]
    assert [rule.tensors for rule in recipe.rules_for({"tied": False})] == [("embedding.weight",), ("lm_head.weight",)]


def test_a_table_that_does_not_fit_itself_or_a_layer_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    width = Field("width", "w", SIZE, axis=("h.{i}.up", 0))
    with pytest.raises(ValueError, match=r"must start as the `blocks` of a field. Received: 'h.{i}.up' of 'width'"):
        check_sizes((width,), {"width": 2}, Config(tmp_path), {"h.0.up": (2,)})
    layers = Layers(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="out")]))
    assert layers.shown("Dense.units") == 2
    for place, message in {
        "unit": "no unit in out, a Dense",
        "dtype_policy.nam": "a dtype_policy without nam in out",
    }.items():
        with pytest.raises(Difference, match=message):
            layers.shown(f"Dense.{place}")


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (only(True), [True], [1, "True", None]),
        (only(0.0), [0, 0.0], [False, 0.1]),
        (FLAG, [True, False], [0, "false"]),
        (below("rows"), [0, 3], [-1, 4, 1.0, True]),
    ],
)
def test_a_kind_takes_what_it_says_alone(kind, right, wrong, read):
    field = Field("value", "value", kind)
    for value in right:
        assert read(field, {"value": value}, {"rows": 4}) == value
    for value in wrong:
        with pytest.raises(ValueError, match="`value` must be .*Received: value="):
            read(field, {"value": value}, {"rows": 4})
