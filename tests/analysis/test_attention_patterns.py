"""Heads made by hand for each pattern get its name, and heads that are switched off are off."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import layers
from keras_tx.analysis import ablate_heads, attention_maps, attention_patterns
from keras_tx.applications import GPT, TextClassifier

SEPARATOR, COMMA = 2, 3
IDS = np.array([[1, 7, 8, COMMA, 7, SEPARATOR, 9, 6, 9, SEPARATOR], [1, 5, COMMA, 6, SEPARATOR, 5, 6, SEPARATOR, 0, 0]])
PARTS = np.array([[0] * 6 + [1] * 4, [0] * 5 + [1] * 5])
MADE = ("next", "previous", "self", "same", "separator", "first", "punctuation", "own_part", "broad", "mixed")


def made_scores():
    """(B, N, T, T), of a head for each pattern: large where its keys are."""
    place = np.arange(IDS.shape[1])
    step = place - place[:, None]
    same = IDS[:, :, None] == IDS[:, None, :]
    keys = {
        "next": step == 1,
        "previous": step == -1,
        "self": step == 0,
        "same": same & (step != 0),
        "separator": (IDS == SEPARATOR)[:, None],
        "first": place == 0,
        "punctuation": (IDS == COMMA)[:, None],
        "own_part": PARTS[:, :, None] == PARTS[:, None, :],
        "broad": step == step,
        "mixed": (step + place[:, None]) % 4 == 3,  # two or three keys that have nothing in common
    }
    return 25.0 * np.stack([np.broadcast_to(keys[name], same.shape) for name in MADE], axis=1).astype("float32")


def made_model(**settings):
    """Ids and scores to vectors, by one attention whose weights are the softmax of the scores."""
    ids, scores = (
        keras.Input((None,), dtype="int32", name="token_ids"),
        keras.Input((len(MADE), None, None), name="scores"),
    )
    x = layers.TokenAndPositionEmbedding(12, 12, 20, mask_zero=True)(ids)
    attention = layers.MultiHeadSelfAttention(len(MADE), query_initializer="zeros", name="made", **settings)
    return keras.Model({"token_ids": ids, "scores": scores}, attention(x, attention_bias=scores))


def given():
    return {"token_ids": IDS.astype("int32"), "scores": made_scores()}


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


SPECIAL = {"separators": SEPARATOR, "punctuation": [COMMA], "parts": PARTS}


def test_each_head_made_by_hand_has_its_label():
    patterns = attention_patterns(made_model(), given(), **SPECIAL)
    assert patterns.labels == {"made": list(MADE)}
    for head, name in enumerate(MADE[:8]):
        assert patterns.values["made"][name][head] > 0.99
    assert patterns.values["made"]["entropy"][MADE.index("broad")] > 0.999
    switched = ~np.isnan(patterns.effects["made"])
    assert [MADE[head] for head in np.flatnonzero(switched)] == ["separator", "first"]
    assert np.all(patterns.effects["made"][switched] > 0.01)
    assert "separator" in patterns.table()
    assert len(patterns.table().splitlines()) == 1 + len(MADE)


def test_separators_that_attend_to_themselves_are_no_evidence():
    model, inputs = made_model(), given()
    is_separator = IDS == SEPARATOR
    inputs["scores"][:, :, :, :] = 25.0 * (is_separator[:, None, :, None] & is_separator[:, None, None, :])
    patterns = attention_patterns(model, inputs, **SPECIAL)
    even = np.mean([2 / 10] * 8 + [2 / 8] * 6)  # the other queries attend to all keys alike
    np.testing.assert_allclose(patterns.values["made"]["separator"], even, rtol=1e-5)
    assert set(patterns.labels["made"]) == {"mixed"}
    nothing_else = attention_patterns(model, inputs, separators=list(range(12)), effects=None)
    assert np.isnan(nothing_else.values["made"]["separator"]).all()


def test_queries_of_a_causal_layer_before_the_first_separator_or_mark_do_not_count():
    inputs = given()
    inputs["scores"][:] = 0.0
    values = attention_patterns(made_model(causal=True), inputs, **SPECIAL).values["made"]
    separators = [1 / 7, 1 / 8, 1 / 9] + [1 / 6, 1 / 7]  # of positions 6 to 8, and 5 and 6 of the second text
    commas = [1 / t for t in range(4, 11)] + [1 / t for t in range(3, 9)]
    np.testing.assert_allclose(values["separator"], np.mean(separators), rtol=1e-5)
    np.testing.assert_allclose(values["punctuation"], np.mean(commas), rtol=1e-5)


@pytest.mark.parametrize("way", ["ablation", "gradient"])
def test_a_head_on_separators_is_null_only_if_nothing_changes_without_it(way):
    model = made_model()
    projection = model.get_layer("made").attention_output
    kernel = numpy(projection.kernel).copy()
    kernel[[MADE.index("separator"), MADE.index("self")]] = 0.0
    projection.kernel.assign(kernel)
    patterns = attention_patterns(model, given(), **SPECIAL, effects="all", effects_by=way)
    expected = ["null" if name == "separator" else name for name in MADE]  # and "self", without effect too, is not
    assert patterns.labels["made"] == expected
    assert patterns.effects["made"][MADE.index("self")] == 0.0
    assert patterns.effects["made"][MADE.index("first")] > 0.01
    assert "null" not in attention_patterns(model, given(), **SPECIAL, effects=None).labels["made"]


@pytest.mark.once
def test_values_are_those_of_the_definition():
    model, inputs = made_model(), given()
    inputs["scores"] = np.random.default_rng(3).normal(size=inputs["scores"].shape).astype("float32")
    values = attention_patterns(model, inputs, **SPECIAL).values["made"]
    weights = attention_maps(model, inputs)["made"]
    lengths = (10, 8)
    sums = {name: [] for name in values}
    for row, length in enumerate(lengths):
        for t in range(length):
            a, ids = weights[row, :, t], IDS[row]
            if t + 1 < length:
                sums["next"].append(a[:, t + 1])
            if t:
                sums["previous"].append(a[:, t - 1])
                sums["first"].append(a[:, 0])
            sums["self"].append(a[:, t])
            same = [s for s in range(length) if s != t and ids[s] == ids[t]]
            if same:
                sums["same"].append(a[:, same].sum(axis=1))
            if ids[t] != SEPARATOR:
                sums["separator"].append(a[:, ids == SEPARATOR].sum(axis=1))
            sums["punctuation"].append(a[:, ids == COMMA].sum(axis=1))
            own = PARTS[row, :length] == PARTS[row, t]
            even = own.mean()
            sums["own_part"].append((a[:, :length][:, own].sum(axis=1) - even) / (1 - even))
            sums["entropy"].append(-(a[:, :length] * np.log(a[:, :length])).sum(axis=1) / np.log(length))
    for name, rows in sums.items():
        np.testing.assert_allclose(values[name], np.mean(rows, axis=0), atol=1e-5, err_msg=name)


def test_a_causal_layer_has_one_query_without_a_choice_that_does_not_count():
    values = attention_patterns(made_model(causal=True), given(), **SPECIAL).values["made"]
    head = dict(zip(MADE, range(len(MADE)), strict=True))
    assert np.all(values["next"] == 0)
    assert values["previous"][head["previous"]] > 0.99
    assert values["entropy"][head["broad"]] > 0.999
    assert values["same"][head["same"]] > 0.99  # of queries whose token stood before
    assert values["self"][head["previous"]] < 1e-6


@keras.saving.register_keras_serializable(package="tests")
class Steep(keras.layers.Layer):
    """-50 |t - s| for the first head, and -50 |t - 1 - s| for the second."""

    def call(self, query_positions, key_positions):
        distance = ops.cast(query_positions[:, None] - key_positions[None], "float32")
        return -50.0 * ops.stack([ops.abs(distance), ops.abs(distance - 1.0)])


def test_heads_of_steep_biases_are_on_themselves_and_the_token_before_in_a_model_without_tokens():
    inputs = keras.Input((6, 4))
    layer = layers.MultiHeadSelfAttention(2, position_bias=Steep(), name="attention")
    patterns = attention_patterns(keras.Model(inputs, layer(inputs)), np.ones((2, 6, 4), "float32"))
    assert patterns.labels == {"attention": ["self", "previous"]}
    assert np.isnan(patterns.values["attention"]["same"]).all()


def decoder():
    a, b = keras.Input((4, 8)), keras.Input((3, 8))
    return keras.Model([a, b], layers.TransformerDecoder(16, 2, name="decoder")(a, b))


@pytest.mark.once
def test_attention_to_another_sequence_has_what_has_a_meaning_there():
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(2, 4, 8)).astype("float32"), rng.normal(size=(2, 3, 8)).astype("float32")]
    patterns = attention_patterns(decoder(), inputs, separators=SEPARATOR, context_ids=np.array([[5, 6, 2], [2, 5, 2]]))
    values = patterns.values["decoder/cross_attention"]
    there = {name for name, each in values.items() if not np.isnan(each).any()}
    assert there == {"separator", "first", "entropy"}
    weights = patterns.maps["decoder/cross_attention"]
    to_separators = np.concatenate([weights[0, :, :, 2], weights[1, :, :, [0, 2]].sum(axis=0)], axis=1)
    np.testing.assert_allclose(values["separator"], to_separators.mean(axis=1), rtol=1e-5)


@pytest.mark.parametrize("name", ["decoder", "decoder/cross_attention"])
def test_a_head_that_is_off_is_one_whose_rows_of_the_projection_are_zeros(name):
    model, rng = decoder(), np.random.default_rng(0)
    inputs = [rng.normal(size=(2, 4, 8)).astype("float32"), rng.normal(size=(2, 3, 8)).astype("float32")]
    before = [numpy(weight).copy() for weight in model.weights]
    plain, off = numpy(model(inputs)), numpy(ablate_heads(model, {name: [1]}, inputs))
    assert all(np.array_equal(one, numpy(other)) for one, other in zip(before, model.weights, strict=True))
    assert np.array_equal(plain, numpy(model(inputs)))
    block = model.get_layer("decoder")
    projection = (block.cross_attention if "/" in name else block.attention).attention_output
    kernel = numpy(projection.kernel).copy()
    kernel[1] = 0.0
    projection.kernel.assign(kernel)
    np.testing.assert_allclose(off, numpy(model(inputs)), atol=1e-6)
    assert np.abs(off - plain).max() > 1e-3


def test_heads_are_off_where_the_call_is_named_and_in_any_kind_of_attention():
    images = keras.Input((4, 4, 8))
    shared = layers.TransformerEncoder(8, attention=layers.WindowAttention(2, 2), name="shared")
    x = keras.layers.Reshape((16, 8))(shared(shared(images)))
    keras_own = keras.layers.MultiHeadAttention(2, 4, name="own")
    model = keras.Model(images, keras_own(x, x))
    pixels = np.random.default_rng(0).normal(size=(1, 4, 4, 8)).astype("float32")
    plain = numpy(model(pixels))
    outputs = [
        numpy(ablate_heads(model, heads, pixels))
        for heads in ({"shared": 0}, {"shared#2": 0}, {"shared": 0, "shared#2": 0}, {"own": 0}, {"own": [0, 1]})
    ]
    for index, each in enumerate(outputs):
        assert all(np.abs(each - other).max() > 1e-4 for other in (plain, *outputs[:index]))
    np.testing.assert_allclose(outputs[-1], np.broadcast_to(numpy(keras_own.get_weights()[-1]), (1, 16, 8)), atol=1e-6)
    np.testing.assert_allclose(numpy(ablate_heads(model, {"own": []}, pixels)), plain, atol=1e-6)


@pytest.mark.usefixtures("few_objects_to_collect")
@pytest.mark.once
def test_a_quantized_model_works_without_heads_too():
    model = GPT(20, 8, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=8)
    ids = np.array([[3, 4, 5, 6]])
    model.quantize("int8", filters="attention_output")
    plain, off = numpy(model(ids)), numpy(ablate_heads(model, {"decoder_0": [0, 1]}, ids))
    assert np.abs(plain - off).max() > 1e-4
    assert np.array_equal(plain, numpy(model(ids)))


def test_adapters_read_nothing_of_heads_that_are_off():
    model, ids = GPT(20, 8, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=8), np.array([[3, 4, 5, 6]])
    before, off = numpy(model(ids)), numpy(ablate_heads(model, {"decoder_0": [0, 1]}, ids))
    projection = model.get_layer("decoder_0").attention.attention_output
    projection.enable_lora(2)
    shape = projection.lora_kernel_b.shape
    projection.lora_kernel_b.assign(np.sin(np.arange(np.prod(shape))).reshape(shape))
    assert np.abs(numpy(model(ids)) - before).max() > 1e-4
    np.testing.assert_allclose(numpy(ablate_heads(model, {"decoder_0": [0, 1]}, ids)), off, atol=1e-6)


class Attending(keras.layers.Layer):
    def call(self, inputs, return_attention_scores=False):
        scores = ops.softmax(inputs @ ops.swapaxes(inputs, 1, 2))
        return (scores @ inputs, scores[:, None]) if return_attention_scores else scores @ inputs


def small():
    return TextClassifier(10, 6, hidden_dim=8, num_layers=1, num_heads=2, intermediate_dim=8)


@pytest.mark.once
@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ([0], "must be a dict from names"),
        ({"encoder_7": 0}, "must name layers that attend, of encoder_0. Received: 'encoder_7'"),
        ({"encoder_0": [0, 2]}, r"integer from 0 to 1 for encoder_0. Received: heads=2"),
        ({"encoder_0": -1}, "Received: heads=-1"),
        ({"encoder_0": 0.5}, "Received: heads=0.5"),
        ({"encoder_0": "first"}, "Received: heads='first'"),
    ],
)
def test_heads_that_are_not_there_are_refused(heads, message):
    with pytest.raises(ValueError, match=message):
        ablate_heads(small(), heads, np.ones((1, 6), "int32"))


@pytest.mark.once
def test_a_layer_without_a_projection_of_its_heads_is_measured_and_not_switched_off():
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, Attending(name="own")(inputs))
    with pytest.raises(
        ValueError, match=r"of the name 'attention_output'.* 'own' of class Attending, in which there are 0"
    ):
        ablate_heads(model, {"own": 0}, np.ones((1, 4, 3), "float32"))
    assert attention_patterns(model, np.ones((1, 4, 3), "float32"), effects=None).labels == {"own": ["broad"]}


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 1.0}, "`threshold` must lie between 0 and 1"),
        ({"null_threshold": 0}, "`null_threshold`"),
        ({"effects": "some"}, "`effects` must be 'sinks', 'all' or None"),
        ({"effects_by": "loss"}, "`effects_by` must be one of 'ablation', 'gradient'"),
        ({"separators": ["[SEP]"]}, "`separators` must be an integer"),
        ({"token_ids": np.ones((1, 5), "int32")}, r"`token_ids` must have the shape of the positions .*\(1, 5\)"),
        ({"token_ids": np.ones((1, 6))}, "`token_ids` must be integers"),
        ({"mask": np.ones((1, 6))}, "`mask` must be booleans"),
        ({"parts": np.ones((2, 6), "int32")}, "must have one shape"),
        ({"context_ids": np.ones((1, 6), "int32")}, "`context_ids` must have the shape .* to a context"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        attention_patterns(small(), np.ones((1, 6), "int32"), **arguments)
