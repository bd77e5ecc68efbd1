"""T5: sizes and first weights are the published ones, each half shares one bias, and float16 does not overflow."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import analysis, decoding, graph
from keras_tx.applications import T5, T5_SIZES

from ..layers.execution import quick
from .counts import extrapolated

# Those of `transformers`, and 32,128 D more where the head is not tied, which its version 5 does not tell.
PARAMETERS = {
    "small": 60_506_624,
    "base": 222_903_552,
    "large": 737_668_096,
    "3b": 2_851_598_336,
    "11b": 11_307_321_344,
    "v1.1_small": 76_961_152,
    "v1.1_base": 247_577_856,
    "v1.1_large": 783_150_080,
    "v1.1_xl": 2_849_757_184,
    "v1.1_xxl": 11_135_332_352,
}
SMALL = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
SOURCE, TARGET = np.array([[3, 4, 5, 1, 0], [6, 7, 8, 9, 1]]), np.array([[0, 5, 6], [0, 7, 8]])


def run(model, source=SOURCE, target=TARGET):
    return ops.convert_to_numpy(ops.cast(quick(model)({"source_ids": source, "target_ids": target}), "float32"))


@pytest.mark.once
def test_parameters_are_those_of_the_published_models():
    assert T5_SIZES.keys() == PARAMETERS.keys()
    with graph.without_values():
        assert T5(**T5_SIZES["small"]).count_params() == PARAMETERS["small"]
    for size, options in T5_SIZES.items():
        assert extrapolated(T5, options) == PARAMETERS[size], size


@pytest.mark.once
def test_weights_start_as_published():
    keras.utils.set_random_seed(0)
    model = T5(300, 1, 4, 96, 200, key_dim=32, gated=True, tied=False)
    wanted = {
        "query": (96 * 32) ** -0.5,
        "key": 96**-0.5,
        "value": 96**-0.5,
        "attention_output": (4 * 32) ** -0.5,
        "intermediate": 96**-0.5,
        "gate": 96**-0.5,
        "output_dense": 200**-0.5,
        "position_bias": 96**-0.5,
        "token_embedding": 1.0,
        "logits": 1.0,
    }
    seen = set()
    for weight in model.weights:
        part = weight.path.split("/")[-2].removeprefix("encoder_").removeprefix("decoder_")
        if part in wanted:
            seen.add(part)
            deviation = float(np.std(ops.convert_to_numpy(weight)))
            assert deviation == pytest.approx(wanted[part], rel=0.2 if part == "position_bias" else 0.04), weight.path
    assert seen == set(wanted)


@pytest.mark.parametrize(
    "options",
    [pytest.param({}, marks=pytest.mark.once), {"gated": True, "tied": False, "key_dim": 3, "num_decoder_layers": 1}],
)
def test_a_saved_model_and_a_copy_give_the_same_logits(options, tmp_path):
    model = T5(11, **SMALL, **options)
    expected = run(model)
    model.save(tmp_path / "model.keras")
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for other in (keras.models.load_model(tmp_path / "model.keras"), copy):
        assert [weight.path for weight in other.weights] == [weight.path for weight in model.weights]
        np.testing.assert_array_equal(run(other), expected)
        assert sum("bias_table" in weight.path for weight in other.weights) == 2
        assert len({weight.path for weight in other.weights}) == len(other.weights)  # or torch cannot export it


@pytest.fixture(scope="module")
def model():
    return T5(11, **SMALL)


def test_padding_later_targets_and_order_do_what_they_should(model):
    longer = np.pad(SOURCE[:1, :4], ((0, 0), (0, 9)))
    short = run(model, SOURCE[:1, :4], TARGET[:1])
    np.testing.assert_allclose(run(model, longer, TARGET[:1]), short, atol=1e-5)
    changed = TARGET.copy()
    changed[:, 2] = 10
    np.testing.assert_allclose(run(model, target=changed)[:, :2], run(model)[:, :2], atol=1e-5)
    assert np.abs(run(model, SOURCE[:1, [2, 1, 0, 3]], TARGET[:1]) - short).max() > 1e-3


@pytest.mark.once
def test_attention_can_be_looked_at(model):
    maps = analysis.attention_maps(model, {"source_ids": SOURCE, "target_ids": TARGET})
    assert maps["decoder/decoder_1/cross_attention"].shape == (2, 2, 3, 5)
    assert not maps["encoder/encoder_0"][0, :, :, 4].any()


@pytest.mark.parametrize(("policy", "gated"), [("mixed_float16", True), ("float16", False)])
def test_float16_holds_sums_beyond_its_largest_number(policy, gated, tmp_path):
    before = keras.config.dtype_policy()
    exact = T5(11, **SMALL, gated=gated)
    try:
        keras.config.set_dtype_policy(policy)
        half = T5(11, **SMALL, gated=gated)
    finally:
        keras.config.set_dtype_policy(before)
    large = [weight for weight in exact.weights if "output_dense" in weight.path]
    for weight in large[::2]:  # every other block adds what no float16 holds
        weight.assign(ops.sign(weight) * 30_000.0)
    half.set_weights(exact.get_weights())
    encoder = exact.get_layer("encoder")
    embedded = exact.get_layer("embedding")(SOURCE)
    inner = keras.Model(encoder.input, encoder.get_layer("encoder_0").output)
    sums = np.abs(ops.convert_to_numpy(inner({"embedded": embedded, "mask": ops.not_equal(SOURCE, 0)})))
    assert sums.max() > 65_504
    half.save(tmp_path / "model.keras")
    for other in (half, keras.models.load_model(tmp_path / "model.keras")):
        found = run(other)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found, run(exact), atol=0.05 * np.abs(run(exact)).max())
        assert keras.backend.standardize_dtype(other.output.dtype) == "float16"
        parts = other.get_layer("encoder").get_layer("encoder_0").feed_forward
        assert parts.intermediate.compute_dtype == "float16"
    caches = decoding.init_caches(half, 1, 4, {"source_ids": SOURCE[:1]})
    outputs, following = decoding.step(half, TARGET[:1, :2], caches)
    np.testing.assert_allclose(ops.convert_to_numpy(outputs), run(half)[:1, :2], atol=0.02)
    dtypes = [[getattr(each, "dtype", None) for each in keras.tree.flatten(value)] for value in (caches, following)]
    assert dtypes[0] == dtypes[1]  # or no loop takes them


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_dim": 9}, "`num_heads` must divide the hidden size"),
        ({"key_dim": 0}, "`key_dim` must be a positive integer"),
        ({"padding_id": 11}, "`padding_id` must be"),
        ({"tied": 1}, "`tied` must be True or False"),
        ({"scale_logits": "yes"}, "`scale_logits` must be True or False"),
        ({"num_decoder_layers": 0}, "`num_decoder_layers` must be a positive integer"),
        ({"max_distance": 8}, "`max_distance` must be more than"),
        ({"num_buckets": 5}, "`num_buckets` must be even"),
        ({"dropout": 1.0}, r"dropout` must be a number in \[0, 1\)|`rate` must be a number in"),
        ({"norm_epsilon": 0}, "`epsilon` must be a positive number"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        T5(11, **{**SMALL, **options})
