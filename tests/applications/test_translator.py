"""Translator: its sizes are the published ones, its halves are models, and padding and the future stay out."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx import analysis, decoding, graph, losses, schedules
from keras_tx.applications import TRANSLATOR_SIZES, Translator, shift_right

PARAMETERS = {"base": 63_082_496, "big": 214_245_376}
SMALL = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
SOURCE, TARGET = np.array([[3, 4, 5, 0], [6, 7, 8, 9]]), np.array([[1, 5, 6], [1, 7, 8]])
VARIANTS = {
    "shared": {},
    "separate": {"target_vocabulary_size": 13},
    "copies": {"copies": True},
    "pre-norm": {
        "normalize_first": True,
        "positions": "learned",
        "sequence_length": 9,
        "embedding_norm": True,
        "logits_bias": True,
        "num_decoder_layers": 2,
    },
}


@pytest.fixture(scope="module")
def model():
    return Translator(11, **SMALL)


def run(model, source=SOURCE, target=TARGET):
    return ops.convert_to_numpy(model({"source_ids": source, "target_ids": target}))


@pytest.mark.once
def test_every_size_has_its_published_count():
    assert TRANSLATOR_SIZES.keys() == PARAMETERS.keys()


@pytest.mark.once
@pytest.mark.parametrize("size", PARAMETERS)
def test_parameters_are_those_of_the_published_model(size):
    with graph.without_values():
        model = Translator(**TRANSLATOR_SIZES[size])
    assert model.count_params() == PARAMETERS[size]


@pytest.mark.parametrize(
    "variant", [pytest.param(each, marks=[pytest.mark.once] * (each != "pre-norm")) for each in VARIANTS]
)
def test_a_saved_model_and_a_copy_give_the_same_logits(variant, tmp_path):
    model = Translator(11, **SMALL, **VARIANTS[variant])
    expected = run(model)
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for other in (reloaded, copy):
        assert [weight.path for weight in other.weights] == [weight.path for weight in model.weights]
        np.testing.assert_array_equal(run(other), expected)
        table = other.get_layer("target_embedding" if variant == "separate" else "embedding")
        assert other.get_layer("logits").embedding is table


@pytest.mark.once
def test_encoder_and_decoder_are_models_that_make_up_the_whole(model):
    embedding, mask = model.get_layer("embedding"), ops.not_equal(SOURCE, 0)
    context = model.get_layer("encoder")({"embedded": embedding(SOURCE), "mask": mask})
    assert context.shape == (2, 4, 8)
    context = ops.convert_to_tensor(ops.convert_to_numpy(context))  # without the mask that Keras carries
    vectors = model.get_layer("decoder")({"embedded": embedding(TARGET), "context": context, "context_mask": mask})
    np.testing.assert_allclose(ops.convert_to_numpy(model.get_layer("logits")(vectors)), run(model), atol=1e-6)


def test_padding_of_the_source_changes_nothing(model):
    longer = np.pad(SOURCE[:1, :3], ((0, 0), (0, 9)))
    np.testing.assert_allclose(run(model, longer, TARGET[:1]), run(model, SOURCE[:1, :3], TARGET[:1]), atol=1e-6)


def test_a_model_that_copies_decodes_step_by_step_what_its_whole_pass_gives():
    keras.utils.set_random_seed(2)
    model = Translator(40, **SMALL, copies=True)
    for weight in model.weights:
        weight.assign(weight + 0.5 * keras.random.normal(weight.shape, seed=len(weight.path)))
    sources, padded = [[3, 30, 31, 30], [35, 7]], np.array([[3, 30, 31, 30, 0], [35, 7, 0, 0, 0]])
    tokens = decoding.generate(model, [[1], [1]], max_new_tokens=4, context={"source_ids": sources})
    assert tokens.shape == (2, 5)
    logits = run(model, padded, tokens)  # what follows each token, the copied ones included
    np.testing.assert_array_equal(logits[:, :-1].argmax(-1), tokens[:, 1:])


@pytest.mark.once
def test_later_targets_do_not_change_earlier_logits(model):
    changed = TARGET.copy()
    changed[:, 2] = 10
    np.testing.assert_allclose(run(model, target=changed)[:, :2], run(model)[:, :2], atol=1e-6)


@pytest.mark.once
def test_the_order_of_the_source_counts(model):
    assert np.abs(run(model, SOURCE[:, ::-1].copy()) - run(model)).max() > 1e-3


@pytest.mark.once
def test_attention_to_the_source_can_be_looked_at(model):
    maps = analysis.attention_maps(model, {"source_ids": SOURCE, "target_ids": TARGET})
    assert maps["decoder/decoder_0/cross_attention"].shape == (2, 2, 3, 4)
    assert not maps["decoder/decoder_0/cross_attention"][0, :, :, 3].any()
    assert maps["encoder/encoder_0"].shape == (2, 2, 4, 4)


@pytest.mark.once
def test_embeddings_are_scaled_by_the_root_of_the_width(model):
    assert model.get_layer("encoder").get_layer("scale").scale == pytest.approx(8**0.5)
    plain = Translator(11, **SMALL, scale_embeddings=False)
    assert "scale" not in [layer.name for layer in plain.get_layer("decoder").layers]


def test_teacher_forcing_teaches_a_translation():
    keras.utils.set_random_seed(0)
    source = np.random.default_rng(0).integers(3, 11, (32, 4))
    labels = np.concatenate([source[:, ::-1], np.full((32, 1), 2)], axis=1)
    labels[::2, 3:] = 2, 0  # shorter ones, padded
    model = Translator(11, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32, dropout=0.0)
    model.compile(
        keras.optimizers.Adam(schedules.Noam(16, warm_up_steps=20), beta_2=0.98, epsilon=1e-9),
        losses.TokenCrossentropy(label_smoothing=0.1, padding_id=0),
        jit_compile="auto",
    )
    inputs = {"source_ids": source, "target_ids": ops.convert_to_numpy(shift_right(labels, 1))}
    history = model.fit(inputs, labels, batch_size=16, epochs=12, verbose=0).history["loss"]
    assert history[-1] < 0.8 * history[0]


def test_targets_are_shifted_right_behind_the_start():
    shifted = ops.convert_to_numpy(shift_right(np.array([[8, 9, 2], [7, 2, 0]]), start_id=1))
    assert shifted.tolist() == [[1, 8, 9], [1, 7, 2]]


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"positions": "rotary"}, "`positions` must be 'sinusoidal', 'sinusoidal_halves' or 'learned'.*'rotary'"),
        ({"copies": 1}, "`copies` must be True or False. Received: copies=1"),
        (
            {"copies": True, "target_vocabulary_size": 13},
            "`target_vocabulary_size` must be None where `copies` is True",
        ),
        ({"positions": "learned"}, "`sequence_length` must be given for learned positions.*sequence_length=None"),
        ({"sequence_length": 9}, "`sequence_length` must be given .* and for no others.*positions='sinusoidal'"),
        ({"padding_id": 11}, "`padding_id` must be a token id in .*padding_id=11"),
        ({"padding_id": True}, "`padding_id` must be a token id in .*padding_id=True"),
        ({"num_heads": 3}, "`num_heads` must divide"),
        ({"num_layers": 1.5}, "`num_layers` must be a positive integer. Received: num_layers=1.5"),
        ({"num_layers": 0}, "`num_layers` must be a positive integer. Received: num_layers=0"),
        ({"num_layers": True}, "`num_layers` must be a positive integer. Received: num_layers=True"),
        ({"num_decoder_layers": 0}, "`num_decoder_layers` must be a positive integer"),
        ({"hidden_dim": 0}, "`hidden_dim` must be a positive integer. Received: hidden_dim=0"),
        ({"source_vocabulary_size": "10"}, "`source_vocabulary_size` must be a positive integer. Received: .*'10'"),
        ({"target_vocabulary_size": 2.0}, "`target_vocabulary_size` must be a positive integer"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments, said):
    with pytest.raises(ValueError, match=said):
        Translator(**{"source_vocabulary_size": 11, **SMALL, **arguments})


@pytest.mark.once
def test_integers_of_numpy_are_sizes_and_ids():
    with graph.without_values():
        model = Translator(np.int32(11), **{**SMALL, "num_layers": np.int64(1)}, padding_id=np.int64(3))
    (mask,) = (entry for entry in model.get_config()["layers"] if entry["class_name"] == "NotEqual")
    assert type(mask["inbound_nodes"][0]["args"][1]) is int
