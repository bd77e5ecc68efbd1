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
        ({"temperature": 0.0}, "`temperature`"),
    ],
    ids=["shapes", "nothing left", "outside", "temperature"],
)
def test_bad_arguments_are_refused(change, message):
    ids, masked = made_up()
    given = {"logits": np.zeros((4, HIDDEN, VOCABULARY), "float32"), **change}
    with pytest.raises(ValueError, match=message):
        replaced(ids, masked, **given)


def test_the_loss_is_binary_crossentropy_over_real_tokens():
    random = np.random.default_rng(0)
    scores, labels = random.standard_normal((2, 5)).astype("float32"), random.integers(0, 2, (2, 5)).astype("float32")
    ids = np.array([[5, 6, 7, 0, 0], [5, 6, 7, 8, 0]])
    outputs = np.stack([np.where(ids, scores, np.nan), labels], axis=-1)
    expected = keras.losses.BinaryCrossentropy(from_logits=True, reduction=None)(labels[..., None], scores[..., None])
    real = ids != 0
    np.testing.assert_allclose(
        numpy(ReplacedTokenCrossentropy()(ids, outputs)), numpy(expected)[real].mean(), rtol=1e-5
    )
    with pytest.raises(ValueError, match="a logit and a label"):
        ReplacedTokenCrossentropy()(ids, outputs[..., 0])


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
    history = model.fit(inputs_of(ids, masked), targets, sample_weight=weights, batch_size=16, epochs=30, verbose=0)
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
    with pytest.raises(ValueError, match="model of `BERT`"):
        electra_pretrainer(keras.Sequential([keras.layers.Dense(2)]), discriminator)
