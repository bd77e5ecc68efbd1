"""BERT and the models on it: counts, padding, shared weights, saving, walks, bad input, learning."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_tx
from keras_tx import graph
from keras_tx.applications import BERT, BERT_SIZES, bert_classifier, bert_pretrainer

from ..layers.contract_rows import stir
from .counts import extrapolated

SMALL = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
PARAMETERS = {  # with pooler; with pooler and both heads
    "tiny": (4_385_920, 4_433_468),
    "mini": (11_170_560, 11_267_900),
    "small": (28_763_648, 29_058_876),
    "medium": (41_373_184, 41_668_412),
    "base": (109_482_240, 110_106_428),
    "base_cased": (108_310_272, 108_932_934),
    "large": (335_141_888, 336_226_108),
    "large_cased": (333_579_264, 334_661_958),
}
IDS = np.array([[2, 20, 21, 3, 22, 3], [2, 23, 3, 0, 0, 0]], "int32")
SEGMENTS = np.array([[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]], "int32")
MASKED = {
    "mask_positions": np.array([[1, 2], [1, 0]], "int32"),
    "span_left": np.array([[0, 0], [0, 0]], "int32"),
    "span_right": np.array([[3, 3], [2, 0]], "int32"),
    "span_offsets": np.array([[0, 1], [0, 0]], "int32"),
}


def arrays(outputs):
    return keras.tree.map_structure(ops.convert_to_numpy, outputs)


def encode(encoder, ids, segments=None):
    return arrays(encoder({"token_ids": ids, "segment_ids": np.zeros_like(ids) if segments is None else segments}))


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(1)
    encoder = BERT(30, 8, **SMALL)
    stir(encoder)  # fresh weights are so small that nothing matters much
    return encoder


@pytest.fixture(scope="module")
def pretrainer(encoder):
    return bert_pretrainer(encoder, span_boundary=True)


@pytest.mark.once
def test_every_size_has_its_published_count():
    assert BERT_SIZES.keys() == PARAMETERS.keys()


@pytest.mark.once
@pytest.mark.parametrize("size", PARAMETERS)
def test_parameters_are_those_of_the_published_model(size):
    both = extrapolated(lambda **options: bert_pretrainer(BERT(**options)), BERT_SIZES[size])
    assert (extrapolated(BERT, BERT_SIZES[size]), both) == PARAMETERS[size]
    if size == "mini":
        with graph.without_values():
            encoder = BERT(**BERT_SIZES[size])
            both = bert_pretrainer(encoder)
        assert (encoder.count_params(), both.count_params()) == PARAMETERS[size]


def test_padding_and_batch_mates_change_no_output(encoder):
    whole = encode(encoder, IDS, SEGMENTS)
    alone = encode(encoder, IDS[1:, :3])
    np.testing.assert_allclose(whole["pooled_output"][1:], alone["pooled_output"], atol=1e-6)
    np.testing.assert_allclose(whole["sequence_output"][1:, :3], alone["sequence_output"], atol=1e-6)


@pytest.mark.once
def test_another_padding_token_is_told_from_the_ids():
    encoder = BERT(30, 8, **SMALL, padding_id=29)
    padded = np.where(IDS == 0, 29, IDS)
    np.testing.assert_allclose(
        encode(encoder, padded)["pooled_output"][1:], encode(encoder, IDS[1:, :3])["pooled_output"], atol=1e-6
    )


@pytest.mark.once
def test_segments_and_order_matter(encoder):
    start = encode(encoder, IDS, SEGMENTS)["pooled_output"][0]
    assert np.abs(start - encode(encoder, IDS)["pooled_output"][0]).max() > 1e-4
    swapped = IDS[:, [0, 2, 1, 3, 4, 5]]
    assert np.abs(start - encode(encoder, swapped, SEGMENTS)["pooled_output"][0]).max() > 1e-4


@pytest.mark.once
def test_masked_logits_are_those_of_the_tokens_themselves(encoder, pretrainer):
    outputs = arrays(pretrainer({"token_ids": IDS, "segment_ids": SEGMENTS, **MASKED}))
    sequence = encode(encoder, IDS, SEGMENTS)["sequence_output"]
    x = pretrainer.get_layer("masked_lm_norm")(pretrainer.get_layer("masked_lm_transform")(sequence))
    table = ops.convert_to_numpy(encoder.get_layer("embedding").token_embedding.embeddings)
    expected = ops.convert_to_numpy(x) @ table.T
    for row, positions in enumerate(MASKED["mask_positions"]):
        np.testing.assert_allclose(outputs["masked_lm"][row], expected[row, positions], atol=1e-5)
    assert outputs["next_sentence"].shape == (2, 2)
    assert outputs["span_boundary"].shape == (2, 2, 30)


@pytest.mark.once
def test_a_span_is_predicted_from_its_boundaries_alone():
    """One block without attention to others would do: here the encoder is left out."""
    head = keras_tx.layers.SpanBoundary(4)
    x = np.random.default_rng(0).normal(size=(1, 6, 8)).astype("float32")
    where = [np.array([row], "int32") for row in ([0, 0, 0], [4, 4, 4], [0, 1, 2])]
    before = ops.convert_to_numpy(head(x, *where))
    x[:, [1, 2, 3, 5]] = np.nan  # the span itself, and what is beyond it
    np.testing.assert_array_equal(ops.convert_to_numpy(head(x, *where)), before)
    assert np.abs(before[0, 0] - before[0, 1]).max() > 1e-3  # its places differ


@pytest.mark.once
def test_heads_share_the_encoder_and_its_table(encoder, pretrainer):
    classifier = bert_classifier(encoder, 3)
    for model in (pretrainer, classifier):
        assert model.get_layer("bert") is encoder
    for name in ("masked_lm", "span_boundary"):
        assert pretrainer.get_layer(name).embedding is encoder.get_layer("embedding")
    d = SMALL["hidden_dim"]
    assert classifier.count_params() == encoder.count_params() + 3 * d + 3


@pytest.mark.once
@pytest.mark.parametrize("pairs", [False, True])
def test_a_classifier_takes_one_text_or_two(pairs, encoder):
    model = bert_classifier(encoder, 3, pairs=pairs)
    zeros = np.zeros_like(IDS)
    logits = arrays(model({"token_ids": IDS, "segment_ids": zeros} if pairs else IDS))
    assert logits.shape == (2, 3)
    x = model.get_layer("logits")(encode(encoder, IDS)["pooled_output"])
    np.testing.assert_allclose(logits, ops.convert_to_numpy(x), atol=1e-6)


def test_files_reload_with_equal_outputs_and_tied_tables(encoder, pretrainer, tmp_path):
    inputs = {"token_ids": IDS, "segment_ids": SEGMENTS, **MASKED}
    pretrainer.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for name, values in arrays(again(inputs)).items():
        np.testing.assert_array_equal(values, arrays(pretrainer(inputs))[name])
    assert again.count_params() == pretrainer.count_params()
    inner = again.get_layer("bert")
    assert again.get_layer("masked_lm").embedding is inner.get_layer("embedding")
    inner.save(tmp_path / "encoder.keras")
    alone = keras.models.load_model(tmp_path / "encoder.keras")
    np.testing.assert_array_equal(
        encode(alone, IDS, SEGMENTS)["pooled_output"], encode(encoder, IDS, SEGMENTS)["pooled_output"]
    )


@pytest.mark.once
def test_attention_maps_are_read_through_the_heads(encoder):
    maps = keras_tx.analysis.attention_maps(bert_classifier(encoder, 3), IDS)
    assert list(maps) == ["bert/encoder_0", "bert/encoder_1"]
    weights = maps["bert/encoder_0"]
    assert weights.shape == (2, 2, 6, 6)
    assert np.all(weights[1, :, :, 3:] == 0)
    np.testing.assert_allclose(weights[1, :, :3].sum(-1), 1.0, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_stays_near(policy, encoder):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        half = BERT(30, 8, **SMALL)
    finally:
        keras.config.set_dtype_policy(before)
    half.set_weights([ops.convert_to_numpy(weight) for weight in encoder.weights])
    outputs = half({"token_ids": IDS, "segment_ids": SEGMENTS})["sequence_output"]
    assert keras.backend.standardize_dtype(outputs.dtype) == policy.removeprefix("mixed_")
    outputs = ops.convert_to_numpy(ops.cast(outputs, "float32"))
    np.testing.assert_allclose(outputs[0], encode(encoder, IDS, SEGMENTS)["sequence_output"][0], atol=0.1)


def test_pretraining_learns_and_trains_every_weight():
    keras.utils.set_random_seed(0)
    model = bert_pretrainer(BERT(30, 8, **SMALL, dropout=0.0), span_boundary=True)
    starts = [ops.convert_to_numpy(weight).copy() for weight in model.trainable_weights]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss=dict.fromkeys(model.output, loss), jit_compile="auto")
    inputs = {"token_ids": IDS, "segment_ids": SEGMENTS, **MASKED}
    tokens = np.array([[20, 21], [23, 0]], "int32")
    labels = {"masked_lm": tokens, "span_boundary": tokens, "next_sentence": np.array([0, 1], "int32")}
    weights = {"masked_lm": np.array([[1, 1], [1, 0]], "float32"), "next_sentence": np.ones(2, "float32")}
    weights["span_boundary"] = weights["masked_lm"]
    losses = model.fit(inputs, labels, sample_weight=weights, batch_size=2, epochs=25, verbose=0).history["loss"]
    assert losses[-1] < 0.3 * losses[0]
    for weight, start in zip(model.trainable_weights, starts, strict=True):
        if not weight.path.endswith("key/bias"):  # which the softmax takes out
            assert np.abs(ops.convert_to_numpy(weight) - start).max() > 0, weight.path


@pytest.mark.once
def test_adapters_are_all_that_is_trained(encoder):
    model = bert_classifier(keras.models.clone_model(encoder), 2)
    for weight in model.get_layer("bert").weights:
        weight.trainable = False
    for index in range(SMALL["num_layers"]):
        attention = model.get_layer("bert").get_layer(f"encoder_{index}").attention
        for part in (attention.query, attention.value):
            part.enable_lora(2)
    d = SMALL["hidden_dim"]
    adapters = SMALL["num_layers"] * 2 * (d * SMALL["num_heads"] * 2 + 2 * d // SMALL["num_heads"])
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == adapters + 2 * d + 2


@pytest.mark.once
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BERT(30, 8, **SMALL, padding_id=30), "`padding_id` must be a token id .*padding_id=30 with vocabulary_size=30"),
        (lambda: BERT(30, 8, **SMALL, padding_id=None), "`padding_id` must be a token id .*padding_id=None"),
        (lambda: BERT("30", 8, **SMALL), "`vocabulary_size` must be a positive integer. Received: vocabulary_size='30'"),
        (lambda: BERT(30, 8, **{**SMALL, "num_layers": 0}), "`num_layers` must be a positive integer. Received: num_layers=0"),
        (lambda: BERT(30, 8, **SMALL, pooler="no"), "`pooler` must be True or False. Received: pooler='no'"),
        (lambda: BERT(30, 8, **SMALL, num_segments=0), "`num_segments` must be a positive integer"),
        (lambda: bert_pretrainer(None), "`encoder` must be a model of `BERT`. Received: encoder=None"),
        (lambda: bert_classifier(keras.Sequential([keras.Input((3,))]), 2), "`encoder` must be a model of `BERT`"),
        (lambda: bert_pretrainer(keras.Sequential([keras.layers.Dense(2)])), "`encoder` must be a model of `BERT`"),
        (lambda: bert_pretrainer(BERT(30, 8, **SMALL, pooler=False)), "`encoder` must have a pooler .*: bert, with pooler=False"),
        (lambda: bert_classifier(BERT(30, 8, **SMALL, pooler=False), 2), "`encoder` must have a pooler"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call, message):
    with graph.without_values(), pytest.raises(ValueError, match=message):
        call()


LONG = {"token_ids": np.ones((2, 9), "int32"), "segment_ids": np.zeros((2, 9), "int32")}


@pytest.mark.once
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"segment_ids": SEGMENTS + 1}, r"must hold segment ids in \[0, num_segments\).*from 1 to 2 with num_segments=2"),
        ({"segment_ids": SEGMENTS - 1}, "segment ids .* ids from -1 to 0"),
        ({"token_ids": IDS + 10}, "must hold token ids .*ids from 10 to 33 with vocabulary_size=30"),
        ({"mask_positions": MASKED["mask_positions"] + 5}, r"must hold positions in \[0, length\).*5 to 7 with length=6"),
        ({"span_offsets": MASKED["span_offsets"] + 20}, r"`offsets` must hold places in \[0, max_span_length\)"),
        ({"span_left": MASKED["span_left"] - 1}, "`left` must hold positions"),
        (LONG, "longer than the position table.*length 9 with sequence_length=8"),
    ],
)  # fmt: skip
def test_bad_inputs_are_named(inputs, message, pretrainer):
    with pytest.raises(ValueError, match=message):
        pretrainer({"token_ids": IDS, "segment_ids": SEGMENTS, **MASKED, **inputs})
