"""Replaced tokens: what stands in hidden places, what counts as replaced, and a pretraining whose discriminator learns it."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_tx.analysis import count_costs
from keras_tx.applications import BERT, electra_pretrainer
from keras_tx.losses import ReplacedTokenCrossentropy
from keras_tx.pretraining import mask_tokens, replaced_tokens

VOCABULARY, LENGTH, HIDDEN = 12, 8, 3


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def made_up(rows=4, seed=0):
    ids = np.random.default_rng(seed).integers(4, VOCABULARY, (rows, LENGTH))
    ids[:, 6:] = 0
    masked = mask_tokens(ids, seed, VOCABULARY, mask_id=3, num_predictions=HIDDEN, special_ids=(0, 1, 2), rate=0.4)
    masked["mask_weights"][0, -1] = 0.0  # one row leaves a place unused
    return ids.astype("int32"), masked


def replaced(ids, masked, logits, **kwargs):
    parts = (masked[name] for name in ("mask_positions", "mask_ids", "mask_weights"))
    return [numpy(each) for each in replaced_tokens(masked["token_ids"], *parts, logits, **kwargs)]


def test_a_sure_generator_puts_its_tokens_and_they_are_labelled_where_they_differ():
    ids, masked = made_up()
    proposed = np.full((4, HIDDEN), 5)
    proposed[0] = masked["mask_ids"][0, 0]  # right once
    logits = 50.0 * np.eye(VOCABULARY, dtype="float32")[proposed]
    tokens, labels = replaced(ids, masked, logits, seed=0)
    for row in range(4):
        used = masked["mask_positions"][row][masked["mask_weights"][row] > 0]
        expected, original = masked["token_ids"][row].copy(), masked["token_ids"][row].copy()
        expected[used] = proposed[row, 0]
        original[used] = ids[row][used]
        assert tokens[row].tolist() == expected.tolist()
        assert labels[row].tolist() == (expected != original).tolist()
    assert 0 < labels.sum() < (masked["mask_weights"] > 0).sum()


def test_draws_follow_the_softmax_at_a_temperature_and_special_tokens_are_never_drawn():
    rows, scores = 3000, np.log(np.arange(1.0, VOCABULARY + 1)).astype("float32")
    ids, places = np.full((rows, 2), 4), np.zeros((rows, 1), "int32")
    logits = np.broadcast_to(scores, (rows, 1, VOCABULARY))
    tokens, _ = replaced_tokens(ids, places, places + 4, np.ones((rows, 1)), logits, (0, 3), temperature=0.5, seed=1)
    counts = np.bincount(numpy(tokens)[:, 0], minlength=VOCABULARY)
    shares = np.arange(1.0, VOCABULARY + 1) ** 2
    shares[[0, 3]] = 0.0
    expected = rows * shares / shares.sum()
    assert counts[0] == counts[3] == 0
    seen = expected > 0
    chi_square = ((counts[seen] - expected[seen]) ** 2 / expected[seen]).sum()
    assert chi_square < 27.9  # 9 degrees of freedom, one draw in a thousand


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": np.zeros((4, HIDDEN + 1, VOCABULARY), "float32")}, "shapes must be"),
        ({"special_ids": range(VOCABULARY)}, "must leave a token to draw"),
        ({"special_ids": (VOCABULARY,)}, "`special_ids`"),
        ({"special_ids": 0}, "`special_ids` must be a list of token ids. Received: special_ids=0"),
        ({"special_ids": "0"}, "`special_ids` must be a list of token ids"),
        ({"temperature": 0.0}, "`temperature`"),
    ],
    ids=["shapes", "nothing left", "outside", "number", "text", "temperature"],
)
def test_bad_arguments_are_refused(change, message):
    ids, masked = made_up()
    given = {"logits": np.zeros((4, HIDDEN, VOCABULARY), "float32"), **change}
    with pytest.raises(ValueError, match=message):
        replaced(ids, masked, **given)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mask_positions", LENGTH, rf"\[0, {LENGTH}\), inside the text, .*to {LENGTH}."),
        ("mask_positions", -1, "inside the text, .*from -1"),
        ("mask_ids", VOCABULARY, rf"\[0, {VOCABULARY}\), inside the vocabulary"),
        ("mask_ids", -1, "inside the vocabulary, .*from -1"),
    ],
)
def test_used_places_lie_in_the_text_and_hold_tokens(name, value, message):
    ids, masked = made_up()
    masked[name][0, -1] = value  # which is unused
    logits = np.zeros((4, HIDDEN, VOCABULARY), "float32")
    tokens, labels = replaced(ids, masked, logits, seed=0)
    masked["mask_weights"] = masked["mask_weights"] > 0  # truth values are weights too
    assert np.array_equal([tokens, labels], replaced(ids, masked, logits, seed=0))
    masked[name][1, 0] = value
    with pytest.raises(ValueError, match=f"`{name}` must hold numbers .*{message}"):
        replaced(ids, masked, logits, seed=0)


@pytest.mark.parametrize("value", [np.nan, -np.inf, np.inf, -3e38])
def test_special_tokens_are_not_drawn_of_logits_that_are_no_numbers_or_far_below_0(value):
    ids, masked = made_up(rows=50)
    logits = np.full((50, HIDDEN, VOCABULARY), value, "float32")
    masked["mask_weights"][:] = 1.0
    drawn = np.take_along_axis(
        replaced(ids, masked, logits, seed=0, temperature=1e-3)[0], masked["mask_positions"], axis=1
    )
    assert set(np.unique(drawn)) == set(range(1, VOCABULARY))
    logits[..., 7] = np.inf
    if value < 0 or np.isnan(value):
        drawn = np.take_along_axis(replaced(ids, masked, logits, seed=0)[0], masked["mask_positions"], axis=1)
        assert (drawn == 7).all()


@pytest.mark.parametrize(("rows", "hidden"), [(0, HIDDEN), (2, 0)])
def test_no_rows_and_no_hidden_places(rows, hidden):
    ids, masked = made_up(rows=2)
    masked = {name: value[:rows, : hidden if name != "token_ids" else None] for name, value in masked.items()}
    tokens, labels = replaced(ids, masked, np.zeros((rows, hidden, VOCABULARY), "float32"))
    assert np.array_equal(tokens, masked["token_ids"])
    assert labels.shape == (rows, LENGTH)
    assert not labels.any()


def test_the_loss_is_binary_crossentropy_over_real_tokens():
    random = np.random.default_rng(0)
    scores, labels = random.standard_normal((2, 5)).astype("float32"), random.integers(0, 2, (2, 5)).astype("float32")
    ids = np.array([[5, 6, 7, 0, 0], [5, 6, 7, 8, 0]])
    outputs = np.where(ids[..., None], np.stack([scores, labels], axis=-1), np.nan)
    expected = keras.losses.BinaryCrossentropy(from_logits=True, reduction=None)(labels[..., None], scores[..., None])
    real = ids != 0
    np.testing.assert_allclose(
        numpy(ReplacedTokenCrossentropy()(ids, outputs)), numpy(expected)[real].mean(), rtol=1e-5
    )
    for weights in (random.random((2, 5)), random.random((2, 1)), random.random(2)):
        given = np.broadcast_to(weights.reshape(2, -1), (2, 5))[real]
        np.testing.assert_allclose(
            numpy(ReplacedTokenCrossentropy()(ids, outputs, weights)),
            (numpy(expected)[real] * given).sum() / given.sum(),
            rtol=1e-5,
        )


@pytest.mark.parametrize(
    ("ids", "outputs", "weights", "message"),
    [
        ((2, 5), (2, 5), None, "one axis more than `y_true`, that of a logit and a label"),
        ((2, 5), (2, 5, 3), None, "a logit and a label for each token"),
        ((1, 5), (2, 5, 2), None, "one axis more than `y_true`"),
        ((2, 1), (2, 5, 2), None, "one axis more than `y_true`"),
        ((2, 5), (2, 5, 2), (5,), "a number for each row or for each token"),
        ((2, 5), (2, 5, 2), (2, 5, 1), "a number for each row or for each token"),
    ],
)
def test_what_is_not_of_the_tokens_has_no_loss(ids, outputs, weights, message):
    with pytest.raises(ValueError, match=message):
        ReplacedTokenCrossentropy()(np.ones(ids, "int32"), np.ones(outputs), weights and np.ones(weights))


def test_ids_that_are_no_whole_numbers_have_no_loss():
    with pytest.raises(ValueError, match="`y_true` must hold token ids, whole numbers"):
        ReplacedTokenCrossentropy()(np.full((2, 5), 0.5), np.ones((2, 5, 2)))


def pretrainer(dropout=0.0):
    sizes = {"num_layers": 1, "num_heads": 2, "intermediate_dim": 32, "pooler": False, "dropout": dropout}
    encoders = [
        BERT(VOCABULARY, LENGTH, hidden_dim=size, name=name, **sizes) for name, size in (("generator", 8), ("bert", 16))
    ]
    return electra_pretrainer(*encoders, seed=0), encoders


def inputs_of(ids, masked):
    names = ("token_ids", "mask_positions", "mask_ids", "mask_weights")
    return {name: masked[name] for name in names} | {"segment_ids": np.zeros_like(ids)}


def test_both_encoders_learn_and_the_discriminator_tells_what_was_replaced(tmp_path):
    keras.utils.set_random_seed(0)
    model, (generator, discriminator) = pretrainer()
    # The original is always 4, 5, 6, ... in this order: what was replaced can be told.
    ids = np.tile(np.array([4, 5, 6, 7, 8, 9, 0, 0], "int32"), (32, 1))
    masked = mask_tokens(ids, 0, VOCABULARY, mask_id=3, num_predictions=HIDDEN, special_ids=(0, 1, 2), rate=0.4)
    token_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    model.compile(
        keras.optimizers.Adam(1e-2),
        {"masked_lm": token_loss, "replaced": ReplacedTokenCrossentropy()},
        loss_weights={"masked_lm": 0.0, "replaced": 1.0},  # the generator stays bad: nothing of the second reaches it
        jit_compile=keras.backend.backend() != "torch",
    )
    before = [[numpy(weight).copy() for weight in encoder.weights] for encoder in (generator, discriminator)]
    targets = {"masked_lm": masked["mask_ids"], "replaced": ids}
    weights = {"masked_lm": masked["mask_weights"], "replaced": np.ones(32)}
    history = model.fit(inputs_of(ids, masked), targets, sample_weight=weights, batch_size=16, epochs=40, verbose=0)
    losses = history.history["replaced_loss"]
    assert losses[-1] < 0.1 < 0.4 < losses[0]
    same = [
        all(np.array_equal(old, numpy(weight)) for old, weight in zip(kept, encoder.weights, strict=True))
        for kept, encoder in zip(before, (generator, discriminator), strict=True)
    ]
    assert same == [True, False]
    outputs = model.predict(inputs_of(ids, masked), verbose=0)["replaced"]
    assert outputs.shape == (32, LENGTH, 2)
    assert ((outputs[..., 0] > 0) == outputs[..., 1])[:, :6].mean() > 0.95
    assert count_costs(model, {name: value.shape for name, value in inputs_of(ids, masked).items()}).macs
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    given = {name: value[:2] for name, value in inputs_of(ids, masked).items()}
    np.testing.assert_allclose(
        numpy(reloaded(given)["masked_lm"]), numpy(model(given)["masked_lm"]), rtol=1e-5, atol=1e-5
    )


def test_encoders_that_do_not_fit_are_refused():
    _, (generator, discriminator) = pretrainer()
    with pytest.raises(ValueError, match="names of their own and one vocabulary"):
        electra_pretrainer(discriminator, discriminator)
    other = BERT(VOCABULARY + 1, LENGTH, 1, 2, 8, 16, name="other")
    with pytest.raises(ValueError, match="one vocabulary"):
        electra_pretrainer(other, discriminator)
    with pytest.raises(
        ValueError, match="`special_ids` must be a token id in .*special_ids=12 with vocabulary_size=12"
    ):
        electra_pretrainer(generator, discriminator, special_ids=(12,))
    with pytest.raises(ValueError, match="model of `BERT`"):
        electra_pretrainer(keras.Sequential([keras.layers.Dense(2)]), discriminator)
